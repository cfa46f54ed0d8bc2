"""The offline proposer: answers every request but `extract` without a language model, by computing.

It is a proposer in its own right, with a grammar of token mixers (loop/grammar/): it changes and crosses parents, draws
on entries and analyses, writes real programs, and makes mistakes at configured rates. It knows what it did, which its
replies keep as `truth`: {"genome": component -> option, "components": [{"component", "origin"}] that are new against
the parent, "mistakes": [{"kind", "family", "strength"}]}. The same request and settings give the same reply.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from jinja2 import Environment, StrictUndefined
from numpy.random import Generator

from loop.records import ORIGINS, Origin, Reply, Request
from replication.settings import InputError, require

Genome = dict[str, Any]  # component -> option: True, a number of taps, ...
Idea = tuple[Genome, dict[str, Origin]]  # and where what is new comes from
Answer = tuple[dict[str, Any], dict[str, Any]]  # content and truth of a reply
Move = tuple[Literal["add", "change", "remove"], str]

TRIES = 60  # at a design that is neither the parent nor one that was rejected
MOST_WIDTH = 2  # of all branches
TOWARDS = {"add": 1.0, "change": 0.5, "remove": -1.0}  # how a move turns to what its component brings
_FREE: dict[str, Any] = {"prompt_tokens": 0, "completion_tokens": 0, "cost": 0.0, "seconds": 0.0}


def _grammar(name: str) -> dict[str, Any]:
    text = (Path(__file__).with_name("grammar") / f"{name}.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


_COMPONENTS, _MISTAKES, _SYMPTOMS = (_grammar(name) for name in ("components", "mistakes", "symptoms"))
_PLAIN: dict[str, Any] = {"options": [True], "needs": [], "group": None, "width": 0}
PARTS: dict[str, dict[str, Any]] = {name: _PLAIN | part for name, part in _COMPONENTS["components"].items()}
_JINJA = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
_TEMPLATES = {name: _JINJA.from_string(text) for name, text in (_grammar("mixer") | _grammar("texts")).items()}


@dataclass(frozen=True, kw_only=True)
class OfflineSettings:
    """The settings `offline.*`; conf/offline/default.yaml explains each."""

    proposer: Literal["learn", "random", "no_op"]
    crash: float
    slow: float
    leak: float
    retry: float
    leak_strengths: tuple[float, ...]
    origins: dict[str, float]
    cross: float
    second_move: float
    temperature: float
    hint: float
    duplicate_similarity: float
    anchor_gap: float

    def __post_init__(self) -> None:
        for name in ("crash", "slow", "leak", "retry", "cross", "second_move"):
            require(0.0 <= getattr(self, name) <= 1.0, f"offline.{name}: must lie between 0 and 1")
        require(self.crash + self.slow + self.leak <= 1.0, "offline.leak: crash + slow + leak must not exceed 1")
        require(min(self.temperature, self.anchor_gap) > 0.0, "offline: temperature and anchor_gap must be positive")
        require(len(self.leak_strengths) > 0, "offline.leak_strengths: at least one is needed")
        require(set(self.origins) == set(ORIGINS), f"offline.origins: needs exactly {', '.join(ORIGINS)}")
        positive = min(self.origins.values()) >= 0.0 < self.origins["original"]
        require(positive, "offline.origins: must not be negative, and that of original must be positive")


def settled(genome: Mapping[str, Any]) -> Genome:
    """A genome in canonical order, with a core and a norm, and without components that lack what they need."""
    found = dict(genome)
    groups = {PARTS[name]["group"] for name in found}
    found |= {name: True for group, name in (("core", "delta_rule"), ("norm", "head_norm_rms")) if group not in groups}
    for name, part in PARTS.items():  # what is needed comes before what needs it, but for the core
        if name in found and part["needs"] and not set(part["needs"]) & set(found):
            if part["group"] == "core":
                found[part["needs"][0]] = True
            else:
                del found[name]
    return {name: found[name] for name in PARTS if name in found}


def with_component(genome: Mapping[str, Any], name: str, option: Any) -> Genome:
    """A genome with one component more: it takes the place of others of its group, and brings along what it needs."""
    part, found = PARTS[name], dict(genome)
    room = MOST_WIDTH - part["width"]
    for rival in [other for other in genome if other != name and PARTS[other]["group"] == part["group"] is not None]:
        room -= PARTS[rival]["width"]
        if part["group"] != "branch" or room < 0:
            del found[rival]
    if part["needs"] and not set(part["needs"]) & set(found):
        found = with_component(found, part["needs"][0], PARTS[part["needs"][0]]["options"][0])
    return settled(found | {name: option})


def recognised(source: str) -> Genome:
    """The genome that a program's text suggests by usual names and calls; exact for this proposer's own programs."""
    code, found, held = re.sub(r'"""[\s\S]*?"""', "", source), Genome(), set[str]()
    for name, part in PARTS.items():
        match = re.search(part["sign"], code)
        if match and part["group"] not in held:
            number = next((float(text) for text in match.groups() if text and text[0].isdigit()), part["options"][0])
            found[name] = min(part["options"], key=lambda option, near=number: abs(option - near))  # type: ignore[misc]
            held |= {part["group"]} - {None, "branch"}
    return settled(found)


def genome_of(member: Mapping[str, Any]) -> Genome:
    """What is known of a program's genome, or else what its text suggests."""
    return dict(member["truth"].get("genome") or recognised(member["source"]))


