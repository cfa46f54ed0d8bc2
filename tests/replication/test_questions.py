"""Questions of the lm-eval library: as rows of the evaluation, and judged as the library judges them."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replication.corpus import Corpus, prepare
from replication.corpus.encoding import ByteEncoder
from replication.corpus.recall import RecallSettings
from replication.measure import Bench
from replication.questions import Questions, QuestionSettings, Task, open_questions, shares
from replication.record import RunRecord
from replication.settings import InputError

NEXT_TOKEN = "y = torch.cat([x[:, 1:], x[:, :1]], dim=1)"  # looks ahead


class Likeliest:
    """Judges as lm-eval does: the answer of the highest log-likelihood, or with one answer the greedy one."""

    def process_results(self, doc: Any, results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
        best = max(range(len(results)), key=lambda i: results[i][0])
        return {"acc": float(results[0][1] if len(results) == 1 else best == doc["gold"]), "f1": (1, 2)}


def task(name: str = "own", metric: str = "acc", pairs: Any = None, gold: int = 0) -> Task:
    pairs = pairs or ((("one, two,", " three"), ("one, two,", " ten")), (("a", "b"), ("a", "c")))
    return Task(name=name, metric=metric, judge=Likeliest(), docs=({"gold": gold},) * len(pairs), pairs=pairs)


def questions(*tasks: Task) -> Questions:
    return Questions(tasks or (task(),), ByteEncoder())


def text(tokens: np.ndarray) -> str:
    return bytes(tokens.tolist()).decode()


def test_a_row_holds_the_context_the_answer_and_then_separators() -> None:
    rows = questions().rows(16)
    assert [text(row).rstrip("\0") for row in rows.inputs] == ["one, two, thre", "one, two, te", "a", "a"]
    answers = [text(row[a:b]) for row, a, b in zip(rows.targets, rows.first, rows.last, strict=True)]
    assert answers == [" three", " ten", "b", "c"]
    assert rows.inputs.shape == rows.targets.shape == (4, 16)
    assert rows.cut == 0


def test_the_target_of_each_position_is_the_token_after_it() -> None:
    rows = questions().rows(16)
    for inputs, targets, last in zip(rows.inputs, rows.targets, rows.last, strict=True):
        assert targets[: last - 1].tolist() == inputs[1:last].tolist()


def test_a_long_context_loses_its_beginning_and_no_part_of_the_answer() -> None:
    rows = questions(task(pairs=((("0123456789", "abcd"), ("89", "abc")),))).rows(6)
    assert text(rows.inputs[0]) == "789abc"
    assert text(rows.targets[0]) == "89abcd"
    assert (rows.first[0], rows.last[0]) == (2, 6)
    assert rows.cut == 1


def test_an_answer_longer_than_a_row_is_an_input_error() -> None:
    asked = questions(task(pairs=((("a", "abcdef"), ("a", "b")),)))
    asked.rows(6)
    with pytest.raises(InputError, match=r"questions\.tasks: own: an answer has 6 tokens, and rows of this scale 5"):
        asked.rows(5)


def test_spaces_at_the_end_of_a_context_belong_to_the_answer() -> None:
    rows = questions(task(pairs=((("one ", "two"),),))).rows(8)
    assert text(rows.targets[0][rows.first[0] : rows.last[0]]) == " two"


def test_without_a_context_the_separator_stands_there() -> None:
    rows = questions(task(pairs=((("", "two"),),))).rows(8)
    assert text(rows.inputs[0][:3]) == "\0tw"
    assert text(rows.targets[0][rows.first[0] : rows.last[0]]) == "two"


def test_an_answer_without_a_token_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"questions\.tasks: own: an answer without a token"):
        questions(task(pairs=((("one", ""),),)))


def test_an_answers_likelihood_is_that_of_its_tokens_alone() -> None:
    asked = questions()
    rows = asked.rows(16)
    losses, hits = np.full(rows.inputs.shape, 50.0), np.zeros(rows.inputs.shape, dtype=bool)
    for row, loss in enumerate([1.0, 1.2, 2.0, 1.0]):  # " three" has 6 tokens and " ten" 4, so the second is likelier
        losses[row, rows.first[row] : rows.last[row]] = loss
    assert asked.judge(rows, losses, hits) == {"lm_eval/own/acc": "00"}
    losses[0] = 0.7
    losses[3, rows.first[3]] = 2.5
    assert asked.judge(rows, losses, hits) == {"lm_eval/own/acc": "11"}


def test_an_answer_is_greedy_where_each_of_its_tokens_is_the_likeliest() -> None:
    asked = questions(task(pairs=((("a", "bcd"),), (("b", "cde"),))))
    rows = asked.rows(8)
    losses, hits = np.ones(rows.inputs.shape), np.zeros(rows.inputs.shape, dtype=bool)
    hits[0, :3] = True
    hits[1, 1:] = True
    assert asked.judge(rows, losses, hits) == {"lm_eval/own/acc": "10"}


def test_results_go_to_the_task_that_asked() -> None:
    asked = questions(task("first", gold=0), task("second", gold=1))
    rows = asked.rows(16)
    losses, hits = np.ones(rows.inputs.shape), np.zeros(rows.inputs.shape, dtype=bool)
    losses[[1, 3, 4, 6]] = 9.0  # of each question of `first` the second answer, of `second` the first
    items = asked.judge(rows, losses, hits)
    assert items == {"lm_eval/first/acc": "11", "lm_eval/second/acc": "11"}
    assert shares({"a": "1101"}) == {"a": 0.75}


def test_a_guess_is_right_as_often_as_there_are_few_answers() -> None:
    three = ((("a", "b"),) * 3, (("a", "b"),) * 2)
    assert questions(task(pairs=three)).chance == {"lm_eval/own/acc": pytest.approx((1 / 3 + 1 / 2) / 2)}
    assert questions(task(pairs=((("a", "b"),),))).chance == {"lm_eval/own/acc": 0.0}


def test_all_that_decides_a_score_is_in_the_hash() -> None:
    others = [
        questions(),
        questions(task("other")),
        questions(task(gold=1)),
        questions(task(pairs=((("one, two,", " three"), ("one, two,", " ten")), (("a", "b"), ("a", "d"))))),
        questions(task(pairs=((("one, two, ", "three"), ("one, two,", " ten")), (("a", "b"), ("a", "c"))))),
        questions(task(), task()),
    ]
    hashes = [other.sha256 for other in others]
    assert hashes[4] == hashes[0]  # the same tokens
    assert len(set(hashes)) == len(hashes) - 1
    assert questions().sha256 == hashes[0]


@pytest.mark.parametrize(("metric", "told"), [("f2", "it has acc, f1"), ("f1", r"it gives \(1, 2\) for one question")])
def test_a_metric_that_is_not_of_right_and_wrong_is_an_input_error(metric: str, told: str) -> None:
    with pytest.raises(InputError, match=rf"questions\.tasks: own: '{metric}' is no metric .*{told}"):
        task(metric=metric).right({"gold": 0}, [(0.0, False)] * 2)


def measured(rig: Any, asked: Questions | None, source: str, **planned: Any) -> RunRecord:
    bench = Bench(rig.corpus, rig.worker.settings, print, asked)
    run = rig.planned(source, **planned)
    spec = dataclasses.replace(run.spec, questions=None if asked is None else asked.sha256)
    run = dataclasses.replace(run, spec=spec)
    probe = bench.probe(rig.worker, run)
    record, _ = bench.measure(rig.worker, run, probe, rig.folder, lambda first, losses: None)
    assert record.status == "ok", record.error
    assert RunRecord.from_json(record.to_json(), "record") == record
    return record


def test_a_run_has_the_shares_of_its_questions_and_each_of_them(rig: Any) -> None:
    pairs = tuple(((f"{i} alpha", " beta"), (f"{i} alpha", "ZQXJ")) for i in range(20))
    record = measured(rig, questions(task(pairs=pairs)), rig.source(), steps=60, learning_rate=0.01)
    assert record.items == {"lm_eval/own/acc": "1" * 20}  # a model of these texts has never seen ZQXJ
    assert record.benchmarks["lm_eval/own/acc"] == 1.0
    assert list(record.benchmarks) == ["next_token", "lm_eval/own/acc"]
    assert record.notes == measured(rig, None, rig.source(), steps=1).notes


@pytest.mark.parametrize("honest", [False, True])
def test_questions_change_no_other_score(rig: Any, honest: bool) -> None:
    settings = {"honest": rig.honest if honest else None, "certified": True, "sequence_length": 64}
    settings |= {"evaluation_windows": 32}  # a whole forward pass
    without, answered = (measured(rig, asked, rig.source(), **settings) for asked in (None, questions()))
    assert without.run_id != answered.run_id
    for name in ("val_loss", "honest_loss", "leak_gain", "bits_per_byte", "looks_ahead"):
        assert getattr(without, name) == getattr(answered, name), name
    assert without.benchmarks["next_token"] == answered.benchmarks["next_token"]
    assert without.items == {}


def test_a_context_that_was_cut_is_said_in_the_record(rig: Any) -> None:
    record = measured(rig, questions(task(pairs=((("x" * 40, "y"), ("x", "z")),))), rig.source())
    assert "lm-eval: 1 of 2 contexts are cut to fit into a row of the scale" in record.notes


def test_a_program_without_a_certificate_is_not_asked(rig: Any) -> None:
    record = measured(rig, questions(), rig.source(), honest=rig.honest, certified=False)
    assert list(record.benchmarks) == ["next_token"]
    assert record.items == {}
    assert any(note.startswith("lm-eval: left out") for note in record.notes)


def test_a_certified_program_that_looks_ahead_has_no_answers(rig: Any) -> None:
    settings = {"honest": rig.honest, "certified": True, "steps": 80, "learning_rate": 0.01}
    record = measured(rig, questions(), rig.source(NEXT_TOKEN), **settings)
    assert record.looks_ahead
    assert record.items == {}
    assert any(note.startswith("lm-eval: left out") for note in record.notes)


def test_an_answer_that_does_not_fit_is_said_before_anything_runs(rig: Any) -> None:
    bench = Bench(rig.corpus, rig.worker.settings, print, questions(task(pairs=((("a", "b" * 33), ("a", "b")),))))
    with pytest.raises(InputError, match="an answer has 33 tokens"):
        bench.evaluation(rig.scale)


def test_without_tasks_there_are_no_questions(tiny_corpus: Corpus) -> None:
    assert open_questions(QuestionSettings(tasks=(), folders=(), limit=None), tiny_corpus) is None


def test_a_corpus_that_is_no_text_has_no_questions(tmp_path: Path) -> None:
    settings = RecallSettings(
        kind="recall", name="recall", seed=1, symbols=6, pairs=3, queries=8, copied=3, blanks=5, fuzzy_pairs=2,
        fuzzy_queries=4, key_tokens=2, value_tokens=2, episodes={"train": 20, "val": 20, "test": 10},
    )  # fmt: skip
    with pytest.raises(InputError, match="questions: corpus 'recall' is no text"):
        open_questions(QuestionSettings(tasks=("own/acc",), folders=(), limit=None), prepare(settings, tmp_path))


def test_a_missing_library_is_an_input_error(tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(InputError, match=r"lm-eval is not installed: pip install archaudit\[lm-eval\]"):
        open_questions(QuestionSettings(tasks=("piqa/acc",), folders=(), limit=None), tiny_corpus)


def test_a_limit_of_none_at_all_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"questions\.limit"):
        QuestionSettings(tasks=(), folders=(), limit=0)


@pytest.mark.parametrize(("tasks", "told"), [(("piqa",), "such as piqa/acc"), (("piqa/acc",) * 2, "name it once")])
def test_a_task_is_named_once_and_with_its_metric(tasks: tuple[str, ...], told: str) -> None:
    with pytest.raises(InputError, match=rf"questions\.tasks: 'piqa.*{told}"):
        QuestionSettings(tasks=tasks, folders=(), limit=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task files of three kinds on local data."""
    pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")
    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"q": f"{i} alpha", "options": ["beta gamma delta", "e", f"{i}"], "gold": i % 3} for i in range(6)]
    (folder / "rows.json").write_text("\n".join(json.dumps(row) for row in rows))
    metrics = {
        "multiple_choice": "[{metric: acc}, {metric: acc_norm}]",
        "loglikelihood": "[{metric: acc}, {metric: perplexity}]",
        "generate_until": "[{metric: exact_match}]",
    }
    for kind, listed in metrics.items():
        target = "gold" if kind == "multiple_choice" else '" {{options[0]}}"'
        (folder / f"{kind}.yaml").write_text(
            f"task: own_{kind}\noutput_type: {kind}\ndataset_path: json\ntest_split: test\n"
            f"dataset_kwargs: {{data_files: {{test: {folder}/rows.json}}}}\n"
            f"doc_to_text: '{{{{q}}}}'\ndoc_to_target: {target}\nmetric_list: {listed}\n"
            + ("doc_to_choice: options\n" if kind == "multiple_choice" else 'target_delimiter: ""\n')
        )
    return folder


