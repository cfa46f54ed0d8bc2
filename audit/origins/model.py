"""A language model as a second labeller: each program twice, under two prompts that ask for the same in other words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from tqdm import tqdm

from audit.origins.agreement import Labels
from audit.origins.archive import Program
from audit.wording import plural
from loop.llm import LLMSettings, OpenAIMind
from loop.records import Purpose, Request

PROMPTS = Path(__file__).with_name("prompts")
ASKED = {"model, first prompt": "label", "model, second prompt": "label_again"}  # labeller -> prompts/NAME.md


def label_by_model(
    programs: Mapping[int, Program], categories: Sequence[str], settings: LLMSettings
) -> tuple[dict[str, Labels], tuple[str, ...]]:
    """Labels under either prompt, and notes of what was left out: labels that are no category, replies of no use.

    A program whose reply cannot be read has no labels under that prompt and is left out of what is made of it.

    Raises:
        InputError: no model, no key, or no answer from the endpoint.
    """
    mind, found, notes = OpenAIMind(settings, PROMPTS), dict[str, Labels](), list[str]()
    for name, prompt in ASKED.items():
        labels, strange, silent = dict[int, tuple[str, ...]](), 0, 0
        for index, program in tqdm(programs.items(), desc=name, unit="program"):
            payload = {"categories": list(categories), "motivation": program.motivation, "source": program.source}
            reply = mind.reply(Request(purpose=cast(Purpose, prompt), payload=payload))
            if reply.content is None:
                silent += 1
                continue
            given = set(map(str, reply.content["categories"]))
            strange += len(given - set(categories))
            labels[index] = tuple(category for category in categories if category in given)
        found[name] = labels
        notes.append(
            f"{name}: {plural(strange, 'label')} dropped that are no category; {plural(silent, 'program')} without a "
            "usable reply."
        )
    return found, tuple(notes)