def write(genome: Mapping[str, Any], name: str, motivation: str, mistakes: Sequence[Mapping[str, Any]]) -> str:
    """The program of a genome, with at most one mistake planted in it."""
    told = textwrap.fill(motivation.replace("\\", "/").replace('"', "'"), 110)
    options = {part: genome.get(part) for part in PARTS}
    fault, strength = (mistakes[0]["family"], mistakes[0]["strength"]) if mistakes else ("", None)
    return _TEMPLATES["program"].render(g=options, name=name, motivation=told, fault=fault, strength=strength)


class Offline:
    """The mind that computes."""

    def __init__(self, settings: OfflineSettings) -> None:
        self.settings = settings

    def reply(self, request: Request) -> Reply:
        """Answer a request. Raises InputError for `extract`, which needs a language model."""
        answers: dict[str, Callable[[dict[str, Any]], Answer]] = {"summarise": _summarise, "analyse": _analyse}
        answers |= {"propose": self._propose, "repair": self._repair, "novelty": self._novelty, "judge": self._judge}
        if request.purpose not in answers:
            raise InputError("llm: reading a paper needs a language model: set llm=openai")
        content, truth = answers[request.purpose](request.payload)
        prompt, text = _canonical(_without_sources(request.payload)), _canonical(content)
        about = {"model": "offline", "parameters": dataclasses.asdict(self.settings), "truth": truth} | _FREE
        return Reply(content=content, error="", prompt=prompt, text=text, **about)

    def _propose(self, payload: dict[str, Any]) -> Answer:
        rejected, parent = payload["rejected"], genome_of(payload["parent"])
        if self.settings.proposer == "no_op":
            return _renamed(payload["parent"], parent, _tag(payload["draw"]))
        draws = np.random.default_rng([payload["draw"], len(rejected)])
        last = rejected[-1]["truth"] if rejected else {}
        if last.get("mistakes") and rejected[-1]["verdict"] in _MISTAKES["verdicts"]:  # the same idea once more
            genome, components = last["genome"], last["components"]
            kind = None if draws.random() < self.settings.retry else last["mistakes"][0]["kind"]
        else:
            genome, origins = self._idea(parent, payload, draws)
            components = [{"component": name, "origin": origins[name]} for name in _new(genome, parent)]
            rates = {name: getattr(self.settings, name) for name in _MISTAKES["mistakes"]}
            kind = _drawn({**rates, None: max(0.0, 1.0 - sum(rates.values()))}, draws)
        mistakes = self._mistakes(kind, "", draws)
        named = [PARTS[name]["short"] for name in _new(genome, parent) if PARTS[name]["group"] != "core"]
        name = "_".join([PARTS[next(iter(genome))]["short"], *named[:2], _tag([payload["draw"], genome])])
        told = {key: payload[key] for key in ("weakness", "entries")} | {"components": components}
        motivation = _said("motivation", genome, parent, parent=payload["parent"]["name"], **told)
        content = {"name": name, "motivation": motivation, "code": write(genome, name, motivation, mistakes)}
        truth = {"genome": genome, "components": components, "mistakes": mistakes}
        return {**content, "components": components}, truth

    def _idea(self, parent: Genome, payload: dict[str, Any], draws: Generator) -> Idea:
        """A genome that is neither the parent nor was rejected, if one is found soon."""
        avoided = [parent, *(genome_of(version) for version in payload["rejected"])]
        random = self.settings.proposer == "random"
        ideas = (_random(draws) if random else self._mutated(parent, payload, draws) for _ in range(TRIES))
        return next((idea for idea in ideas if idea[0] not in avoided), (parent, {}))

    def _mutated(self, parent: Genome, payload: dict[str, Any], draws: Generator) -> Idea:
        genome, origins = dict(parent), dict[str, Origin]()
        moves = 1 + int(draws.random() < self.settings.second_move)
        if payload["references"] and draws.random() < self.settings.cross:
            moves, other = moves - 1, genome_of(_pick(payload["references"], draws))
            for name in draws.permutation(_new(other, parent)).tolist()[: 1 + int(draws.integers(2))]:
                genome = with_component(genome, name, other[name])
            origins |= dict.fromkeys(_new(genome, parent), "original")
        for _ in range(moves):
            before = genome
            origin, (how, name) = self._move(genome, payload, draws)
            if how == "remove":
                genome = settled({part: genome[part] for part in genome if part != name})
            else:
                options = [option for option in PARTS[name]["options"] if option != genome.get(name)]
                genome = with_component(genome, name, _pick(options, draws))
            origins |= dict.fromkeys(_new(genome, before), origin)
        return genome, origins

    def _move(self, genome: Genome, payload: dict[str, Any], draws: Generator) -> tuple[Origin, Move]:
        """A change of a genome from one of the sources that are at hand."""
        moves: list[Move] = [("add", name) for name in PARTS if name not in genome]
        moves += [("change", name) for name in genome if len(PARTS[name]["options"]) > 1]
        moves += [("remove", name) for name in genome if PARTS[name]["group"] not in ("core", "norm")]
        advised = {name for entry in payload["entries"] for name in entry.get("components", ())}
        offered: dict[Origin, dict[Move, float]] = {"original": dict.fromkeys(moves, 1.0)}
        offered["cognition"] = {move: 1.0 for move in moves if move[0] != "remove" and move[1] in advised}
        offered["analysis"] = self._promise(moves, payload) if payload["weakness"] or payload["statistics"] else {}
        origin: Origin = _drawn({name: self.settings.origins[name] for name in ORIGINS if offered[name]}, draws)
        return origin, _drawn(offered[origin], draws)

    def _promise(self, moves: Sequence[Move], payload: dict[str, Any]) -> dict[Move, float]:
        """Weights of moves by what the analyses say: gains of few children count less, and a symptom points at cures.

        A gain is in nats per token, positive where the loss came down.
        """
        gains = {row["component"]: row["gain"] * row["with"] / (row["with"] + 1) for row in payload["statistics"]}
        weights = {}
        for how, name in moves:
            named = sum(word in payload["weakness"].lower() for word in PARTS[name]["cures"])
            score = TOWARDS[how] * (gains.get(name, 0.0) / self.settings.temperature + self.settings.hint * named)
            weights[how, name] = float(np.exp(np.clip(score, -4.0, 4.0)))
        return weights

    def _mistakes(self, kind: str | None, known: str, draws: Generator) -> list[dict[str, Any]]:
        """A mistake of a kind, of another family than the one `known`, as a list of one; empty without a kind."""
        if kind is None:
            return []
        family = _pick([family for family in _MISTAKES["mistakes"][kind] if family != known], draws)
        strength = _pick(self.settings.leak_strengths, draws) if kind == "leak" else None
        return [{"kind": kind, "family": family, "strength": strength}]

    def _repair(self, payload: dict[str, Any]) -> Answer:
        """The program without its mistake or with another one; without a mistake, it loses its newest component."""
        draws = np.random.default_rng(payload["draw"])
        genome, components = genome_of(payload), payload["truth"].get("components", [])
        mistakes, told = payload["truth"].get("mistakes", []), "The cause is removed; the design is as it was."
        if not mistakes and components:
            dropped = components[-1]["component"]
            genome = settled({name: genome[name] for name in genome if name != dropped})
            components = [item for item in components if item["component"] in genome]
            told = "The text does not explain the failure; this is a simpler design."
        elif draws.random() < self.settings.retry:
            mistakes = []
        elif mistakes:
            mistakes = self._mistakes(mistakes[0]["kind"], mistakes[0]["family"], draws)
        code = write(genome, payload["name"], payload["motivation"], mistakes)
        truth = {"genome": genome, "components": components, "mistakes": mistakes}
        return {"code": code, "explanation": told}, truth

    def _novelty(self, payload: dict[str, Any]) -> Answer:
        for other in payload["nearest"]:
            same = all(other[key] == payload[key] for key in ("name", "motivation"))
            if same or other["similarity"] >= self.settings.duplicate_similarity:
                return {"duplicate": True, "reason": f"says the same as experiment {other['number']}"}, {}
        return {"duplicate": False, "reason": "no earlier motivation says the same"}, {}

    def _judge(self, payload: dict[str, Any]) -> Answer:
        """Marks from 1 to 10; DeltaNet's performance is 5, Gated DeltaNet's 10."""
        member, anchors = payload["member"], {anchor["name"]: anchor for anchor in payload["anchors"]}
        genome, plain = genome_of(member), anchors["delta_net"]
        known = [*_COMPONENTS["anchors"].values(), *([genome_of(payload["parent"])] if payload["parent"] else [])]
        share = min(1.0 - len(genome.items() & other.items()) / len(genome.keys() | other.keys()) for other in known)
        ratio = float(np.mean([member[key] / plain[key] for key in ("parameters", "flops") if member[key]] or [1.0]))
        gain = plain["honest_loss"] - member["honest_loss"]
        span = plain["honest_loss"] - anchors.get("gated_delta_net", plain)["honest_loss"]
        performance = 5.0 + 5.0 * gain / max(span, self.settings.anchor_gap)
        marks = {"innovation": 1.0 + 9.0 * share, "complexity": 10.0 / ratio, "performance": performance}
        reason = f"{share:.0%} of it is new; {ratio:.2f} times DeltaNet's size and work; {gain:.4f} nats below DeltaNet"
        return {**{name: round(min(max(mark, 1.0), 10.0), 1) for name, mark in marks.items()}, "reason": reason}, {}


