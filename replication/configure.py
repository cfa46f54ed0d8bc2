"""The edge: Hydra composes conf/ and the command line; everything behind it sees frozen, typed objects."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replication.certificate import Certificate, CertificateSettings
from replication.certify import certify_all
from replication.corpus import CorpusSettings, corpus_settings, prepare
from replication.ledger import Ledger
from replication.measure import Bench
from replication.ngram import NgramSettings
from replication.plan import CandidateSettings, Plan, build_plan, gather_arms
from replication.processes import EngineSettings
from replication.published import PublishedSettings
from replication.record import HonestSettings, Optimiser, Scale
from replication.settings import InputError, require, typed

HELP = """usage: python -m {program} [session] [setting=value ...]

Settings and their defaults, with comments: the folder conf/, from replicate.yaml on. For example
  seeds=10   scale=smoke   baselines=[gla]   candidates=files 'candidates.paths=[my_mixer.py]'   paths.results=FOLDER
Another choice of a group: scale=NAME is conf/scale/NAME.yaml. The README lists the most useful ones."""
CONF = Path(__file__).resolve().parents[1] / "conf"


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where things are written; relative to the working directory."""

    results: str
    cache: str


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """conf/replicate.yaml but for two groups: `corpus` is typed by its kind, `audit` by the audit."""

    scale: dict[str, Scale]
    optimiser: Optimiser
    engine: EngineSettings
    candidates: CandidateSettings
    published: PublishedSettings
    certificate: CertificateSettings
    honest: HonestSettings
    spot_check: HonestSettings
    sampling_key: int | None
    ngram: NgramSettings
    baselines: tuple[str, ...]
    seeds: int
    top: int
    first_seed: int
    paths: Paths

    def __post_init__(self) -> None:
        require(self.seeds >= 1, f"seeds: at least 1 is needed, got {self.seeds}")
        require(self.top >= 1, f"top: at least 1 is needed, got {self.top}")
        require(self.first_seed >= 0, f"first_seed: must not be negative, got {self.first_seed}")
        require(len(self.scale) >= 1, "scale: at least one is needed")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A whole configuration: typed, and as resolved for the manifest."""

    bench: BenchSettings
    corpus: CorpusSettings
    audit: dict[str, Any]
    resolved: dict[str, Any]

    @property
    def seed_range(self) -> range:
        """The seeds of the rerun; the search's seeds lie below first_seed."""
        return range(self.bench.first_seed, self.bench.first_seed + self.bench.seeds)


def configure(overrides: Sequence[str]) -> Configuration:
    """Compose conf/replicate.yaml with command-line overrides.

    Raises:
        InputError: an unknown setting or group, or a value of the wrong type.
    """
    resolved = compose("replicate", overrides)
    rest = {key: value for key, value in resolved.items() if key not in ("corpus", "audit")}
    return Configuration(
        bench=typed(BenchSettings, rest, ""),
        corpus=corpus_settings(resolved["corpus"]),
        audit=resolved["audit"],
        resolved=resolved,
    )


def open_bench(configuration: Configuration) -> tuple[Plan, Ledger, Bench, dict[str, Certificate]]:
    """The plan of a configuration, the ledger that holds its runs, the bench that measures them, and the certificates.

    Arms without a certificate in the ledger's folder are certified first, since the plan depends on it; the
    certificates go by candidate id.
    """
    settings = configuration.bench
    settings.engine.resolved_device()  # one that is not there is said before anything is read
    arms = gather_arms(settings.baselines, settings.candidates, settings.published)
    ledger = Ledger(Path(settings.paths.results) / "ledger")
    corpus = prepare(configuration.corpus, Path(settings.paths.cache))
    bench = Bench(corpus, settings.engine, warn=print)
    for scale in settings.scale.values():
        bench.evaluation(scale)  # a corpus too small for a scale is said before anything runs
    certificates = certify_all(arms, settings.certificate, settings.engine, ledger.root / "certificates")
    key = sampling_key(settings, ledger)
    configuration.resolved["sampling_key"] = key  # for the manifest
    plan = build_plan(
        arms,
        settings.scale,
        seeds=configuration.seed_range,
        optimiser=settings.optimiser,
        corpus=corpus,
        engine=settings.engine,
        honest=settings.honest,
        spot_check=settings.spot_check,
        sampling_key=key,
        certificates=certificates,
    )
    return plan, ledger, bench, certificates


def sampling_key(settings: BenchSettings, ledger: Ledger) -> int:
    """The number behind the sampled positions: as set, else the ledger's own secret."""
    return ledger.sampling_key() if settings.sampling_key is None else settings.sampling_key


def compose(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """conf/<name>.yaml with `overrides`, resolved to plain values. Raises InputError in one line."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            container = OmegaConf.to_container(hydra_compose(name, list(overrides)), resolve=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise InputError(_one_line(error)) from error
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def main(program: str, run: Callable[[Sequence[str]], None]) -> None:
    """Run a command's body with the project's exit codes: 0 done, 2 wrong input, 130 stopped (Ctrl-C or SIGTERM)."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(HELP.format(program=program))
        return
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)
    threading.excepthook = _thread_failed
    try:
        run(sys.argv[1:])
    except InputError as error:
        sys.exit(_fail(f"{program}: {error}", 2))
    except BrokenPipeError:
        if not _reader_gone():
            raise
        null = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):  # or the interpreter complains when it flushes them
            os.dup2(null, descriptor)
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:
        sys.exit(
            _fail(
                f"{program}: stopped; what was measured is kept, nothing is half-written, and the same command goes on",
                130,
            )
        )


def _reader_gone() -> bool:
    """Whether nobody reads our output on, as behind `| head`."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Silence on a disk that cannot be written: TensorBoard's thread passes that on to us, to be said in one line."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)


def _fail(message: str, code: int) -> int:
    print(message, file=sys.stderr, flush=True)
    return code


def _one_line(error: Exception) -> str:
    """Hydra's message without its advice, which does not hold here, and with the override that it cannot parse."""
    text = " ".join(str(error).split()).replace("Could not override", "unknown setting")
    for advice in (". To append to your config", " Config search path:", " See https://hydra.cc"):
        text = text.split(advice)[0]
    override = getattr(error, "override", None)
    return f"{override}: {text}"[:400] if override else text[:400] or type(error).__name__
