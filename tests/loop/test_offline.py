"""The offline proposer: what it proposes and why, how it answers the other purposes, and that it does so repeatably."""

from __future__ import annotations

import ast
import dataclasses
import json
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
import yaml

from loop.offline import PARTS, Offline, OfflineSettings, recognised
from loop.records import ORIGINS, Request
from replication import candidate
from replication.configure import CONF
from replication.settings import InputError, typed

PROGRAMS = Path(candidate.__file__).parent
DELTA_NET = {"delta_rule": True, "unit_length_keys": True, "short_convolution": 4, "head_norm_rms": True}
GATED = {**DELTA_NET, "data_dependent_decay": True, "output_gate_silu": True}
FORGETS = "Forgets associations made far back when several must be held at once."
CONFIGURED = typed(
    OfflineSettings, yaml.safe_load((CONF / "offline" / "default.yaml").read_text(encoding="utf-8")), "offline"
)


def mind(**settings):
    """The configured proposer, which makes no mistakes here unless asked."""
    return Offline(dataclasses.replace(CONFIGURED, **{"crash": 0.0, "slow": 0.0, "leak": 0.0, **settings}))


def member(number=0, genome=None, loss=2.5, **fields):
    source = (PROGRAMS / "baselines" / "delta_net.py").read_text(encoding="utf-8")
    plain = {
        "number": number, "name": f"design_{number}", "motivation": "", "summary": "", "source": source,
        "status": "ok", "reason": "", "honest_loss": loss, "benchmarks": {}, "mark": None, "parameters": 1000,
        "flops": 2000.0, "analysis": {}, "truth": {"genome": genome} if genome else {},
    }  # fmt: skip
    return {**plain, **fields}


def request(purpose="propose", **payload):
    plain = {
        "parent": member(), "references": [], "entries": [], "weakness": "", "statistics": [], "baselines": [],
        "rejected": [], "draw": 0,
    }  # fmt: skip
    return Request(purpose=purpose, payload={**(plain if purpose == "propose" else {}), **payload})


def proposals(count=150, settings=None, **payload):
    proposer = mind(**(settings or {}))
    return [proposer.reply(request(draw=draw, **payload)) for draw in range(count)]


def entry(*components):
    texts = {"scenario": "It forgets.", "algorithm": "", "context": "", "hint": ""}
    return {"id": "e", "paper": "Remember More", "year": 2024, "components": list(components), **texts}


def origins(replies):
    return {item["origin"] for reply in replies for item in reply.content["components"]}


def added(replies):
    return Counter(item["component"] for reply in replies for item in reply.content["components"])


def planted(replies):
    return Counter(mistake["kind"] for reply in replies for mistake in reply.truth["mistakes"])


@pytest.mark.parametrize("proposer", ["learn", "random"])
def test_every_program_parses_keeps_to_the_line_limits_and_is_recognised_as_what_it_is(proposer):
    faulty = {"crash": 0.2, "slow": 0.2, "leak": 0.2, "proposer": proposer}
    for reply in proposals(settings=faulty, entries=[entry("value_residual")], weakness=FORGETS):
        code = reply.content["code"]
        compile(code, reply.content["name"], "exec")
        assert recognised(code) == reply.truth["genome"]
        assert max(map(len, code.splitlines())) <= 120
        clean = not reply.truth["mistakes"]
        assert len(code.splitlines()) <= (90 if clean else 110)


def test_random_designs_reach_the_whole_vocabulary():
    assert {part for reply in proposals(settings={"proposer": "random"}) for part in reply.truth["genome"]} == set(
        PARTS
    )


