"""The archive of a search: every experiment, question and answer, kept in one database for all its workers.

SQLite by default (a file, for the workers of one machine), PostgreSQL by URL (for those of several). Documents are
stored as canonical JSON text in ASCII, so both databases give back the same bytes, whatever a stranger wrote.
Transactions that write run one after the other; each is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DatabaseError, DataError, IntegrityError

from loop.records import Attempt, Component, Experiment, Purpose, Reply
from replication.ledger import writing
from replication.record import canonical_json
from replication.settings import InputError

LAYOUT = 1  # of these tables
TABLES = {
    "search": "layout INTEGER NOT NULL, sha256 TEXT NOT NULL, document TEXT NOT NULL",
    # One row a start of a worker; its document: host, machine, pid, started, lease_seconds.
    "workers": "token TEXT PRIMARY KEY, name TEXT UNIQUE NOT NULL, heartbeat DOUBLE PRECISION, document TEXT NOT NULL",
    "claims": "number INTEGER PRIMARY KEY, tries INTEGER, worker TEXT REFERENCES workers (token) ON DELETE SET NULL",
    "experiments": "number INTEGER PRIMARY KEY, device_seconds DOUBLE PRECISION NOT NULL, document TEXT NOT NULL",
    # Tokens and cost: all that was paid at this turn, also for replies that this one replaced.
    "calls": "number INTEGER, turn INTEGER, request_sha256 TEXT NOT NULL, purpose TEXT NOT NULL, prompt_tokens BIGINT, "
    "completion_tokens BIGINT, cost DOUBLE PRECISION, document TEXT NOT NULL, PRIMARY KEY (number, turn)",
    "baselines": "name TEXT, seed BIGINT, document TEXT NOT NULL, PRIMARY KEY (name, seed)",
}
PAID = ("prompt_tokens", "completion_tokens", "cost")
INDEXED = {"experiments": "device_seconds", "calls": ", ".join(PAID)}  # their sums need not read the long texts
SPENT = "SELECT count(*), coalesce(sum(device_seconds), 0) FROM experiments"
COSTS = f"SELECT {', '.join(f'coalesce(sum({column}), 0)' for column in PAID)} FROM calls"
LAST = 2**31 - 1  # largest number of an experiment or a turn
WAIT_SECONDS = 60  # for another worker's transaction, or for a server
LOCK = 0x61726368  # PostgreSQL's advisory lock that transactions take before they write
TIMES = frozenset({"device_seconds", "timings", "seconds"})  # fields that may differ between two equal searches


@dataclass(frozen=True)
class Spent:
    """What a search has used so far; `money` in the unit of llm.price."""

    experiments: int
    device_seconds: float
    prompt_tokens: int
    completion_tokens: int
    money: float


class Archive:
    """One search in one database, as one worker sees it. Safe for several threads, processes and machines at once.

    Every method raises InputError where the database cannot be reached, read or written; nothing half-written remains.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._where = f"archive {engine.url!r}"  # without a password
        self._cache: list[Experiment] = []  # experiments 0, 1, 2, ... without a gap
        self._lock = threading.Lock()
        self._worker: dict[str, Any] = {}  # empty until it enters
        self._next = 0  # all numbers below it are done

    @classmethod
    def open(cls, url: str, search: Mapping[str, Any]) -> Archive:
        """Open the archive of a search, or make it; several workers may do this at once.

        Args:
            url: path of an SQLite file, sqlite:///PATH or postgresql://USER@HOST/DATABASE.
            search: the settings that define the search, JSON values.

        Raises InputError also where it is no archive, damaged, or of another layout or search.
        """
        archive = cls(_engine(url))
        with archive._transaction() as connection:
            _find_or_make(connection, search, archive._where)
        return archive

    def close(self) -> None:
        """End the connections; whatever is asked next makes new ones."""
        self._engine.dispose()

    def enter(self, worker: str, lease_seconds: float) -> None:
        """Start work under a name that no living worker has.

        A worker is dead once its process has ended, or, as other machines see it, `lease_seconds` after its last
        `beat`. What the dead had claimed is free.
        """
        assert not self._worker
        process = {"machine": _machine(), "pid": os.getpid(), "started": _started(os.getpid())}
        document = canonical_json({"host": platform.node(), "lease_seconds": lease_seconds, **process})
        row = {"token": uuid.uuid4().hex, "name": worker, "document": document}
        with self._transaction() as connection:
            _register(connection, row)
        self._worker = row

    def beat(self) -> None:
        """Say that this worker lives, and free what the dead had claimed."""
        with self._transaction() as connection:
            _register(connection, self._worker)

    def leave(self) -> None:
        """End this worker's work and free what it had claimed."""
        with self._transaction() as connection:
            _do(connection, "DELETE FROM workers WHERE token = :token", **self._worker)
        self._worker = {}

    def claim(self, most: int, parallel: int, roots: int = 0) -> int | None:
        """Take the smallest number below `most` that nobody has done or works on; None where there is none now.

        All numbers up to and with the one `parallel` below it are done: they are what the experiment may look at; and
        so are the first `roots`, unless it is one of them.
        """
        with self._transaction() as connection:
            _register(connection, self._worker, renew=False)
            done = _do(connection, "SELECT number FROM experiments WHERE number >= :next", next=self._next)
            taken = set(done.scalars())
            while self._next in taken:
                self._next += 1
            taken |= set(_do(connection, "SELECT number FROM claims WHERE worker IS NOT NULL").scalars())
            window = range(self._next, min(self._next + parallel, most, roots if self._next < roots else most))
            number = next((number for number in window if number not in taken), None)
            if number is not None:
                again = "ON CONFLICT (number) DO UPDATE SET worker = excluded.worker, tries = claims.tries + 1"
                statement = f"INSERT INTO claims (number, tries, worker) VALUES (:number, 1, :token) {again}"
                _do(connection, statement, number=number, token=self._worker["token"])
        return number

    def release(self, number: int) -> None:
        """Give up a claim, if it is still this worker's."""
        with self._transaction() as connection:
            statement = "UPDATE claims SET worker = NULL WHERE number = :number AND worker = :token"
            _do(connection, statement, number=number, token=self._worker["token"])

    def finished(self, most: int) -> bool:
        """Whether the experiments 0 .. most - 1 are all done."""
        return bool(self._rows("SELECT count(*) FROM experiments WHERE number < :most", most=most)[0][0] == most)

    def finish(self, number: int, experiment: Experiment) -> bool:
        """Store an experiment and give up its claim; the same content again changes nothing.

        Returns False, and writes nothing, where another worker has taken it over or done it with other content.
        """
        assert number == experiment.number
        document, own = canonical_json(experiment.to_dict()), self._worker.get("token")
        with self._transaction() as connection:
            stored = _do(connection, "SELECT document FROM experiments WHERE number = :n", n=number).scalar()
            if stored is not None:
                return bool(stored == document)
            if _do(connection, "SELECT worker FROM claims WHERE number = :n", n=number).scalar() not in (None, own):
                return False
            row = {"n": number, "seconds": experiment.device_seconds, "document": document}
            _do(connection, "INSERT INTO experiments VALUES (:n, :seconds, :document)", **row)
            _do(connection, "UPDATE claims SET worker = NULL WHERE number = :n", n=number)
        return True

    def upto(self, number: int) -> Sequence[Experiment]:
        """The experiments with this number or a smaller one that are done, in order; rows read before come cached."""
        with self._lock:
            known = len(self._cache)
            if number < known:
                return self._cache[: max(0, number + 1)]
            statement = "SELECT document FROM experiments WHERE number BETWEEN :low AND :high ORDER BY number"
            found = [_experiment(*row) for row in self._rows(statement, low=known, high=number)]
            whole = [item for place, item in enumerate(found, known) if item.number == place]
            self._cache += whole
            return self._cache + found[len(whole) :]

    def call(self, number: int, turn: int) -> tuple[str, Reply] | None:
        """sha256 of the request and the reply of an experiment's call number `turn`; None where there is none yet."""
        statement = "SELECT request_sha256, document FROM calls WHERE number = :n AND turn = :turn"
        found = self._rows(statement, n=number, turn=turn)
        return (found[0][0], Reply(**json.loads(found[0][1]))) if found else None

    def store_call(self, number: int, turn: int, request_sha256: str, purpose: Purpose, reply: Reply) -> Reply:
        """Keep a reply at once; returns it as `call` will.

        Where the same request has a reply already, that one stays and is returned. A reply to another request goes,
        with all later ones, which followed from it. What was paid for any of them stays counted.
        """
        row: dict[str, Any] = {"n": number, "turn": turn, "sha256": request_sha256, "purpose": purpose}
        row |= {"last": LAST, "document": _reply_json(reply)}
        with self._transaction() as connection:
            statement = "SELECT document FROM calls WHERE number = :n AND turn = :turn AND request_sha256 = :sha256"
            if (kept := _do(connection, statement, **row).scalar()) is not None:
                row |= {"last": turn, "document": kept}
            stale = "WHERE number = :n AND turn BETWEEN :turn AND :last"
            for name, paid in zip(PAID, _do(connection, f"{COSTS} {stale}", **row).one(), strict=True):
                row[name] = getattr(reply, name) + type(getattr(reply, name))(paid)
            _do(connection, f"DELETE FROM calls {stale}", **row)
            values = ":n, :turn, :sha256, :purpose, :prompt_tokens, :completion_tokens, :cost, :document"
            _do(connection, f"INSERT INTO calls VALUES ({values})", **row)
        return Reply(**json.loads(row["document"]))

    def store_baseline(self, name: str, seed: int, document: Mapping[str, Any]) -> None:
        """Keep what was measured of a baseline, unless it is there already."""
        row = {"name": name, "seed": seed, "text": canonical_json({**document, "name": name, "seed": seed})}
        with self._transaction() as connection:
            _do(connection, "INSERT INTO baselines VALUES (:name, :seed, :text) ON CONFLICT DO NOTHING", **row)

    def baselines(self) -> list[dict[str, Any]]:
        """What is kept of the baselines, by name and seed."""
        rows = [json.loads(text) for (text,) in self._rows("SELECT document FROM baselines")]
        return sorted(rows, key=lambda row: (row["name"], row["seed"]))  # databases sort texts their own way

    def spent(self) -> Spent:
        """Sums over all experiments that are done and all calls, those of experiments in progress too."""
        count, seconds = self._rows(SPENT)[0]
        prompt, completion, cost = self._rows(COSTS)[0]
        return Spent(count, float(seconds), int(prompt), int(completion), float(cost))

    def dump(self) -> str:
        """Everything as canonical JSON lines, but for workers, tries and times: equal searches give equal bytes."""
        lines: list[dict[str, Any]] = [{"baseline": _timeless(row)} for row in self.baselines()]
        lines += [{"search": json.loads(text)} for (text,) in self._rows("SELECT document FROM search")]
        documents = self._rows("SELECT document FROM experiments ORDER BY number")
        lines += [{"experiment": _timeless(json.loads(text))} for (text,) in documents]
        columns = "document, number, turn, purpose, request_sha256"
        for text, *call in self._rows(f"SELECT {columns} FROM calls ORDER BY number, turn"):
            lines.append({"call": call, "reply": _timeless(json.loads(text))})
        return "".join(f"{canonical_json(line)}\n" for line in lines)

    @contextlib.contextmanager
    def _transaction(self, *, write: bool = True) -> Iterator[sa.Connection]:
        try:
            with self._engine.execution_options(write=write).begin() as connection:
                yield connection
        except (IntegrityError, DataError):  # our own mistakes
            raise
        except DatabaseError as error:
            first = [*str(error.orig).strip().splitlines(), "no answer"][0]
            raise InputError(f"{self._where}: {first} (what it holds stays; the same command goes on)") from error

    def _rows(self, statement: str, **values: object) -> Any:
        with self._transaction(write=False) as connection:
            return _do(connection, statement, **values).all()


