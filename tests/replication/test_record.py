"""The identity of a run, and records that can be trusted when read back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from replication.record import CorpusRef, RunRecord, RunSpec, Scale
from replication.settings import InputError, typed


def changed(value: object) -> Any:
    """Another value of the same type that the checks of Scale and Optimiser accept."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value * 2
    if isinstance(value, float):
        return value / 2
    others = {"cosine": "wsd", "highest": "high", "cpu": "cuda"}
    return others.get(str(value), f"{value}x")


def variations(instance: Any) -> Iterator[tuple[str, Any]]:
    """Copies of a frozen dataclass, each with one field changed, at any depth."""
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if dataclasses.is_dataclass(value):
            for name, inner in variations(value):
                yield f"{field.name}.{name}", dataclasses.replace(instance, **{field.name: inner})
        else:
            yield field.name, dataclasses.replace(instance, **{field.name: changed(value)})


@pytest.fixture
def spec(rig: Any) -> RunSpec:
    return dataclasses.replace(rig.spec(honest=rig.honest), scale=dataclasses.replace(rig.scale, batch_size=8))


@pytest.fixture
def record(spec: RunSpec) -> RunRecord:
    return RunRecord(
        run_id=spec.run_id,
        spec=spec,
        name="own",
        status="ok",
        error=None,
        failed_step=None,
        val_loss=1.25,
        honest_loss=1.5,
        leak_gain=0.25,
        leak_gain_se=None,
        looks_ahead=False,
        bits_per_byte=0.1 + 0.2,
        benchmarks={"next_token": 0.5},
        steps_done=12,
        parameters=100,
        flops=1e9,
        tokens_per_second=1000.0,
        wall_seconds=1.5,
        cpu_seconds=1.25,
        peak_memory_bytes=10**9,
        hardware="a processor",
        versions={"torch": "2"},
        commit=None,
        notes=("a note",),
        confinement={"files": "Landlock ABI 7"},
        started="2026-01-01T00:00:00+00:00",
        ended="2026-01-01T00:00:02+00:00",
    )


def test_every_field_of_the_spec_changes_the_run_id(spec: RunSpec) -> None:
    copies = dict(variations(spec))
    fields = {"candidate", "scale.steps", "optimiser.beta1", "corpus.sha256", "seed", "device", "torch", "code"}
    fields |= {"certified", "honest.positions", "honest.draws"}
    assert fields <= set(copies)
    ids = {name: copy.run_id for name, copy in copies.items()}
    assert len({*ids.values(), spec.run_id}) == len(ids) + 1, ids


def test_equal_specs_have_equal_run_ids_however_they_were_made(spec: RunSpec) -> None:
    again = typed(RunSpec, json.loads(json.dumps(dataclasses.asdict(spec), sort_keys=True)), "spec")
    assert again == spec
    assert again.run_id == spec.run_id


def test_the_run_id_is_the_start_of_the_hash_of_the_canonical_json(spec: RunSpec) -> None:
    import hashlib

    text = json.dumps(dataclasses.asdict(spec), sort_keys=True, separators=(",", ":"))
    assert spec.run_id == hashlib.sha256(text.encode()).hexdigest()[:20]


def test_a_record_survives_json(record: RunRecord) -> None:
    assert RunRecord.from_json(record.to_json(), "here") == record


def test_a_run_is_another_one_with_and_without_the_honest_loss(spec: RunSpec) -> None:
    assert dataclasses.replace(spec, certified=True, honest=None).run_id != spec.run_id
    with pytest.raises(InputError, match="a program without a certificate"):
        dataclasses.replace(spec, honest=None)


SCORES = ("val_loss", "honest_loss", "leak_gain", "leak_gain_se", "looks_ahead", "bits_per_byte")


@pytest.mark.parametrize("scores", [*({name: 1.0} for name in SCORES), dict.fromkeys(SCORES, 1.0)])
def test_a_failure_with_a_score_is_refused(record: RunRecord, scores: dict[str, float]) -> None:
    failure = {"status": "crashed", **dict.fromkeys(SCORES), "benchmarks": {}}
    dataclasses.replace(record, **failure)
    with pytest.raises(InputError, match="a failure has a status and no score"):
        dataclasses.replace(record, **{**failure, **scores})


@pytest.mark.parametrize("name", ["val_loss", "honest_loss", "bits_per_byte"])
@pytest.mark.parametrize("loss", [None, math.nan, math.inf])
def test_an_ok_record_without_a_finite_score_is_refused(record: RunRecord, name: str, loss: float | None) -> None:
    with pytest.raises(InputError, match="status ok needs finite scores"):
        dataclasses.replace(record, **{name: loss})


def test_a_failure_with_an_accuracy_is_refused(record: RunRecord) -> None:
    with pytest.raises(InputError, match="a failure has a status and no accuracies, got {'next_token': 0.5}"):
        dataclasses.replace(record, status="crashed", **dict.fromkeys(SCORES))