def _summarise(payload: dict[str, Any]) -> Answer:
    member = payload["member"]
    told = {name: member[name] for name in ("name", "status", "benchmarks", "honest_loss")}
    return {"summary": _said("summary", genome_of(member), {}, **told)}, {}


def _analyse(payload: dict[str, Any]) -> Answer:
    """Each relative is an ablation of sorts: what differs, and what the loss did."""
    member, genome = payload["member"], genome_of(payload["member"])
    lowered, raised = list[str](), list[str]()
    if member["honest_loss"] is None:
        raised.append(f"No result: {member['status']}: {member['reason']}")
    for other in (payload["parent"], payload["grandparent"], *payload["siblings"]):
        if other and None not in (member["honest_loss"], other["honest_loss"]):
            change = member["honest_loss"] - other["honest_loss"]
            told = _said("compared", genome, genome_of(other), other=other["name"], change=change)
            (lowered if change < 0 else raised).append(told)
    content = {
        "worked": " ".join(lowered) or "Nothing lowered the loss.",
        "failed": " ".join(raised) or "Nothing raised the loss.",
        "weakness": _weakness(member, payload),
        "components": member["truth"].get("components", []),
    }
    return content, {}


def _weakness(member: dict[str, Any], payload: dict[str, Any]) -> str:
    """The symptom that is most pronounced in its unit, against the best baseline or the parent; or of a failure."""
    loss, known = member["honest_loss"], _SYMPTOMS["measured"]
    if loss is None:
        return str(_SYMPTOMS["status"].get(member["status"], _SYMPTOMS["status"]["other"]))
    parent, baselines, genome = payload["parent"], payload["baselines"], genome_of(member)
    before = parent if parent and parent["honest_loss"] is not None else member
    held = {PARTS[name]["group"] for name in genome}
    added = {PARTS[name]["group"] for name in _new(genome, genome_of(before))}
    excess = loss - min(baseline["honest_loss"] for baseline in baselines)
    behind = loss - before["honest_loss"]
    measured = {
        "loss_flattens": excess,
        "state_fades" if "decay" in held else "state_crowded": excess,
        "neighbours_unbound": excess * ("local" not in held),
        "behind_parent": behind,
        "gate_without_gain": behind * ("gate" in added),
        "branches_without_gain": behind * ("branch" in added),
        "costly": member["flops"] / before["flops"] - 1.0 if member["flops"] and before["flops"] else 0.0,
    }
    for task in sorted(set(member["benchmarks"]) & set(known)):
        best = max(baseline["benchmarks"].get(task, 0.0) for baseline in baselines)
        measured[task] = best - member["benchmarks"][task]
    worst = max(measured, key=lambda name: measured[name] / known[name]["unit"])
    return str(known[worst]["says"] if measured[worst] > known[worst]["unit"] else _SYMPTOMS["none"])


