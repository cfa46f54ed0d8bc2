"""Benchmarks of the lm-eval library: all its questions are rows of the final evaluation, scored here by the parent.

Which answer of a question is likelier is known from the logits of the question followed by each of its answers. These
rows follow the validation windows, so the trainer does not know that there are questions, and lm-eval itself judges
what comes of them. A row shows what is asked together with the answer: only a program that is certified not to look
ahead is asked. Tasks that need generated text, or a loss instead of right and wrong, cannot be had in this way.

Shape suffixes: W windows, R rows, T time.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from replication.corpus import Corpus
from replication.corpus.encoding import BYTES, Encoder, load_encoder
from replication.provenance import version_of
from replication.record import canonical_json
from replication.settings import InputError, require

FEWSHOT_SEED = 1234  # lm-eval's own, for tasks that show examples


@dataclass(frozen=True, kw_only=True)
class QuestionSettings:
    """The settings `questions.*`."""

    tasks: tuple[str, ...]  # NAME/METRIC of lm-eval each, such as piqa/acc; empty: no questions
    folders: tuple[str, ...]  # with task files of your own, which come before the library's
    limit: int | None  # questions a task, the first ones; None: all

    def __post_init__(self) -> None:
        require(self.limit is None or self.limit >= 1, "questions.limit: must be at least 1")
        for task in self.tasks:
            require("/" in task, f"questions.tasks: {task!r}: name a metric, too, such as {task}/acc")
            require(self.tasks.count(task) == 1, f"questions.tasks: {task!r}: name it once")


class Judge(Protocol):
    """What is used of a task of lm-eval once its questions are there."""

    def process_results(self, doc: Any, results: Sequence[tuple[float, bool]]) -> Mapping[str, Any]:
        """Metric -> value of one question, from log-likelihood and is-greedy of each of its answers."""
        ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """The questions of one task: `docs` as lm-eval has them, and the (context, answer) texts that each compares."""

    name: str
    metric: str
    judge: Judge
    docs: tuple[Any, ...]
    pairs: tuple[tuple[tuple[str, str], ...], ...]

    @property
    def benchmark(self) -> str:
        """Its name among benchmarks."""
        return f"lm_eval/{self.name}/{self.metric}"

    def right(self, doc: Any, results: Sequence[tuple[float, bool]]) -> bool:
        """Whether a question is answered rightly. Raises InputError where the metric does not say so."""
        found = self.judge.process_results(doc, results)
        value = found.get(self.metric)
        known = f"it has {', '.join(found)}" if value is None else f"it gives {value!r} for one question"
        where = f"questions.tasks: {self.name}: {self.metric!r} is no metric of right and wrong answers"
        require(isinstance(value, int | float) and value in (0, 1), f"{where} ({known})")
        return bool(value)


@dataclass(frozen=True, kw_only=True)
class QuestionRows:
    """Rows of one answer each: the end of its context, the answer, separators.

    Attributes:
        inputs, targets: int64 [R, T].
        first, last: int64 [R]; the answer is targets[first:last] of its row.
        cut: rows whose context lost its beginning.
    """

    inputs: np.ndarray
    targets: np.ndarray
    first: np.ndarray
    last: np.ndarray
    cut: int

    def after(
        self, inputs_WT: np.ndarray, targets_WT: np.ndarray, tasks: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Windows, their targets and task -> which of them count, with these rows after them; none of theirs counts."""
        none = np.zeros(self.inputs.shape, dtype=bool)
        masks = {task: np.concatenate([mask, none]) for task, mask in tasks.items()}
        return np.concatenate([inputs_WT, self.inputs]), np.concatenate([targets_WT, self.targets]), masks


