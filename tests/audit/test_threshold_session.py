"""The session trains only when asked, keeps what it trained with checksums, and says what the kept results are."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from audit.sources import zoo
from audit.threshold import reference as threshold_reference
from audit.threshold import session as threshold_session
from audit.threshold.evidence import CERTIFICATE_COLUMNS, PROPOSAL_COLUMNS, ThresholdEvidence
from audit.threshold.reference import (
    Reference,
    describe,
    read_reference,
    usable,
    without_published_names,
    write_reference,
)
from replication.candidate import Candidate
from replication.certificate import CHECKS
from replication.provenance import code_sha256
from replication.settings import InputError

CONFIG = {"seeds": 3, "scale": {"cpu-small": {"steps": 400}}, "paths": {"results": "here"}}


def certificates(*candidates, source="zoo", outcome="certified"):
    rows = [
        {
            "source": source, "candidate": candidate, "name": f"name of {candidate}", "family": "",
            "strength": math.nan,
            "check": check, "outcome": outcome, "size": math.nan, "limit": 1e-12, "detail": "", "first_output": None,
            "position": None, "seed": None, "mode": None, "length": None, "dtype": None, "gradient": None,
        }
        for candidate in candidates
        for check in CHECKS
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(CERTIFICATE_COLUMNS))


def proposals(*candidates):
    rows = [
        {
            "source": "zoo", "scale": "cpu-small", "candidate": candidate, "name": f"name of {candidate}", "family": "",
            "strength": math.nan, "seed": seed, "status": "ok" if seed else "diverged",
            "loss": 2.1 if seed else math.nan,
            "honest_loss": 2.1 if seed else math.nan, "leak_gain": math.nan, "leak_gain_se": math.nan,
            "baseline_loss": 2.0, "benchmark": math.nan, "baseline_benchmark": math.nan,
        }
        for candidate in candidates
        for seed in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(PROPOSAL_COLUMNS))


@pytest.fixture
def kept(tmp_path):
    """A reference folder that holds the candidates a and b."""
    made = {"config": CONFIG, "commit": "c" * 40, "dirty": False, "code_sha256": code_sha256()}
    folder = tmp_path / "reference"
    write_reference(
        folder, Reference(proposals=proposals("a", "b"), certificates=certificates("a", "b"), manifest=made)
    )
    return folder


def test_kept_tables_come_back_as_evidence_with_failures_and_empty_cells_intact(kept):
    reference = read_reference(kept)
    read = ThresholdEvidence(reference.proposals, reference.certificates)
    written = ThresholdEvidence(proposals("a", "b"), certificates("a", "b"))
    pd.testing.assert_frame_equal(read.proposals, written.proposals, check_dtype=False)
    pairs = zip(read.certificates.items(), written.certificates.items(), strict=True)
    assert all(list(own.dropna()) == list(other.dropna()) for (_, own), (_, other) in pairs)


def test_a_folder_without_results_is_no_error_and_a_torn_one_is(kept, tmp_path):
    assert read_reference(tmp_path / "nothing") is None
    (kept / "proposals.csv").write_text("changed by hand\n")
    with pytest.raises(InputError, match="are not those that its manifest names; retrain=true"):
        read_reference(kept)
    (kept / "certificates.csv").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_reference(kept)


def test_a_folder_that_cannot_be_written_is_named(kept, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="^reference: .*file.* cannot be written"):
        write_reference(tmp_path / "file", read_reference(kept))


def test_results_as_asked_for_are_described_in_one_sentence(kept):
    said = describe("there", read_reference(kept), certificates("a", "b"), CONFIG, retrained=False)
    assert len(said) == 1
    assert said[0].startswith("Trained results are taken from there: 4 runs of 2 programs beside the baseline at cpu")
    assert said[0].endswith("made at commit cccccccccccc.")


def test_other_settings_other_code_and_changed_programs_are_said(kept, monkeypatch):
    monkeypatch.setattr(threshold_reference, "code_sha256", lambda: "other")
    asked = {"seeds": 5, "scale": {"cpu-small": {"steps": 400}, "smoke": {"steps": 20}}, "paths": {"results": "there"}}
    now = pd.concat([certificates("a", outcome="not_runnable"), certificates("new")])
    said = " ".join(describe("there", read_reference(kept), now, asked, retrained=False))
    assert "other settings than this call asks for (scale.smoke, seeds)" in said
    assert "The code of the bench has changed" in said
    assert "1 program of theirs, not the same" in said
    assert "name of a (future)" in said
    assert "made now are used" in said


def test_only_runs_of_programs_that_are_the_same_to_the_letter_are_used(kept):
    assert set(usable(read_reference(kept), certificates("b", "new"))["candidate"]) == {"b"}
    assert usable(None, certificates("b")).empty


def test_published_programs_are_kept_by_index_alone():
    table = pd.concat([certificates("a"), certificates("7", source="asi_arch")], ignore_index=True)
    names = without_published_names(table).groupby("source")["name"].unique().map(list).to_dict()
    assert names == {"asi_arch": ["index 7"], "zoo": ["name of a"]}


def own(name, source):
    return Candidate(name=name, label=name, source=source, role="candidate", origin=name, search=None)


def test_graded_specimens_have_their_strength_and_others_none():
    settings = zoo.ZooSettings(specimens=("next_token", "dropout"), scales=("s",))
    subjects = zoo.zoo_subjects(settings, [own("mine", "x = 1")])
    assert [(s.family, s.strength, s.scales) for s in subjects[:1]] == [("next_token", 1.0, ("s",))]
    assert [math.isnan(s.strength) for s in subjects] == [False, True, True]
    assert [s.family for s in subjects] == ["next_token", "dropout", ""]


def test_faint_strengths_are_certified_and_never_trained():
    settings = zoo.MixedSettings(families=("next_token",), strengths=(0.0, 1.0), faint=(1e-6,), scales=("s",))
    assert {s.strength: s.scales for s in zoo.mixed_subjects(settings)} == {0.0: ("s",), 1e-6: (), 1.0: ("s",)}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["zoo.specimens=[unheard_of]"], "zoo.specimens: unknown specimen 'unheard_of'"),
        (["mixed.families=[dropout]"], "mixed.families: 'dropout' is no graded leak"),
        (["mixed.strengths=[0,2]"], "mixed.strengths: must lie between 0 and 1"),
        (["mixed.faint=[1.0]"], "stands there twice"),
        (["scale=smoke"], r"zoo.scales: 'cpu-small' is none of the scales in use \(smoke\)"),
        (["baseline=retnet"], "baseline: 'retnet' is none of"),
        (["retrian=true"], "retrian"),
        (["archive=nowhere.csv"], "nowhere.csv"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_before_anything_runs(overrides, message):
    with pytest.raises(InputError, match=message):
        threshold_session.open_session(overrides)


def test_the_default_session_opens_and_names_every_specimen_once(monkeypatch):
    monkeypatch.setenv("ARCHAUDIT_PUBLISHED", "/nowhere")
    session = threshold_session.open_session([])
    assert "gallery.json is not at hand" in session.published_note
    families = [s.family for s in session.trained if s.source == "zoo" and s.family]
    assert sorted(families) == sorted(specimen.name for specimen in zoo.ZOO)
    assert len({s.id for s in session.programs}) == len(session.programs)


def test_every_published_program_is_certified_under_its_index(published_root):
    session = threshold_session.open_session([f"published.root={published_root}"])
    listed = json.loads((published_root / "gallery.json").read_text(encoding="utf-8"))
    assert sorted(int(s.key) for s in session.published) == sorted(row["index"] for row in listed)
    assert not any(s.scales for s in session.published)


SMALL = [
    "scale=smoke", "scale.smoke.steps=4", "scale.smoke.hidden_size=16", "scale.smoke.sequence_length=32", "seeds=2",
    "zoo.specimens=[next_token,previous_token]", "zoo.scales=[smoke]", "mixed.families=[next_token]",
    "mixed.strengths=[0,1]", "mixed.faint=[]", "mixed.scales=[smoke]", "baselines=[delta_net]", "candidates=files",
    "certificate.lengths=[1,9]", "certificate.cost_lengths=[8,16,32]", "published.root=/nowhere",
    "audit.resamples=100",
]  # fmt: skip


def test_a_session_trains_once_and_then_reuses_what_it_kept(tmp_path, capsys):
    mixer = "from torch import nn\n\n\nclass Mixer(nn.Module):\n    def __init__(self, hidden_size):\n"
    mixer += "        super().__init__()\n        self.proj = nn.Linear(hidden_size, hidden_size)\n\n"
    (tmp_path / "own.py").write_text(mixer + "    def forward(self, x):\n        return self.proj(x)\n")
    settings = [*SMALL, f"candidates.paths=[{tmp_path}/own.py]", f"paths.results={tmp_path}/results"]
    (tmp_path / "searched.csv").write_text("id,loss,baseline_loss,leaky\n1,1.7,2.0,true\n2,1.9,2.0,false\n")
    settings += [f"reference={tmp_path}/kept", f"archive={tmp_path}/searched.csv"]
    threshold_session.run_audit_threshold([*settings, "retrain=true"])
    first = _findings(tmp_path)
    assert {"leakage.zoo.own", "threshold.zoo.true_positive_rate.smoke"} <= set(first)
    assert first["threshold.searched.true_positive_rate.archive"]["estimate"] == 1.0
    assert first["leakage.zoo.next_token"]["details"]["checks"]["future"] == "violated"
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "certificates.csv",
        "manifest.json",
        "proposals.csv",
    ]
    assert "to do" in capsys.readouterr().out
    threshold_session.run_audit_threshold(settings)
    assert _findings(tmp_path) == first
    assert "to do" not in capsys.readouterr().out


def _findings(folder: Path):
    text = (folder / "results" / "audit_threshold" / "latest" / "findings.json").read_text(encoding="utf-8")
    return {finding["id"]: finding for finding in json.loads(text)["findings"]}