@pytest.mark.parametrize(
    ("program", "genome"),
    [
        ("baselines/delta_net", DELTA_NET),
        ("baselines/gated_delta_net", GATED),
        ("variants/gated_delta_net_wide_beta", {**GATED, "wide_beta": True}),
        ("variants/delta_net_no_convolution", {k: v for k, v in DELTA_NET.items() if k != "short_convolution"}),
        (
            "variants/delta_net_multiscale_fir",
            {**DELTA_NET, "multi_scale_convolution": 31, "branch_routing": True, "value_residual": True},
        ),
        (
            "variants/retention",
            {"linear_attention": True, "scalar_decay": True, "output_gate_silu": True, "head_norm_rms": True},
        ),
    ],
)
def test_programs_by_other_authors_are_recognised_by_their_usual_names(program, genome):
    assert recognised((PROGRAMS / f"{program}.py").read_text(encoding="utf-8")) == genome


def test_the_same_request_gives_the_same_reply_and_another_draw_another_program():
    first, again, other = (mind().reply(request(draw=draw)) for draw in (7, 7, 8))
    assert first == again
    assert first.content["code"] != other.content["code"]


def test_a_proposal_differs_from_its_parent_and_lists_exactly_what_is_new_in_it():
    for reply in proposals(weakness=FORGETS, references=[member(1, GATED)]):
        genome = reply.truth["genome"]
        assert genome != DELTA_NET
        new = [name for name in genome if genome[name] != DELTA_NET.get(name)]
        assert [item["component"] for item in reply.content["components"]] == new
        assert reply.truth["components"] == reply.content["components"]


def test_a_proposal_keeps_most_of_its_parent_and_a_random_one_does_not():
    kept = [
        sum(
            len(DELTA_NET.items() & reply.truth["genome"].items())
            for reply in proposals(settings={"proposer": proposer})
        )
        for proposer in ("learn", "random")
    ]
    assert kept[0] > 1.3 * kept[1]


def test_a_cross_has_components_of_both():
    other = {
        "linear_attention": True,
        "relu_squared_feature_map": True,
        "wide_convolution": 31,
        "head_norm_layer": True,
    }
    crossed = proposals(50, {"cross": 1.0, "second_move": 0.0}, references=[member(1, other)])
    for genome in (reply.truth["genome"] for reply in crossed):
        assert genome.items() & DELTA_NET.items()
        assert genome.items() & (other.items() - DELTA_NET.items())


def test_a_source_that_is_not_at_hand_is_no_origin():
    assert origins(proposals()) == {"original"}
    assert origins(proposals(weakness=FORGETS)) == {"analysis", "original"}
    assert origins(proposals(entries=[entry("value_residual")])) == {"cognition", "original"}
    assert origins(proposals(weakness=FORGETS, entries=[entry("value_residual")])) == set(ORIGINS)


def test_what_is_drawn_from_an_entry_is_what_the_entry_suggests():
    replies = proposals(settings={"second_move": 0.0}, entries=[entry("value_residual", "per_head_gate")])
    drawn = {
        item["component"] for reply in replies for item in reply.content["components"] if item["origin"] == "cognition"
    }
    assert drawn == {"value_residual", "per_head_gate"}
    assert any("after Remember More" in reply.content["motivation"] for reply in replies)


def test_a_component_that_lowered_the_loss_is_chosen_more_often_and_one_that_raised_it_less():
    def share(gain):
        row = {"component": "value_residual", "with": 5, "gain": gain}
        return added(proposals(statistics=[row]))["value_residual"]

    assert share(0.05) > 3 * max(share(0.0), 1)
    assert share(-0.05) < share(0.0)


def test_a_component_that_raised_the_loss_is_taken_out_again():
    parent = member(1, {**DELTA_NET, "value_residual": True})
    rows = [[{"component": "value_residual", "with": 9, "gain": gain}] for gain in (-0.05, 0.05)]
    dropped = [
        sum("value_residual" not in reply.truth["genome"] for reply in proposals(parent=parent, statistics=row))
        for row in rows
    ]
    assert dropped[0] > 3 * max(dropped[1], 1)