class Questions:
    """All questions of some tasks, as tokens.

    Attributes:
        sha256: of all that decides a score; part of a run's identity.
        chance: benchmark -> accuracy of a guess among the answers; 0 where there is only one.
    """

    def __init__(self, tasks: Sequence[Task], encoder: Encoder) -> None:
        self.tasks = tuple(tasks)
        self._tokens = [_encode(task, encoder) for task in tasks]
        self._separator = int(encoder.encode([("", "")])[0][-1])
        self._rows: dict[int, QuestionRows] = {}
        self.chance = {
            task.benchmark: float(np.mean([1 / len(pairs) if len(pairs) > 1 else 0.0 for pairs in task.pairs]))
            for task in tasks
        }
        digest = hashlib.sha256(f"lm-eval {version_of('lm-eval')}".encode())
        for task, tokens in zip(tasks, self._tokens, strict=True):
            of_task = [task.benchmark, json.dumps(task.docs, sort_keys=True, default=str)]
            digest.update(canonical_json([*of_task, [[part.tolist() for part in pair] for pair in tokens]]).encode())
        self.sha256 = digest.hexdigest()

    def rows(self, length: int) -> QuestionRows:
        """One row of `length` tokens for each answer. Raises InputError where an answer is longer."""
        if length not in self._rows:
            self._rows[length] = self._rows_of(length)
        return self._rows[length]

    def _rows_of(self, length: int) -> QuestionRows:
        pairs = [(task, *pair) for task, tokens in zip(self.tasks, self._tokens, strict=True) for pair in tokens]
        inputs, targets = (np.full((len(pairs), length), self._separator, dtype=np.int64) for _ in range(2))
        first, last = (np.zeros(len(pairs), dtype=np.int64) for _ in range(2))
        cut = 0
        for row, (task, context, answer) in enumerate(pairs):
            most = f"{len(answer)} tokens, and rows of this scale {length} (sequence_length)"
            require(len(answer) <= length, f"questions.tasks: {task.name}: an answer has {most}")
            tokens = np.concatenate([context, answer])[-(length + 1) :]
            cut += len(tokens) < len(context) + len(answer)
            last[row] = len(tokens) - 1
            first[row] = last[row] - len(answer)
            inputs[row, : last[row]], targets[row, : last[row]] = tokens[:-1], tokens[1:]
        return QuestionRows(inputs=inputs, targets=targets, first=first, last=last, cut=cut)

    def judge(self, rows: QuestionRows, losses_RT: np.ndarray, hits_RT: np.ndarray) -> dict[str, str]:
        """Benchmark -> "1" for each question that is answered rightly and "0" for each other, in lm-eval's order.

        Args:
            rows: as `rows` made them.
            losses_RT: negative log-likelihood of each target, in nats.
            hits_RT: whether it is the likeliest token.
        """
        spans = [slice(*span) for span in zip(rows.first.tolist(), rows.last.tolist(), strict=True)]
        results = iter([(-float(losses_RT[r, s].sum()), bool(hits_RT[r, s].all())) for r, s in enumerate(spans)])
        found = {}
        for task in self.tasks:
            each = zip(task.docs, task.pairs, strict=True)
            right = [task.right(doc, [next(results) for _ in pairs]) for doc, pairs in each]
            found[task.benchmark] = "".join("1" if one else "0" for one in right)
        return found


def shares(items: Mapping[str, str]) -> dict[str, float]:
    """Benchmark -> share of right answers."""
    return {benchmark: each.count("1") / len(each) for benchmark, each in items.items()}


def open_questions(settings: QuestionSettings, corpus: Corpus) -> Questions | None:
    """The questions that the settings ask for, in the corpus's tokens; None where they ask for none.

    Raises:
        InputError: lm-eval is not installed, a task is unknown, cannot be read or asks for more than likelihoods, or
            the corpus is no text.
    """
    if not settings.tasks:
        return None
    require(corpus.kind != "recall", f"questions: corpus '{corpus.name}' is no text")
    encoder = load_encoder(corpus.settings.get("tokenizer", BYTES), corpus.settings.get("eod_token"))
    try:
        library = importlib.import_module("lm_eval.tasks")
    except ImportError as error:
        raise InputError("questions: lm-eval is not installed: pip install archaudit[lm-eval]") from error
    manager = library.TaskManager(include_path=list(settings.folders), include_defaults=False)
    named = [task.rpartition("/") for task in settings.tasks]
    if not {name for name, _, _ in named} <= set(manager.all_subtasks):  # reading its thousands of files takes a while
        manager = library.TaskManager(include_path=list(settings.folders))
    return Questions([_load(manager, name, metric, settings.limit) for name, _, metric in named], encoder)


def _load(manager: Any, name: str, metric: str, limit: int | None) -> Task:
    """One task with its questions, as lm-eval builds them."""
    where = f"questions.tasks: {name}"
    require(name in manager.all_subtasks, f"{where}: lm-eval knows no such task")
    try:
        task = manager.load([name])["tasks"][name]
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
        task.build_all_requests(limit=limit)
    except Exception as error:  # a data set that is not there, or a faulty task file: of any kind
        told = (str(error).splitlines() or [""])[0]
        raise InputError(f"{where}: lm-eval cannot load it: {type(error).__name__}: {told}") from error
    by_doc: dict[int, list[Any]] = {}
    for request in task.instances:
        told = f"{where}: it asks for {request.request_type}; only likelihoods of answers can be had"
        require(request.request_type == "loglikelihood", told)
        by_doc.setdefault(request.doc_id, []).append(request)
    asked = [sorted(requests, key=lambda request: int(request.idx)) for requests in by_doc.values()]
    found = Task(
        name=name,
        metric=metric,
        judge=task,
        docs=tuple(requests[0].doc for requests in asked),
        pairs=tuple(tuple(request.args for request in requests) for requests in asked),
    )
    found.right(found.docs[0], [(-1.0, False)] * len(found.pairs[0]))  # a wrong metric is said before anything runs
    return found


def _encode(task: Task, encoder: Encoder) -> list[tuple[np.ndarray, np.ndarray]]:
    """Tokens of context and answer of every row, split where lm-eval splits them.

    Spaces at a context's end belong to the answer; without a context, the separator of documents stands there.
    """
    where = f"questions.tasks: {task.name}"
    pairs = [pair for of_doc in task.pairs for pair in of_doc]
    contexts = [context.rstrip() for context, _ in pairs]
    wholes = [context + answer for context, answer in pairs]
    ends = encoder.encode([(text, f"{where}: question {i + 1}") for i, text in enumerate(contexts)])
    found = []
    for end, whole in zip(ends, encoder.encode([(text, where) for text in wholes]), strict=True):
        context, answer = (end[:-1] if len(end) > 1 else end), whole[len(end) - 1 : -1]
        require(len(answer) > 0, f"{where}: an answer without a token")
        found.append((context, answer))
    return found
