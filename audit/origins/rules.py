"""Keyword rules that label programs with component categories: words of the motivation, confirmed by the code.

Programs are read as text. Their code is parsed, never run; one that is no Python is matched as it stands.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

RULES = Path(__file__).with_name("labels") / "rules.yaml"
SENTENCE = re.compile(r"\n+|(?<=[.;!?])\s+")
COMMENT, QUOTED = re.compile(r"#.*"), re.compile(r"\"\"\"[\s\S]*?\"\"\"")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A category is meant where the motivation matches `words` and the code matches `code` (None: not asked)."""

    category: str
    words: re.Pattern[str]
    code: re.Pattern[str] | None

    def meets(self, motivation: str, code: str | None) -> bool:
        """Whether the rule gives its category. code: None where the code is not to be asked."""
        confirmed = code is None or self.code is None or self.code.search(code) is not None
        return confirmed and self.words.search(motivation) is not None


@dataclass(frozen=True, kw_only=True)
class Rules:
    """All rules, in the order of the file, and what marks a sentence of the motivation as not about the design."""

    background: re.Pattern[str]
    rules: tuple[Rule, ...]

    def label(self, motivation: str, source: str) -> tuple[str, ...]:
        """Categories of a program, each once, in the order of the rules."""
        told, code = self.contribution(motivation), code_text(source)
        return tuple(rule.category for rule in self.rules if rule.meets(told, code))

    def label_words(self, motivation: str) -> tuple[str, ...]:
        """Categories by the motivation alone, whichever sentence names them: the loosest reading of the rules."""
        return tuple(rule.category for rule in self.rules if rule.meets(motivation, None))

    def contribution(self, motivation: str) -> str:
        """The sentences of a motivation that speak of what the design adds, one a line."""
        return "\n".join(part for part in SENTENCE.split(motivation) if part and not self.background.search(part))


def read_rules(path: Path = RULES) -> Rules:
    """The rules of a YAML file, which explains itself."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = [
        Rule(
            category=category,
            words=_pattern(entry["words"]),
            code=_pattern(entry["code"]) if "code" in entry else None,
        )
        for category, entry in document["categories"].items()
    ]
    background = re.compile("".join(document["background"].split("\n")).replace(" |", "|"), re.IGNORECASE)
    return Rules(background=background, rules=tuple(found))


def code_text(source: str) -> str:
    """A program's code without comments and docstrings; texts that do not parse lose what looks like either."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a stranger's text
        return COMMENT.sub("", QUOTED.sub("", source))
    lines = source.split("\n")
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            end = node.end_lineno or node.lineno
            lines[node.lineno - 1 : end] = [""] * (end - node.lineno + 1)
    return COMMENT.sub("", "\n".join(lines))


def _pattern(parts: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{part})" for part in parts), re.IGNORECASE)