def _do(connection: sa.Connection, statement: str, **values: object) -> Any:
    return connection.execute(sa.text(statement), values)


def _engine(url: str) -> sa.Engine:
    """Connections to a database."""
    try:
        parsed = sa.make_url(url) if "://" in url else sa.URL.create("sqlite", database=url)
    except (ArgumentError, ValueError) as error:
        raise InputError("archive: expected a path, sqlite:///PATH or postgresql://USER@HOST/DATABASE") from error
    backend, database = parsed.get_backend_name(), parsed.database
    if backend not in ("sqlite", "postgresql") or not database or database == ":memory:":
        raise InputError(f"archive: expected a file of SQLite or a database of PostgreSQL, got {parsed!r}")
    if backend == "postgresql":
        try:
            parsed = parsed.set(drivername="postgresql+psycopg")
            engine = sa.create_engine(parsed, pool_pre_ping=True, connect_args={"connect_timeout": WAIT_SECONDS})
        except ModuleNotFoundError as error:
            raise InputError("archive: PostgreSQL needs the extra postgres: pip install archaudit[postgres]") from error
    else:
        with writing(Path(database)):
            Path(database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(parsed, connect_args={"timeout": WAIT_SECONDS})
        sa.event.listen(engine, "connect", _configure)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _configure(raw: Any, _record: object) -> None:
    raw.isolation_level = None  # transactions begin in _begin, not where the driver thinks fit
    raw.execute("PRAGMA foreign_keys=ON")
    raw.execute("PRAGMA journal_mode=WAL")  # readers and a writer do not wait for one another


def _begin(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("write")
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
    elif write:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")


def _find_or_make(connection: sa.Connection, search: Mapping[str, Any], where: str) -> None:
    document = canonical_json(search)
    present = set(sa.inspect(connection).get_table_names())
    if not present:
        for name, columns in TABLES.items():
            _do(connection, f"CREATE TABLE {name} ({columns})")
        for name, columns in INDEXED.items():
            _do(connection, f"CREATE INDEX {name}_sums ON {name} ({columns})")
        sha256 = hashlib.sha256(document.encode()).hexdigest()
        _do(connection, "INSERT INTO search VALUES (:v, :sha, :text)", v=LAYOUT, sha=sha256, text=document)
    elif not {"search", "experiments"} <= present:
        raise InputError(f"{where}: it holds other tables and is no archive of a search")
    if (layout := _do(connection, "SELECT layout FROM search").scalar()) != LAYOUT:
        raise InputError(f"{where}: its layout is version {layout}, and this program reads version {LAYOUT}")
    sha256, stored = _do(connection, "SELECT sha256, document FROM search").one()
    if hashlib.sha256(stored.encode()).hexdigest() != sha256:
        raise InputError(f"{where}: damaged, its settings do not match their checksum")
    here, there = _flat(json.loads(document)), _flat(json.loads(stored))
    for name in sorted(here.keys() | there.keys()):
        was, now = there.get(name, "not set"), here.get(name, "not set")
        if was != now:
            raise InputError(f"{where}: it holds another search: {name} is {was} there and {now} here")


def _flat(value: object, name: str = "") -> dict[str, object]:
    """Settings by their full names."""
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    parts = (_flat(item, f"{name}.{key}" if name else key) for key, item in value.items())
    return {key: item for part in parts for key, item in part.items()}


def _register(connection: sa.Connection, own: Mapping[str, Any], *, renew: bool = True) -> None:
    """Remove the dead and renew a worker's heartbeat. One that was taken for dead comes back without its claims."""
    now = time.time()
    if connection.dialect.name != "sqlite":  # the server's clock: those of machines differ
        now = float(_do(connection, "SELECT extract(epoch FROM clock_timestamp())").scalar_one())
    for token, name, heartbeat, document in _do(connection, "SELECT * FROM workers").all():
        other = json.loads(document)
        here = other["machine"] and other["machine"] == _machine()
        alive = _started(other["pid"]) == other["started"] if here else now - heartbeat < other["lease_seconds"]
        if not alive:
            _do(connection, "DELETE FROM workers WHERE token = :token", token=token)
        elif name == own["name"] and token != own["token"]:
            at = f"host {other['host']}, pid {other['pid']}"
            raise InputError(f"worker {name!r} is already at work ({at}): choose another with worker=NAME")
    again = "UPDATE SET heartbeat = excluded.heartbeat" if renew else "NOTHING"
    statement = f"INSERT INTO workers VALUES (:token, :name, :now, :document) ON CONFLICT (token) DO {again}"
    _do(connection, statement, **own, now=now)


def _machine() -> str:
    """Whose process ids ours are: this start of the system and its process namespace. Empty where none can tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process of this machine began, in clock ticks since boot. Empty where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


def _experiment(text: str) -> Experiment:
    document = json.loads(text)
    attempts = tuple(Attempt(**{**item, "nearest": tuple(item["nearest"])}) for item in document["attempts"])
    lists = {name: tuple(document[name]) for name in ("references", "entries")}
    components = tuple(Component(**item) for item in document["components"])
    return Experiment(**{**document, **lists, "attempts": attempts, "components": components})


def _reply_json(reply: Reply) -> str:
    try:
        return canonical_json(asdict(reply))
    except ValueError:  # NaN is no JSON, but Python reads it as if it were
        return canonical_json(asdict(replace(reply, content=None, error="a number in it is not finite")))


def _timeless(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in TIMES}