@pytest.mark.parametrize("benchmarks", [{}, {"a": 0.5, "b": -0.1}, {"a": 1.1}, {"a": math.nan}])
def test_an_ok_record_has_accuracies_between_0_and_1(record: RunRecord, benchmarks: dict[str, float]) -> None:
    with pytest.raises(InputError, match="status ok needs accuracies between 0 and 1"):
        dataclasses.replace(record, benchmarks=benchmarks)


@pytest.mark.parametrize("gain", [None, math.nan, math.inf])
def test_a_program_without_a_certificate_needs_a_leak_gain(record: RunRecord, gain: float | None) -> None:
    with pytest.raises(InputError, match="a measured leak gain is finite"):
        dataclasses.replace(record, leak_gain=gain)


def test_a_measured_leak_gain_says_whether_the_program_looks_ahead(record: RunRecord) -> None:
    with pytest.raises(InputError, match="a measured leak gain is finite"):
        dataclasses.replace(record, looks_ahead=None)


@pytest.mark.parametrize(
    "change", [{"leak_gain": 0.0}, {"leak_gain_se": 0.0}, {"looks_ahead": False}, {"honest_loss": 1.5}]
)
def test_a_certified_program_has_its_ordinary_loss_and_no_leak_gain(
    record: RunRecord, change: dict[str, float]
) -> None:
    spec = dataclasses.replace(record.spec, certified=True, honest=None)
    sound = {"spec": spec, "run_id": spec.run_id, "honest_loss": 1.25, "leak_gain": None, "looks_ahead": None}
    dataclasses.replace(record, **sound)
    with pytest.raises(InputError, match="a certified program has its ordinary loss and no leak gain"):
        dataclasses.replace(record, **{**sound, **change})


@pytest.mark.parametrize("change", [{"positions": 0}, {"draws": 0}, {"draws": -1}])
def test_honest_settings_out_of_range_are_named(record: RunRecord, change: dict[str, int]) -> None:
    assert record.spec.honest is not None
    with pytest.raises(InputError, match=rf"^honest\.{next(iter(change))}: must be above 0"):
        dataclasses.replace(record.spec.honest, **change)


def altered(record: RunRecord, **changes: Any) -> str:
    return json.dumps({**json.loads(record.to_json()), **changes})


def test_a_truncated_record_is_an_input_error(record: RunRecord) -> None:
    text = record.to_json()
    for length in (0, 1, len(text) // 2, len(text) - 3):
        with pytest.raises(InputError, match=r"^here: not JSON"):
            RunRecord.from_json(text[:length], "here")


@pytest.mark.parametrize("text", ["[]", "{}", '"text"', '{"schema": "archaudit.run/5"}', '{"schema": "other"}'])
def test_a_foreign_file_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError, match=r"^here: not a run record of schema archaudit\.run/6$"):
        RunRecord.from_json(text, "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, r"^here\.seed: unknown setting"),
        ({"val_loss": "1.0"}, r"^here\.val_loss: expected a number"),
        ({"val_loss": math.nan}, r"^here\.val_loss: expected a number"),
        ({"status": "fine"}, r"^here\.status: expected one of ok, diverged"),
        ({"status": "crashed"}, r"a failure has a status and no score"),
        ({"run_id": "0" * 20}, r"^here: run_id does not belong to its spec$"),
    ],
)
def test_an_altered_record_is_an_input_error(record: RunRecord, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RunRecord.from_json(altered(record, **change), "here")


def test_an_altered_spec_no_longer_fits_the_run_id(record: RunRecord) -> None:
    spec = {**dataclasses.asdict(record.spec), "seed": record.spec.seed + 1}
    with pytest.raises(InputError, match="run_id does not belong to its spec"):
        RunRecord.from_json(altered(record, spec=spec), "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, r"^scale\.tiny\.steps: must be above 0, got 0$"),
        ({"learning_rate": -1.0}, r"^scale\.tiny\.learning_rate: must be above 0"),
        ({"num_heads": 3}, r"^scale\.tiny\.num_heads: 3 does not divide hidden_size 16$"),
        ({"micro_batch_size": 3}, r"^scale\.tiny\.micro_batch_size: 3 does not divide batch_size 4$"),
    ],
)
def test_a_scale_that_cannot_be_trained_names_its_field(rig: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(rig.scale, **change)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"beta2": 1.0}, "beta2"),
        ({"warmup_fraction": 1.5}, "warmup_fraction"),
        ({"gradient_clip": 0.0}, "gradient_clip"),
    ],
)
def test_an_optimiser_setting_out_of_range_names_its_field(rig: Any, change: dict[str, float], field: str) -> None:
    with pytest.raises(InputError, match=rf"^optimiser\.{field}: must be"):
        dataclasses.replace(rig.optimiser, **change)


def test_a_scale_counts_its_training_tokens(rig: Any) -> None:
    assert rig.scale.tokens == 12 * 4 * 32


def test_specs_are_immutable(spec: RunSpec) -> None:
    assert isinstance(spec.scale, Scale)
    assert isinstance(spec.corpus, CorpusRef)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.seed = 3  # type: ignore[misc]