def test_a_symptom_points_at_its_cures():
    unbound = "Neighbouring tokens cannot be bound together within one layer."
    parent = member(1, {"delta_rule": True, "unit_length_keys": True, "head_norm_rms": True})
    counts = [added(proposals(parent=parent, weakness=weakness)) for weakness in (unbound, "Keys blur.")]
    local = [found["short_convolution"] + found["token_shift"] for found in counts]
    assert local[0] > 2 * local[1]


def test_motivations_of_different_designs_differ_and_say_the_symptom():
    replies = proposals(weakness=FORGETS)
    designs = {json.dumps(reply.truth["genome"]) for reply in replies}
    assert len({reply.content["motivation"] for reply in replies}) >= len(designs) > 50
    assert all(FORGETS in reply.content["motivation"] for reply in replies)
    assert len({reply.content["name"] for reply in replies}) == len(replies)


def test_mistakes_come_at_their_rates():
    counts = planted(proposals(400, {"crash": 0.3, "slow": 0.1, "leak": 0.2}))
    assert {kind: round(counts[kind] / 400, 1) for kind in ("crash", "slow", "leak")} == {
        "crash": 0.3, "slow": 0.1, "leak": 0.2,
    }  # fmt: skip
    assert not planted(proposals(100))


def rejection(reply, verdict):
    told = {"motivation": reply.content["motivation"], "verdict": verdict, "reason": "because"}
    return {"source": reply.content["code"], "truth": reply.truth, **told}


@pytest.mark.parametrize(("retry", "kinds"), [(1.0, set()), (0.0, {"leak"})])
def test_an_idea_that_leaked_is_written_again_with_or_without_the_leak(retry, kinds):
    leaky = mind(leak=1.0).reply(request())
    again = mind(leak=1.0, retry=retry).reply(request(draw=1, rejected=[rejection(leaky, "leaky")]))
    assert again.truth["genome"] == leaky.truth["genome"]
    assert again.truth["components"] == leaky.truth["components"]
    assert {mistake["kind"] for mistake in again.truth["mistakes"]} == kinds


def test_a_design_that_was_rejected_as_a_duplicate_is_not_proposed_again():
    rejected = []
    for draw in range(12):
        reply = mind().reply(request(draw=draw, rejected=rejected))
        assert reply.truth["genome"] not in [version["truth"]["genome"] for version in rejected]
        rejected.append(rejection(reply, "duplicate"))


def repair(reply, draw=0, **settings):
    kept = {"name": "n", "motivation": "m", "source": reply.content["code"], "truth": reply.truth}
    return mind(**settings).reply(request("repair", error="it failed", draw=draw, **kept))


def test_a_repair_removes_the_mistake_or_makes_another_of_its_kind():
    broken = mind(crash=1.0).reply(request())
    fixed, worse = repair(broken, retry=1.0), repair(broken, retry=0.0)
    assert fixed.truth["mistakes"] == []
    assert fixed.truth["genome"] == worse.truth["genome"] == broken.truth["genome"]
    assert worse.truth["mistakes"][0]["kind"] == "crash"
    assert worse.truth["mistakes"] != broken.truth["mistakes"]
    assert len({broken.content["code"], fixed.content["code"], worse.content["code"]}) == 3


def test_a_repair_of_a_program_without_mistake_is_a_simpler_program():
    single = proposals(settings={"second_move": 0.0}, entries=[entry("value_residual")])
    reply = next(reply for reply in single if "value_residual" in reply.truth["genome"])
    repaired = repair(reply)
    assert "value_residual" not in repaired.truth["genome"]
    assert repaired.content["code"] != reply.content["code"]


def structure(source):
    """A syntax tree without the names of parameters."""
    return [type(node).__name__ for node in ast.walk(ast.parse(source))]


