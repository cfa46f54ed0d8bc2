"""Prompts and replies: what a model is shown, and what is read from what it says."""

from __future__ import annotations

import ast
import copy
import json
import re

import jsonschema
import pytest

from loop.llm import PROMPTS, read, render
from loop.records import ORIGINS, PURPOSES
from tests.loop.protocol_server import KINDS, MISTAKES, ScriptedModel, purpose_of, valid_program

SECRET = "planted-truth-81724"


def member(number: int, **changed):
    shown = {
        "number": number,
        "name": f"mixer_{number}",
        "motivation": f"Because of {number}.",
        "summary": f"Summary of {number}.",
        "source": f"# source {number}\nclass Mixer: ...",
        "status": "ok",
        "reason": "",
        "honest_loss": 1.23456,
        "benchmarks": {"next_token": 0.5},
        "mark": 5.5,
        "parameters": 12345,
        "flops": 67890.0,
        "analysis": {"worked": "the gate", "failed": "the rest", "weakness": "forgets far back"},
        "truth": {"genome": {SECRET: [SECRET]}, "components": [], "mistakes": [{"kind": SECRET}]},
    }
    return shown | changed


FAILED = member(9, status="diverged", reason="the loss is not finite", honest_loss=None, benchmarks={}, flops=None)
ENTRY = {
    "id": "gate-1",
    "paper": "On Gates",
    "year": 2024,
    "scenario": "Old keys stay.",
    "algorithm": "Gate.",
    "context": "Text.",
    "hint": "One projection.",
    "components": ["output_gate_silu"],
}
BASELINES = [{"name": "delta_net", "loss": 1.5, "benchmarks": {"next_token": 0.4}}]
REJECTED = {
    "source": "x = 1",
    "motivation": "A leak.",
    "verdict": "leaky",
    "reason": "output 0 depends on input 1",
    "truth": {"mistakes": [SECRET]},
}
PAYLOADS = {
    "summarise": {"member": member(1)},
    "propose": {
        "parent": member(1),
        "references": [member(2), FAILED],
        "entries": [ENTRY],
        "weakness": "forgets associations made far back",
        "statistics": [{"component": "output_gate_silu", "with": 3, "gain": 0.0123}],
        "baselines": BASELINES,
        "rejected": [REJECTED],
        "draw": 987654321,
    },
    "repair": {
        "name": "mixer_9",
        "motivation": "Because.",
        "source": "y = 2",
        "error": "x" * 9000 + "IndexError: 7",
        "truth": {"kind": SECRET},
        "draw": 987654321,
    },
    "novelty": {
        "name": "new",
        "motivation": "An idea.",
        "nearest": [{"number": 4, "name": "old", "motivation": "An older idea.", "similarity": 0.91}],
    },
    "judge": {
        "member": member(1),
        "anchors": [
            {**BASELINES[0], "mark": 5, "parameters": 10, "flops": None},
            {**BASELINES[0], "name": "gated_delta_net", "mark": 10, "parameters": 11, "flops": 3e6},
        ],
        "parent": None,
    },
    "analyse": {
        "member": member(3),
        "parent": member(2),
        "grandparent": member(1),
        "siblings": [FAILED],
        "baselines": BASELINES,
        "entries": [ENTRY],
    },
    "extract": {"text": "A paper about gates."},
}


def prompt(purpose: str, **changed) -> str:
    return render(purpose, PAYLOADS[purpose] | changed)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_what_only_the_offline_proposer_knows_is_in_no_prompt(purpose):
    payload = copy.deepcopy(PAYLOADS[purpose])
    if "member" in payload:
        payload["member"]["analysis"]["truth"] = SECRET  # where a prompt shows all that there is
    text = render(purpose, payload)
    assert SECRET not in text
    assert "truth" not in text
    assert "987654321" not in text  # the draw seeds a call, and says nothing
    assert purpose_of([{}, {"content": text}]) == purpose


def test_a_proposer_sees_its_parent_the_others_the_literature_the_statistics_and_why_it_was_rejected():
    text = prompt("propose")
    for shown in (
        *("# source 1\n", "Summary of 2.", "the loss is not finite", "forgets associations made far back", "On Gates"),
        *("output_gate_silu: +0.0123 (3 cases)", "leaky: output 0 depends on input 1", "delta_net: loss 1.5000"),
        *("delta_rule(q, k, v, beta", "def forward(self, x: Tensor)", "1.2346", "next_token 0.500"),
    ):
        assert shown in text, shown
    assert "# source 2" not in text  # of others the idea and the numbers


def test_a_search_without_cognition_and_analysis_shows_none():
    text = prompt("propose", entries=[], weakness="", statistics=[], rejected=[], references=[])
    for heading in ("From the literature", "What should be cured", "What components", "Rejected", "Other experiments"):
        assert heading not in text
    assert "## The parent" in text


@pytest.mark.parametrize("relatives", [{"parent": None, "grandparent": None, "siblings": [], "entries": []}, {}])
def test_an_analyst_sees_the_relatives_that_there_are(relatives):
    text = prompt("analyse", **relatives)
    assert ("# source 2" in text) is (not relatives)
    assert "# source 3" in text


def test_a_long_log_is_shown_from_its_end():
    assert "IndexError: 7" in prompt("repair")
    assert len(prompt("repair")) < 12_000


def test_texts_of_strangers_are_no_templates():
    assert "{{ 7 * 7 }}" in prompt("novelty", motivation="{{ 7 * 7 }}")


