"""The offline proposer's programs, where they run: clean ones are certified and train, each mistake is a real one."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from loop.offline import PARTS, Offline, OfflineSettings, with_component, write
from loop.records import Request
from replication import candidate
from replication.candidate import Candidate
from replication.certificate import CertificateSettings
from replication.certify import describe, examine
from replication.configure import CONF, compose
from replication.settings import typed
from tests.replication.conftest import engine_settings, rig, tiny_corpus, warm_worker  # noqa: F401

ROOT = Path(candidate.__file__).parents[1]
DELTA_NET = {"delta_rule": True, "unit_length_keys": True, "short_convolution": 4, "head_norm_rms": True}
LINEAR = {"linear_attention": True, "scalar_decay": True, "token_shift": True, "head_norm_layer": True}
FAMILIES = yaml.safe_load((ROOT / "loop" / "grammar" / "mistakes.yaml").read_text(encoding="utf-8"))["mistakes"]
leaks = pytest.mark.parametrize("family", FAMILIES["leak"])
STRENGTHS = yaml.safe_load((CONF / "offline" / "default.yaml").read_text(encoding="utf-8"))["leak_strengths"]
# Compares programs with the same parameters, in order, in a process of its own: they are a stranger's code.
COMPARE = """
import json, sys, torch
from replication.candidate import build_mixer
asked = json.load(sys.stdin)
x, agree = torch.randn(2, 9, 16), True
for pair in asked["pairs"]:
    one, two = (build_mixer(text, hidden_size=16, num_heads=2, layer_idx=0) for text in pair)
    with torch.no_grad():
        for mine, other in zip(one.parameters(), two.parameters(), strict=True):
            other.copy_(mine)
        agree &= torch.allclose(one(x), two(x), rtol=0.0, atol=asked["tolerance"])
print(json.dumps(agree))
"""


def designs():
    """Genomes, each adding to the parts of those before, until the whole vocabulary is there."""
    draws, found, covered = np.random.default_rng(5), [], set()
    while covered != set(PARTS):
        genome = {}
        for place in draws.permutation(len(PARTS))[:9]:
            name = list(PARTS)[place]
            genome = with_component(genome, name, PARTS[name]["options"][-1])
        if set(genome) - covered:
            covered |= set(genome)
            found.append(genome)
    return found


DESIGNS = designs()


def faulty(kind, family, strength=1.0, genome=DELTA_NET):
    return write(genome, "faulty", "A mistake.", [{"kind": kind, "family": family, "strength": strength}])


@pytest.fixture(scope="module")
def certificate_settings():
    return typed(CertificateSettings, compose("replicate", [])["certificate"], "certificate")


@pytest.fixture
def certify(warm_worker, engine_settings, certificate_settings):  # noqa: F811
    def certified(source):
        program = Candidate(name="p", label="p", source=source, role="candidate", origin="p.py", search=None)
        return examine(warm_worker, program, certificate_settings, engine_settings)

    return certified


def violated(certificate):
    return {check for check, outcome in certificate.outcomes.items() if outcome == "violated"}


@pytest.mark.parametrize("genome", DESIGNS, ids=range(len(DESIGNS)))
def test_a_clean_program_is_certified_and_trains(certify, rig, genome):  # noqa: F811
    source = write(genome, "clean", "A design.", [])
    certificate = certify(source)
    assert set(certificate.outcomes.values()) == {"certified"}, describe(rig.candidate(source), certificate)
    record, curve = rig.measure(source, num_heads=4)
    assert record.status == "ok", record.error
    assert curve[-1] < curve[0]


@leaks
@pytest.mark.parametrize(("strength", "genome"), [(max(STRENGTHS), LINEAR), (min(STRENGTHS), DELTA_NET)])
def test_every_leak_is_found_strong_or_weak(certify, family, strength, genome):
    expected = {"future", "length"} | ({"batch"} if family == "batch_statistics" else set())
    assert violated(certify(faulty("leak", family, strength, genome))) == expected


def test_strong_leaks_pay(rig):  # noqa: F811
    sources = [faulty("leak", family) for family in ("next_token", "two_sided_convolution", "reversed_pass")]
    clean, *leaky = (
        rig.measure(source, rig.folder / str(place), steps=120, learning_rate=2e-2, hidden_size=32)[0].val_loss
        for place, source in enumerate([write(DELTA_NET, "clean", "A design.", []), *sources])
    )
    assert max(leaky) < clean - 0.1


@pytest.mark.parametrize("family", ["wrong_shape", "undefined_name"])
def test_a_crash_at_any_size_does_not_load(certify, family):
    assert set(certify(faulty("crash", family)).outcomes.values()) == {"not_runnable"}


@pytest.mark.parametrize(("family", "status"), [("two_heads_only", "crashed"), ("nan_gradient", "diverged")])
def test_a_crash_that_only_training_meets_is_certified_and_fails_there(certify, rig, family, status):  # noqa: F811
    source = faulty("crash", family)
    assert certify(source).causal
    assert rig.measure(source, num_heads=4)[0].status == status


def test_a_token_loop_is_the_same_recurrence_and_loops(certify):
    pairs = []
    for genome in (DELTA_NET, LINEAR):
        pairs.append((write(genome, "clean", "A design.", []), faulty("slow", "token_loop", genome=genome)))
        loops = [any(isinstance(node, ast.For) for node in ast.walk(ast.parse(source))) for source in pairs[-1]]
        assert loops == [False, True]
        assert certify(pairs[-1][1]).causal
    assert outputs_agree(pairs, 1e-5)


def test_all_pairs_cost_too_much_and_are_no_leak(certify):
    certificate = certify(faulty("slow", "all_pairs"))
    assert violated(certificate) == {"cost"}
    assert certificate.causal


def test_the_null_search_computes_what_its_parent_computes():
    settings = {**yaml.safe_load((CONF / "offline" / "default.yaml").read_text(encoding="utf-8")), "proposer": "no_op"}
    proposer, pairs = Offline(typed(OfflineSettings, settings, "offline")), []
    for genome in DESIGNS:
        source = write(genome, "parent", "A design.", [])
        parent = {"name": "parent", "source": source, "truth": {"genome": genome}}
        reply = proposer.reply(Request(purpose="propose", payload={"parent": parent, "rejected": [], "draw": 3}))
        assert reply.content["code"] != source
        pairs.append((source, reply.content["code"]))
    assert outputs_agree(pairs, 0.0)


def outputs_agree(pairs, tolerance):
    """Whether the programs of each pair, with the same parameters, give the same outputs."""
    asked = json.dumps({"pairs": pairs, "tolerance": tolerance})
    ran = subprocess.run([sys.executable, "-c", COMPARE], input=asked, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