def test_the_null_search_renames_its_parent_and_changes_nothing_else():
    parent = member()
    for _ in range(2):  # also a parent that was renamed before
        reply = mind(proposer="no_op", leak=1.0).reply(request(parent=parent, draw=parent["number"]))
        assert ast.dump(ast.parse(reply.content["code"])) != ast.dump(ast.parse(parent["source"]))
        assert structure(reply.content["code"]) == structure(parent["source"])
        assert reply.content["components"] == reply.truth["mistakes"] == []
        assert reply.truth["genome"] == DELTA_NET
        assert reply.content["name"].count("_r") == 1
        parent = member(1, source=reply.content["code"], name=reply.content["name"])


def test_novelty_is_a_matter_of_similarity():
    near = {"number": 3, "name": "a", "motivation": "It decays.", "similarity": 0.5}
    for other, duplicate in [
        (near, False),
        ({**near, "similarity": 0.999}, True),
        ({**near, "name": "b", "motivation": "It gates."}, True),
    ]:
        reply = mind().reply(request("novelty", name="b", motivation="It gates.", nearest=[other]))
        assert reply.content["duplicate"] is duplicate
    assert not mind().reply(request("novelty", name="b", motivation="", nearest=[])).content["duplicate"]


def anchors(gated_loss=2.4):
    costs = {"parameters": 1000, "flops": 2000.0, "benchmarks": {}}
    return [
        {"name": name, "mark": mark, "loss": loss, "honest_loss": loss, **costs}
        for name, mark, loss in [("delta_net", 5.0, 2.5), ("gated_delta_net", 10.0, gated_loss)]
    ]


def marks(judged, gated_loss=2.4, parent=None):
    return mind().reply(request("judge", member=judged, anchors=anchors(gated_loss), parent=parent)).content


def test_the_judge_puts_the_anchors_where_they_belong():
    assert marks(member(genome=DELTA_NET, loss=2.5))["performance"] == 5.0
    assert marks(member(genome=GATED, loss=2.4))["performance"] == 10.0
    assert marks(member(genome=DELTA_NET, loss=2.45))["performance"] == 7.5
    assert marks(member(genome=DELTA_NET, loss=9.0))["performance"] == 1.0
    assert marks(member(genome=DELTA_NET, loss=2.49), gated_loss=2.5)["performance"] == 7.5  # anchors too close


def test_the_judge_marks_what_is_new_and_what_is_cheap_higher():
    design = {**GATED, "wide_convolution": 31, "branch_routing": True}
    plain, new = marks(member(genome=DELTA_NET)), marks(member(genome=design))
    assert plain["innovation"] == 1.0 < new["innovation"] <= 10.0
    assert marks(member(genome=design), parent=member(1, design))["innovation"] == 1.0
    assert plain["complexity"] == 10.0
    assert marks(member(genome=DELTA_NET, parameters=2000, flops=4000.0))["complexity"] == 5.0


def analysis(judged, parent=None, baselines=None, **relatives):
    plain = {"grandparent": None, "siblings": [], "entries": [], "baselines": baselines or anchors(), **relatives}
    return mind().reply(request("analyse", member=judged, parent=parent, **plain)).content


def test_an_analysis_says_what_each_difference_did_to_the_loss():
    parent, design = member(1, DELTA_NET, 2.5), {**DELTA_NET, "wide_beta": True}
    better, worse = analysis(member(2, design, 2.4), parent), analysis(member(2, design, 2.6), parent)
    assert "design_1, with writing strengths up to two" in better["worked"]
    assert "-0.1000" in better["worked"]
    assert "+0.1000" in worse["failed"]
    assert worse["worked"] == "Nothing lowered the loss."


SAID = yaml.safe_load((Path(candidate.__file__).parents[1] / "loop/grammar/symptoms.yaml").read_text(encoding="utf-8"))


