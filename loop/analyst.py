"""The Analyst: reads a result beside its relatives, as an ablation would, and says what the next idea should cure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loop.llm import Conversation
from loop.records import ORIGINS, Component, Experiment, member

SIBLINGS = 5  # the latest ones


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """worked, failed and weakness in words, and the design components that are new."""

    words: dict[str, str]
    components: tuple[Component, ...]


def analyse(
    conversation: Conversation,
    experiment: Experiment,
    seen: Sequence[Experiment],
    entries: Sequence[dict[str, Any]],
    baselines: Sequence[dict[str, Any]],
) -> Analysis:
    """What an experiment shows beside its parent, grandparent and siblings, in the words of the model.

    seen: the experiments 0, 1, 2, ... without a gap.
    The origin of a component is what the proposer knows, where it does; else what the model judges.
    """
    parent = seen[experiment.parent] if experiment.parent is not None else None
    grandparent = seen[parent.parent] if parent is not None and parent.parent is not None else None
    siblings = [other for other in seen if parent is not None and other.parent == parent.number]
    payload = {
        "member": member(experiment),
        "parent": member(parent) if parent else None,
        "grandparent": member(grandparent) if grandparent else None,
        "siblings": [member(sibling) for sibling in siblings[-SIBLINGS:]],
        "baselines": list(baselines),
        "entries": list(entries),
    }
    content = conversation.ask("analyse", payload).content or {}
    words = {name: str(content.get(name, "")) for name in ("worked", "failed", "weakness")}
    known = experiment.truth.get("components")
    labelled = known if known is not None else content.get("components", [])
    components = tuple(
        Component(component=item["component"], origin=item["origin"], labelled_by="model" if known is None else "truth")
        for item in labelled
        if item["origin"] in ORIGINS
    )
    return Analysis(words=words, components=components)


def component_statistics(seen: Sequence[Experiment]) -> list[dict[str, Any]]:
    """For each component how much lower the honest loss was, parent minus child in nats, where a child added it.

    Descriptive: children differ from their parents in other things, too, and in the seed.
    """
    gains: dict[str, list[float]] = defaultdict(list)
    for child in seen:
        before = seen[child.parent].honest_loss if child.parent is not None else None
        if before is not None and child.honest_loss is not None:
            for component in child.components:
                gains[component.component].append(before - child.honest_loss)
    return [
        {"component": name, "with": len(found), "gain": round(sum(found) / len(found), 6)}
        for name, found in sorted(gains.items())
    ]
