"""The closed loop: propose, check, train, judge, explain, remember; by any number of workers on one archive.

Experiment n sees the experiments before the last `parallel`, and draws from streams of (seed, n). So neither stopping,
nor being killed, nor the number of workers changes what a search finds.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import hashlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from loop.analyst import analyse, component_statistics
from loop.archive import Archive
from loop.cognition import CognitionSettings, Neighbours, open_cognition, read_entries
from loop.engineer import (
    TRACKS,
    Development,
    DiscardSettings,
    Engineer,
    JudgeSettings,
    MonitorSettings,
    Reference,
    TaskSettings,
    Track,
    reference,
)
from loop.fitness import FitnessKind, FitnessSettings, Outcome, discards, fitness
from loop.llm import BudgetSpent, Conversation, LLMSettings, open_mind
from loop.offline import OfflineSettings
from loop.records import Attempt, Experiment, Mind
from loop.researcher import Checker, Context, Known, NoveltySettings, PoolSettings, Researcher, attempt
from replication.candidate import Candidate, read_candidate
from replication.certificate import CertificateSettings
from replication.configure import Paths, compose
from replication.corpus import CorpusSettings, chance_levels, corpus_settings, prepare
from replication.engines import LocalEngine
from replication.execute import summary_writer
from replication.initialise import keyed_generator
from replication.ledger import Ledger, writing
from replication.measure import Bench
from replication.plan import BASELINES, plan_run
from replication.processes import EngineSettings, WarmWorker
from replication.questions import QuestionSettings, open_questions
from replication.record import HonestSettings, Optimiser, Scale, canonical_json
from replication.settings import InputError, require, typed

BEAT_SECONDS, LEASE_SECONDS = 5.0, 60.0  # a worker of another machine that is silent for so long is dead
# These may change between calls of one search: how much, where, how fast, and what it costs.
VOLATILE = ("budget", "archive", "worker", "workers", "paths", "audit", "engine")
VOLATILE_LLM = ("base_url", "key_variable", "timeout_seconds", "retries", "price", "cassette", "cassette_mode")


@dataclass(frozen=True, kw_only=True)
class BudgetSettings:
    """The settings `budget.*`; None is no limit."""

    experiments: int
    device_hours: float | None
    tokens: int | None
    money: float | None


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """conf/discover.yaml but for the two corpora."""

    scale: dict[str, Scale]
    optimiser: Optimiser
    certificate: CertificateSettings
    engine: EngineSettings
    fitness: FitnessSettings
    discard: DiscardSettings
    cognition: CognitionSettings
    offline: OfflineSettings
    llm: LLMSettings
    seed: int
    training_seeds: int
    archive: str | None
    worker: str | None
    workers: int | None
    parallel: int
    budget: BudgetSettings
    roots: tuple[str, ...]
    baselines: tuple[str, ...]
    anchor: str
    baseline_seeds: int
    tracks: dict[str, str | None]
    select_by: FitnessKind
    pool: PoolSettings
    novelty: NoveltySettings
    repairs: int
    monitor: MonitorSettings
    judge: JudgeSettings
    tasks: TaskSettings
    questions: QuestionSettings
    use_cognition: bool
    use_analysis: bool
    honest: HonestSettings
    spot_check: HonestSettings
    sampling_key: int | None
    paths: Paths

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed: must not be negative")
        require(self.parallel >= 1, "parallel: must be at least 1")
        require(self.baseline_seeds >= 2, "baseline_seeds: at least 2 are needed to see the noise of a benchmark")
        priced = self.budget.money is None or max(self.llm.price.prompt, self.llm.price.completion) > 0
        require(priced, "budget.money: say in llm.price what a million tokens cost")
        require(len(self.roots) >= 1, "roots: a search starts from at least one program")
        anchored = self.anchor in self.baselines
        require(anchored, f"anchor: {self.anchor} is none of the baselines ({', '.join(self.baselines)})")
        require(set(self.tracks) == set(TRACKS), f"tracks: name a scale for each of {', '.join(TRACKS)}")
        require(self.tracks["text"] is not None, "tracks.text: name a scale; only recall can be left out")
        for track, name in self.scales.items():
            require(name in self.scale, f"tracks.{track}: there is no scale {name!r} here (scale={list(self.scale)})")
        longest = max(self.certificate.lengths) >= self.scale[self.scales["text"]].sequence_length
        require(
            longest or not self.questions.tasks, "questions: certificate.lengths must reach the sequence_length of text"
        )

    @property
    def scales(self) -> dict[Track, str]:
        """Track -> name of its scale, for the tracks in use."""
        return {track: name for track in TRACKS if (name := self.tracks[track]) is not None}


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A whole configuration: typed, and as resolved for the manifest."""

    settings: SearchSettings
    corpora: Mapping[Track, CorpusSettings]
    resolved: dict[str, Any]

    @functools.cached_property
    def name(self) -> str:
        """The first digits of the hash of `identity`."""
        return hashlib.sha256(canonical_json(self.identity).encode()).hexdigest()[:12]

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What makes a search this one."""
        kept = {key: value for key, value in self.resolved.items() if key not in VOLATILE}
        entries = [entry.to_dict() for entry in read_entries(self.settings.cognition)]
        kept["cognition"] = {"entries": hashlib.sha256(canonical_json(entries).encode()).hexdigest()}
        kept["cognition"] |= {"top": self.settings.cognition.top, "embedding": self.settings.cognition.embedding}
        kept["llm"] = {key: value for key, value in kept["llm"].items() if key not in VOLATILE_LLM}
        of_engine = ("device", "threads", "lift", "training")
        return kept | {"engine": {key: self.resolved["engine"][key] for key in of_engine}}


def configure(overrides: Sequence[str]) -> Configuration:
    """Compose conf/discover.yaml with command-line overrides. Raises InputError."""
    resolved = compose("discover", overrides)
    rest = {key: value for key, value in resolved.items() if key not in ("corpus", "recall", "audit")}
    return Configuration(
        settings=typed(SearchSettings, rest, ""),
        corpora={"text": corpus_settings(resolved["corpus"]), "recall": corpus_settings(resolved["recall"])},
        resolved=resolved,
    )


@dataclass(frozen=True, kw_only=True)
class Found:
    """A search as it stands: what an audit or a report reads."""

    name: str
    archive: Archive
    experiments: Sequence[Experiment]
    reference: Reference
    runs: Sequence[dict[str, Any]]  # of the baselines, one a seed
    confinement: Mapping[str, str]
    stopped: str  # why before its number of experiments; empty where not


def archive_url(configuration: Configuration) -> str:
    """Where the archive is: as set, else a file below paths.results that belongs to these settings alone."""
    settings = configuration.settings
    if settings.archive is not None:
        return settings.archive
    folder = Path(settings.paths.results) / "discover" / "archives"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / configuration.name}.sqlite"


def search(configuration: Configuration) -> Found:
    """Go on with a search until a budget is spent; what is in its archive stays.

    Raises:
        InputError: wrong settings, an endpoint without an answer, a folder or database that cannot be written.
    """
    settings = configuration.settings
    archive = Archive.open(archive_url(configuration), configuration.identity)
    with contextlib.closing(archive), _present(archive, settings.worker or socket.gethostname()):
        loop = Search(configuration, archive)
        loop.run()
        return loop.found()


@contextlib.contextmanager
def _present(archive: Archive, worker: str) -> Iterator[None]:
    """Be known to others as a living worker."""
    archive.enter(worker, LEASE_SECONDS)
    left = threading.Event()

    def beat() -> None:
        while not left.wait(BEAT_SECONDS):
            with contextlib.suppress(InputError):  # a short outage; a long one ends the work itself
                archive.beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()
        archive.leave()


class Search:
    """One process's part in a search."""

    def __init__(self, configuration: Configuration, archive: Archive) -> None:
        self.settings = settings = configuration.settings
        self.archive = archive
        results = Path(settings.paths.results)
        self._curves = results / "tensorboard" / "discover" / configuration.name
        self._name = configuration.name
        ledger = Ledger(results / "ledger")
        corpora = {
            track: prepare(configuration.corpora[track], Path(settings.paths.cache)) for track in settings.scales
        }
        questions = {"text": open_questions(settings.questions, corpora["text"])}
        benches = {
            track: Bench(corpora[track], settings.engine, print, questions.get(track)) for track in settings.scales
        }
        key = settings.sampling_key
        if key is None:  # the offline proposer cannot use it, and with a number any folder gives the same bits
            key = settings.seed if settings.llm.provider == "offline" else ledger.sampling_key()
        configuration.resolved["sampling_key"] = key  # for the manifest
        plans = {
            track: functools.partial(
                plan_run,
                scale=settings.scale[settings.scales[track]],
                optimiser=settings.optimiser,
                corpus=corpora[track],
                engine=settings.engine,
                honest=settings.honest,
                spot_check=settings.spot_check,
                sampling_key=key,
                questions=benches[track].questions,
            )
            for track in settings.scales
        }
        for track in settings.scales:
            # a corpus too small is said before anything runs
            benches[track].evaluation(settings.scale[settings.scales[track]])
        self._chance = {
            task: share for track in settings.scales for task, share in chance_levels(corpora[track]).items()
        }
        self._chance |= questions["text"].chance if questions["text"] else {}
        self._mind: Mind = open_mind(settings.llm, settings.offline)
        cognition = open_cognition(settings.cognition, settings.llm)
        checker = Checker(
            settings=settings.certificate,
            engine=settings.engine,
            store=ledger.root / "certificates",
            leaks_pass=not settings.discard.certificate,
        )
        self.researcher = Researcher(
            pool=settings.pool,
            novelty=settings.novelty,
            kind=settings.select_by,
            cognition=cognition if settings.use_cognition else None,
            analysis=settings.use_analysis,
            known=Known(Neighbours(cognition.embedder)),
            checker=checker,
        )
        self.engineer = Engineer(
            benches=benches,
            plans=plans,
            ledger=ledger,
            checker=checker,
            discard=settings.discard,
            monitor=settings.monitor,
            judge_settings=settings.judge,
            repairs=settings.repairs,
        )
        self.reference: Reference
        self._stopped = ""

    def run(self) -> None:
        """Measure the baselines that the archive lacks, then experiments until a budget is spent."""
        settings, most = self.settings, self.settings.budget.experiments
        slots = settings.workers or settings.engine.slots()
        engine: LocalEngine[Any, Any] = LocalEngine(slots, settings.engine)
        with engine:
            self._measure_baselines(engine)
            done = self.archive.spent().experiments
            print(f"{most} experiments: {min(done, most)} in the archive, {max(most - done, 0)} to do", flush=True)
            form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed} elapsed, {remaining} left{postfix}]"
            with tqdm(total=most, initial=min(done, most), desc="experiments", bar_format=form) as bar:
                for _, experiment in engine.map(range(most - min(done, most)), self._work):
                    bar.update(min(self.archive.spent().experiments, most) - bar.n)
                    if isinstance(experiment, Experiment):
                        self._show(bar, experiment)

    def _measure_baselines(self, engine: LocalEngine[Any, Any]) -> None:
        """Each baseline with several seeds, on every track; what the archive has is believed."""
        there = {(run["name"], run["seed"]) for run in self.archive.baselines()}
        wanted = [(name, seed) for name in self.settings.baselines for seed in range(self.settings.baseline_seeds)]
        missing = [item for item in wanted if item not in there]

        def measure(worker: WarmWorker, item: tuple[str, int]) -> dict[str, Any] | None:
            name, seed = item
            with self.engineer.ledger.claim(f"baseline-{name}-{seed}") as mine:  # else another process is at it
                return self.engineer.baseline_run(worker, _baseline(name), seed) if mine else None

        with tqdm(total=len(missing), desc="baselines", unit="run", leave=False, disable=not missing) as bar:
            for (name, seed), run in engine.map(missing, measure):
                self.archive.store_baseline(name, seed, run)
                bar.update()
        settings, runs = self.settings, self.archive.baselines()
        over_steps = settings.discard.over_steps
        self.reference = reference(runs, settings.anchor, self._chance, settings.tasks, over_steps)
        require(len(self.reference.tasks) > 0, "tasks: no benchmark counts at these scales: raise tasks.most_sd")

    def _work(self, worker: WarmWorker, _: int) -> Experiment | str | None:
        """The next experiment of the archive; None where it has to wait, a text where there is none left."""
        most = self.settings.budget.experiments
        if self._stopped:
            return self._stopped
        number = self.archive.claim(most, self.settings.parallel, len(self.settings.roots))
        if number is None:
            return "finished" if self.archive.finished(most) else None
        try:
            self._check_budget()
            experiment = self.experiment(worker, number)
            self.archive.finish(number, experiment)
        except BudgetSpent as spent:
            self._stopped = str(spent)
            return self._stopped
        finally:
            self.archive.release(number)
        return experiment

    def _check_budget(self) -> None:
        """Raises BudgetSpent where nothing more may be spent."""
        budget = self.settings.budget
        if budget.device_hours is budget.tokens is budget.money is None:
            return
        spent = self.archive.spent()
        limits = {
            "device_hours": (budget.device_hours, spent.device_seconds / 3600),
            "tokens": (budget.tokens, spent.prompt_tokens + spent.completion_tokens),
            "money": (budget.money, spent.money),
        }
        for name, (limit, used) in limits.items():
            if limit is not None and used >= limit:
                raise BudgetSpent(f"budget.{name}: {used:g} of {limit:g} are spent")

    def experiment(self, worker: WarmWorker, number: int) -> Experiment:
        """One experiment from its idea to its analysis."""
        began, settings = time.monotonic(), self.settings
        draws = keyed_generator(settings.seed, f"experiment {number}")
        seed = int(keyed_generator(settings.seed, f"training {number}").integers(settings.training_seeds))
        conversation = Conversation(self.archive, self._mind, number, self._check_budget, lambda: worker.stopping)
        start = number < len(settings.roots)
        seen = [] if start else self.archive.upto(max(number - settings.parallel, len(settings.roots) - 1))
        baselines, context = self.reference.baselines, None
        if start:
            attempts = [self._root(worker, settings.roots[number])]
        else:
            context = self.researcher.context(seen, draws)
            statistics = component_statistics(seen) if settings.use_analysis else []
            background = {"baselines": list(baselines), "statistics": statistics}
            attempts = self.researcher.propose(worker, conversation, seen, context, background, draws)
        repeats = functools.partial(self.researcher.repeats, seen=seen)
        monitors = self.engineer.monitors(self.reference, start=start)
        development = self.engineer.develop(worker, conversation, attempts, seed, monitors, repeats, draws)
        experiment = self._measured(number, seed, context, development)
        if experiment.status == "ok":
            experiment = self._judged(conversation, experiment, context.parent if context else None)
        entries = [entry.to_dict() for entry in context.entries] if context else []
        analysis = analyse(conversation, experiment, seen, entries, baselines)
        timings = development.seconds | {"total": time.monotonic() - began}
        return dataclasses.replace(experiment, analysis=analysis.words, components=analysis.components, timings=timings)

    def _root(self, worker: WarmWorker, name: str) -> Attempt:
        root = _baseline(name)
        verdict, reason, certificate = self.engineer.checker.check(worker, root)
        motivation = (ast.get_docstring(ast.parse(root.source)) or name).splitlines()[0]
        return attempt("propose", name, motivation, root.source, verdict, reason, certificate)

    def _measured(self, number: int, seed: int, context: Context | None, development: Development) -> Experiment:
        """The record of what was measured, without marks and analysis."""
        last, text = development.attempts[-1], development.records.get("text")
        status = development.status
        ok = status == "ok" and text is not None
        accuracies = {task: a for record in development.records.values() for task, a in record.benchmarks.items()}
        return Experiment(
            number=number,
            name=last.name or f"experiment_{number}",
            status=status,
            reason=development.reason,
            parent=context.parent.number if context else None,
            references=tuple(other.number for other in context.references) if context else (),
            entries=tuple(entry.id for entry in context.entries) if context else (),
            seed=seed,
            motivation=last.motivation,
            source=last.source,
            attempts=development.attempts,
            run_id=text.run_id if text else None,
            loss=text.val_loss if ok and text else None,
            honest_loss=text.honest_loss if ok and text else None,
            looks_ahead=text.looks_ahead if ok and text else None,
            certified=development.certified,
            benchmarks=accuracies if ok else {},
            parameters=text.parameters if text else None,
            flops=text.flops if text else None,
            truth=last.truth,
            device_seconds=development.device_seconds,
        )

    def _judged(self, conversation: Conversation, experiment: Experiment, parent: Experiment | None) -> Experiment:
        marks, mark = self.engineer.judge(conversation, experiment, parent, self.reference.baselines)
        assert experiment.loss is not None
        assert experiment.honest_loss is not None
        outcome = Outcome(
            loss=experiment.loss,
            honest_loss=experiment.honest_loss,
            benchmark=self.reference.benchmark(experiment.benchmarks),
            mark=float("nan") if mark is None else mark,
            certified=bool(experiment.certified),
        )
        scored = self.reference.scored(self.settings.fitness)
        return dataclasses.replace(
            experiment,
            marks=marks,
            mark=mark,
            fitness={str(kind): value for kind, value in fitness(outcome, scored).items()},
            rules=discards(outcome, scored),
        )

    def _show(self, bar: Any, experiment: Experiment) -> None:
        """A line where an experiment failed, the best so far, and TensorBoard curves."""
        if experiment.status != "ok":
            bar.write(f"{experiment.number} {experiment.name}: {experiment.status} ({experiment.reason})")
        kind = self.settings.select_by
        scored = [other for other in self.archive.upto(self.settings.budget.experiments - 1) if kind in other.fitness]
        best = max(scored, key=lambda other: other.fitness[kind], default=None)
        bar.set_postfix_str(f"best {best.name} {best.honest_loss:.4f} nats per token" if best else "")
        with writing(self._curves):
            if (writer := summary_writer(self._curves / f"{experiment.number:05}-{experiment.name[:60]}")) is None:
                return
            with contextlib.closing(writer):
                if experiment.status == "ok" and experiment.run_id:
                    for step, loss in enumerate(self.engineer.ledger.curve(experiment.run_id)):
                        writer.add_scalar("train/loss", float(loss), step + 1)
                for name, value in (experiment.fitness | {"honest_loss": experiment.honest_loss}).items():
                    if value is not None:
                        writer.add_scalar(f"search/{name}", value, experiment.number)

    def found(self) -> Found:
        """The search as it stands."""
        experiments = self.archive.upto(self.settings.budget.experiments - 1)
        run = next((e.run_id for e in experiments if e.status == "ok" and e.run_id), None)
        record = self.engineer.ledger.find(run) if run else None
        return Found(
            name=self._name,
            archive=self.archive,
            experiments=experiments,
            reference=self.reference,
            runs=self.archive.baselines(),
            confinement=record.confinement if record else {},
            stopped=self._stopped,
        )


def _baseline(name: str) -> Candidate:
    """A file of replication/baselines. Raises InputError where there is none of that name."""
    known = sorted(path.stem for path in BASELINES.glob("*.py") if path.stem != "__init__")
    require(name in known, f"roots, baselines: unknown program {name!r} (known: {', '.join(known)})")
    return read_candidate(BASELINES / f"{name}.py", "baseline")