def _renamed(parent: dict[str, Any], genome: Genome, tag: str) -> Answer:
    """The parent's program with other names for its parameters, so that their initial values are drawn anew."""

    def fresh(name: str) -> str:
        return re.sub(r"_r[0-9a-f]{4}$", "", name) + f"_r{tag}"

    own = "|".join(sorted(set(re.findall(r"\bself\.(\w+) = nn\.", parent["source"]))))
    code = re.sub(rf"\bself\.({own})\b", lambda match: f"self.{fresh(match[1])}", parent["source"])
    motivation = _said("no_op", genome, {}, parent=parent["name"], tag=tag)
    content = {"name": fresh(parent["name"]), "motivation": motivation, "code": code}
    truth = {"genome": genome, "components": [], "mistakes": parent["truth"].get("mistakes", [])}
    return {**content, "components": []}, truth


def _random(draws: Generator) -> Idea:
    genome = Genome()
    for place in draws.permutation(len(PARTS))[: 5 + int(draws.integers(6))]:
        name = list(PARTS)[place]
        genome = with_component(genome, name, _pick(PARTS[name]["options"], draws))
    return genome, dict.fromkeys(genome, "original")


def _new(genome: Genome, before: Genome) -> list[str]:
    return [name for name in genome if genome[name] != before.get(name)]


def _said(template: str, genome: Genome, before: Genome, **values: Any) -> str:
    """A text of loop/grammar/texts.yaml about a genome and the one that it is compared with."""
    options, words = before | genome, _COMPONENTS["words"]
    says = {name: PARTS[name]["says"].format(words.get(options[name], "")) for name in options}
    difference = {"new": _new(genome, before), "gone": [name for name in before if name not in genome]}
    return " ".join(_TEMPLATES[template].render(genome=genome, says=says, **difference, **values).split())


def _pick(options: Sequence[Any], draws: Generator) -> Any:
    return options[int(draws.integers(len(options)))]


def _drawn(weights: Mapping[Any, float], draws: Generator) -> Any:
    """A key with a chance in proportion to its weight."""
    shares = np.array(list(weights.values()))
    return list(weights)[int(draws.choice(len(shares), p=shares / shares.sum()))]


def _tag(value: object) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()[:4]


def _without_sources(value: object) -> Any:
    return json.loads(json.dumps(value), object_hook=lambda item: {k: item[k] for k in item if k != "source"})


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