def test_every_purpose_has_a_prompt_and_a_schema_that_strict_endpoints_accept():
    assert {path.stem for path in PROMPTS.glob("*.json")} == set(PURPOSES)
    for purpose in PURPOSES:
        schema = json.loads((PROMPTS / f"{purpose}.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["required"] == list(schema["properties"])
        assert schema["additionalProperties"] is False
        assert all(name in render(purpose, PAYLOADS[purpose]) for name in schema["properties"])


PROPOSAL = {"name": "n", "motivation": "m", "code": "class Mixer: ...", "components": []}
CODE = "import torch\n\n\nclass Mixer(torch.nn.Module):\n    table = {'a': [1, 2,]}"
WITHOUT = json.dumps(PROPOSAL | {"code": ""})


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (json.dumps(PROPOSAL), PROPOSAL["code"]),
        (f"Sure {{here}} it is:\n```json\n{json.dumps(PROPOSAL, indent=1)}\n```\nEnjoy.", PROPOSAL["code"]),
        (f"<think>Perhaps {json.dumps(PROPOSAL)}</think>{json.dumps(PROPOSAL | {'code': CODE})}", CODE),
        (json.dumps(PROPOSAL | {"code": CODE})[:-1] + ",\n}", CODE),
        (json.dumps(PROPOSAL | {"code": CODE}).replace("\\n", "\n"), CODE),
        (json.dumps(PROPOSAL | {"code": f"```python\n{CODE}\n```"}), CODE),
        (f"{WITHOUT}\n```python\n{CODE}\n```", CODE),
        (f"```python\n{CODE}\n```\nand\n{WITHOUT}", CODE),
        (f"{json.dumps(PROPOSAL | {'code': 'see below'})}\n```python\nx = 1\n```\n```py\r\n{CODE}\n```", CODE),
        (json.dumps(PROPOSAL | {"confidence": 0.9, "code": CODE}), CODE),
        ('{"thought": 1} ' + json.dumps(PROPOSAL | {"code": CODE}), CODE),
    ],
)
def test_a_program_is_read_in_every_form_that_models_use(text, code):
    content, why = read("propose", text)
    assert why == ""
    assert content == PROPOSAL | {"code": code}


@pytest.mark.parametrize(
    ("purpose", "content", "why"),
    [
        ("propose", PROPOSAL | {"components": [{"component": "x", "origin": "heaven"}]}, "heaven"),
        ("propose", {key: PROPOSAL[key] for key in ("name", "motivation", "code")}, "components"),
        ("propose", PROPOSAL | {"motivation": " "}, "empty"),
        ("propose", PROPOSAL | {"code": ""}, "empty"),
        ("judge", {"innovation": 11, "complexity": 5, "performance": 5, "reason": ""}, "11"),
        ("judge", {"innovation": float("nan"), "complexity": 5, "performance": 5, "reason": ""}, "NaN"),
        ("judge", {"innovation": float("inf"), "complexity": 5, "performance": 5, "reason": ""}, "Infinity"),
        ("extract", {"title": "T", "year": 2024, "entries": []}, "entries"),
    ],
)
def test_a_reply_outside_its_schema_is_not_read_and_the_reason_says_where(purpose, content, why):
    found, reason = read(purpose, json.dumps(content))
    assert found is None
    assert why in reason


def test_half_a_program_is_no_program():
    text = json.dumps(PROPOSAL | {"code": "", "components": [{"component": "x", "origin": "original"}]})
    assert read("propose", text[: len(text) - 3])[0] is None
    assert read("propose", f"{text}\n```python\n{CODE}")[0] is None


@pytest.mark.parametrize("piece", ['{"', "{", '{"a":', "```python\n", "\\"])
def test_a_long_reply_of_nothing_is_soon_read(piece):
    assert read("propose", piece * (200_000 // len(piece)))[0] is None


def test_what_no_database_stores_is_taken_out_and_the_rest_stays():
    odd = '{"summary": "a\\u0000b\\ud800c \\\\u0000 \\ud83d\\ude00 é"}'
    content, _ = read("summarise", odd)
    assert content == {"summary": "ab?c \\u0000 😀 é"}


def test_the_scripted_model_makes_every_mistake_and_ten_programs_that_differ():
    model = ScriptedModel()
    messages = [{"content": ""}, {"content": prompt("propose")}]
    replies = [read("propose", model("propose", messages)) for _ in KINDS]
    assert tuple(model.played) == KINDS
    assert set(MISTAKES) < set(KINDS)
    unread = {kind for kind, (content, _) in zip(KINDS, replies, strict=True) if content is None}
    assert unread == {"prose", "malformed"}
    sources = [valid_program(number)[2] for number in range(50)]
    assert len({ast.dump(ast.parse(source)) for source in sources}) == 50
    same = next(content for kind, (content, _) in zip(KINDS, replies, strict=True) if kind == "same_program")
    assert same["code"].strip() == member(1)["source"]


@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_scripted_model_answers_every_purpose_in_its_form(purpose):
    content, why = read(purpose, ScriptedModel()(purpose, [{"content": ""}, {"content": prompt(purpose)}]))
    assert content is not None, why
    origins = {item["origin"] for item in content.get("components", [])}
    assert origins <= set(ORIGINS)


def test_no_prompt_says_where_it_comes_from():
    for path in PROMPTS.glob("*.md"):
        assert not re.search(r"/work|session|TODO", path.read_text()), path