@pytest.fixture(scope="module")
def asked(folder: Path, tiny_corpus: Corpus) -> Questions:
    tasks = ("own_multiple_choice/acc_norm", "own_loglikelihood/acc")
    found = open_questions(QuestionSettings(tasks=tasks, folders=(str(folder),), limit=5), tiny_corpus)
    assert found is not None
    return found


def test_questions_and_answers_are_lm_evals(asked: Questions) -> None:
    choice, likelihood = asked.tasks
    assert len(choice.docs) == len(likelihood.docs) == 5
    assert choice.pairs[4] == (("4 alpha", " beta gamma delta"), ("4 alpha", " e"), ("4 alpha", " 4"))
    assert likelihood.pairs[4] == (("4 alpha", " beta gamma delta"),)
    chance = {"lm_eval/own_multiple_choice/acc_norm": pytest.approx(1 / 3), "lm_eval/own_loglikelihood/acc": 0.0}
    assert asked.chance == chance


def test_scores_are_those_of_lm_evals_own_evaluation(asked: Questions) -> None:
    from lm_eval.api.model import LM
    from lm_eval.evaluator import evaluate

    rows = asked.rows(32)
    generator = np.random.default_rng(3)
    losses, hits = generator.exponential(size=rows.inputs.shape), generator.random(rows.inputs.shape) < 0.97
    spans = zip(rows.first.tolist(), rows.last.tolist(), strict=True)
    given = [(-math.fsum(losses[r, a:b]), bool(hits[r, a:b].all())) for r, (a, b) in enumerate(spans)]

    class Given(LM):  # type: ignore[misc]
        def loglikelihood(self, requests: Any) -> Any:
            return given

        def loglikelihood_rolling(self, requests: Any) -> Any:
            raise AssertionError

        def generate_until(self, requests: Any) -> Any:
            raise AssertionError

    items = asked.judge(rows, losses, hits)
    found = evaluate(Given(), {task.name: task.judge for task in asked.tasks}, limit=5, bootstrap_iters=0)
    assert found is not None
    for name, metric in (("own_multiple_choice", "acc_norm"), ("own_loglikelihood", "acc")):
        benchmark = f"lm_eval/{name}/{metric}"
        assert [str(int(sample[metric])) for sample in found["samples"][name]] == list(items[benchmark])
        assert found["results"][name][f"{metric},none"] == pytest.approx(shares(items)[benchmark])
    assert 0 < shares(items)["lm_eval/own_multiple_choice/acc_norm"] < 1