def test_a_weakness_is_the_symptom_that_is_most_pronounced_and_names_no_benchmark():
    recalls = [{**anchor, "benchmarks": {"multi_query_recall": 0.9, "fuzzy_recall": 0.5}} for anchor in anchors()]
    parent = member(1, DELTA_NET, 2.4)

    def weakness(genome=GATED, loss=2.4, **fields):
        return analysis(member(2, genome, loss, **fields), parent, recalls)["weakness"]

    found = [
        weakness(benchmarks={"multi_query_recall": 0.5, "fuzzy_recall": 0.5}),
        weakness(benchmarks={"multi_query_recall": 0.9, "fuzzy_recall": 0.1}),
        weakness(DELTA_NET, 2.5),
        weakness(GATED, 2.5),
        weakness({**DELTA_NET, "wide_convolution": 15}, 2.5),
        weakness({"linear_attention": True, "head_norm_rms": True}, 2.5),
        weakness(flops=9000.0),
        weakness(),
        weakness(loss=None, status="diverged"),
        weakness(loss=None, status="crashed"),
    ]
    assert found[0] == FORGETS
    assert len(set(found)) == len(found)
    assert not [text for text in found for task in SAID["measured"] if task in text]
    assert found[-2:] == [SAID["status"]["diverged"], SAID["status"]["other"]]


def test_an_analysis_passes_the_true_origins_on():
    known = [{"component": "wide_beta", "origin": "cognition"}]
    judged = member(2, truth={"genome": {**DELTA_NET, "wide_beta": True}, "components": known, "mistakes": []})
    assert analysis(judged, member(1))["components"] == known


@pytest.mark.parametrize(("fields", "said"), [({}, "2.5000 nats"), ({"loss": None, "status": "crashed"}, "crashed")])
def test_a_summary_says_what_a_program_is_made_of_and_what_it_reached(fields, said):
    summary = mind().reply(request("summarise", member=member(genome=GATED, **fields))).content["summary"]
    assert said in summary
    assert "delta rule" in summary


def test_a_reply_costs_nothing_and_its_prompt_shows_no_source():
    reply = mind().reply(request(references=[member(1)]))
    assert (reply.model, reply.cost, reply.prompt_tokens, reply.completion_tokens) == ("offline", 0.0, 0, 0)
    assert json.loads(reply.text) == reply.content
    assert "class Mixer" not in reply.prompt
    assert json.loads(reply.prompt)["parent"]["name"] == "design_0"
    assert reply.parameters["proposer"] == "learn"


def test_reading_a_paper_needs_a_language_model():
    with pytest.raises(InputError, match="llm=openai"):
        mind().reply(request("extract", text="A paper."))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"leak": 1.5}, "offline.leak"),
        ({"crash": 0.7, "leak": 0.7}, "crash \\+ slow \\+ leak"),
        ({"temperature": 0.0}, "temperature"),
        ({"leak_strengths": ()}, "leak_strengths"),
        ({"origins": {"original": 1.0}}, "offline.origins"),
        ({"origins": {"cognition": 1.0, "analysis": 1.0, "original": 0.0}}, "offline.origins"),
    ],
)
def test_settings_that_make_no_sense_are_named(wrong, named):
    with pytest.raises(InputError, match=named):
        mind(**wrong)


def test_every_answer_has_the_form_that_a_language_model_must_keep():
    broken = mind(crash=1.0).reply(request())
    relatives = {"parent": member(1), "grandparent": None, "siblings": [], "baselines": anchors(), "entries": []}
    replies = {
        "propose": broken,
        "repair": repair(broken),
        "novelty": mind().reply(request("novelty", name="b", motivation="", nearest=[])),
        "summarise": mind().reply(request("summarise", member=member())),
        "judge": mind().reply(request("judge", member=member(), anchors=anchors(), parent=None)),
        "analyse": mind().reply(request("analyse", member=member(2, GATED), **relatives)),
    }
    for purpose, reply in replies.items():
        schema = json.loads((PROGRAMS.parent / f"loop/prompts/{purpose}.json").read_text(encoding="utf-8"))
        jsonschema.validate(reply.content, schema)