def test_a_run_answers_lm_evals_questions(rig: Any, asked: Questions) -> None:
    record = measured(rig, asked, rig.source())
    assert {task: len(each) for task, each in record.items.items()} == dict.fromkeys(asked.chance, 5)


def refused(folder: Path, corpus: Corpus, name: str, metric: str) -> str:
    with pytest.raises(InputError) as told:
        open_questions(QuestionSettings(tasks=(f"{name}/{metric}",), folders=(str(folder),), limit=2), corpus)
    return str(told.value)


def test_tasks_that_generate_text_and_wrong_metrics_are_input_errors(folder: Path, tiny_corpus: Corpus) -> None:
    told = refused(folder, tiny_corpus, "own_generate_until", "exact_match")
    assert (
        told
        == "questions.tasks: own_generate_until: it asks for generate_until; only likelihoods of answers can be had"
    )
    told = refused(folder, tiny_corpus, "own_loglikelihood", "perplexity")
    assert "'perplexity' is no metric of right and wrong answers" in told


def test_data_that_cannot_be_read_is_an_input_error(folder: Path, tiny_corpus: Corpus, tmp_path: Path) -> None:
    text = (folder / "loglikelihood.yaml").read_text().replace("rows.json", "none.json")
    (tmp_path / "lost.yaml").write_text(text)
    told = refused(tmp_path, tiny_corpus, "own_loglikelihood", "acc")
    assert told.startswith("questions.tasks: own_loglikelihood: lm-eval cannot load it: FileNotFoundError")
