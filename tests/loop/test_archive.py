"""What is put into the archive comes back, once, on either database; what is wrong with it is one clear line."""

from __future__ import annotations

import contextlib
import json
import math
import resource
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from loop.archive import LAYOUT, Archive, Spent
from loop.records import Reply
from replication.settings import InputError

SEARCH = {"seed": 1, "scale": {"name": "cpu-search", "steps": 250}, "rules": ["strict"]}
LEASE = 60.0


def make_reply(**overrides: Any) -> Reply:
    fields: dict[str, Any] = {
        "content": {"name": "gated", "code": "class Mixer: ...\n"},
        "error": "",
        "prompt": "Propose.",
        "text": "…",
        "model": "some-model",
        "parameters": {"temperature": 0.7},
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "cost": 0.25,
        "seconds": 1.0,
    }
    return Reply(**{**fields, **overrides})


def worker(url: str, name: str = "w") -> Archive:
    archive = Archive.open(url, SEARCH)
    archive.enter(name, LEASE)
    return archive


def sql(url: str, statement: str, **values: object) -> list[Any]:
    """Straight to the database, behind the archive's back."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement), values)
        return list(result.all()) if result.returns_rows else []


# Experiments.


def test_an_experiment_comes_back_as_it_was_stored(archive_url: str, experiment: Any) -> None:
    strange = experiment(0, loss=0.1 + 0.2, motivation="a\x00b \ud800 é \U0001f600", flops=1e300, references=(3, 4))
    archive = worker(archive_url)
    assert archive.finish(0, strange)
    assert list(Archive.open(archive_url, SEARCH).upto(0)) == [strange]


def test_experiments_come_in_order_up_to_a_number(archive_url: str, experiment: Any) -> None:
    archive = worker(archive_url)
    for number in (2, 0, 4):
        archive.finish(number, experiment(number))
    assert [one.number for one in archive.upto(3)] == [0, 2]
    archive.finish(1, experiment(1))
    assert [one.number for one in archive.upto(9)] == [0, 1, 2, 4]
    assert [one.number for one in archive.upto(1)] == [0, 1]
    assert list(archive.upto(-1)) == list(archive.upto(-5)) == []


def test_a_number_that_has_been_read_is_not_read_again(archive_url: str, experiment: Any) -> None:
    archive = worker(archive_url)
    for number in range(3):
        archive.finish(number, experiment(number))
    before = archive.upto(2)
    sql(archive_url, "DELETE FROM experiments")
    assert [id(one) for one in archive.upto(2)] == [id(one) for one in before]
    assert [id(one) for one in archive.upto(1)] == [id(one) for one in before[:2]]


def test_the_same_experiment_twice_is_stored_once_and_another_one_is_refused(archive_url: str, experiment: Any) -> None:
    archive = worker(archive_url)
    assert archive.claim(9, 1) == 0
    assert archive.finish(0, experiment(0))
    assert archive.finish(0, experiment(0))
    assert not archive.finish(0, experiment(0, name="other"))
    assert list(archive.upto(0)) == [experiment(0)]
    assert archive.spent().experiments == 1


def test_an_experiment_with_a_number_that_is_none_is_a_mistake_of_ours(archive_url: str, experiment: Any) -> None:
    archive = worker(archive_url)
    with pytest.raises(ValueError, match="not JSON compliant"):
        archive.finish(0, experiment(0, loss=math.nan))
    assert list(archive.upto(0)) == []


# Claims.


def test_numbers_are_claimed_in_order_and_no_further_ahead_than_allowed(archive_url: str, experiment: Any) -> None:
    first, second = worker(archive_url, "a"), worker(archive_url, "b")
    assert [first.claim(9, 2), second.claim(9, 2), second.claim(9, 2)] == [0, 1, None]
    second.finish(1, experiment(1))
    assert second.claim(9, 2) is None  # 2 may look at 0, which is not done
    first.finish(0, experiment(0))
    assert [second.claim(4, 2), first.claim(4, 2), first.claim(4, 2)] == [2, 3, None]
    assert not first.finished(4)
    second.finish(2, experiment(2))
    first.finish(3, experiment(3))
    assert first.finished(4)
    assert first.claim(4, 2) is None


def test_a_worker_that_leaves_frees_its_claim_and_every_claim_is_counted(archive_url: str) -> None:
    for tries in (1, 2, 3):
        archive = worker(archive_url)
        assert archive.claim(9, 1) == 0
        assert sql(archive_url, "SELECT tries FROM claims") == [(tries,)]
        archive.leave()


def test_a_claim_that_is_given_up_is_free_and_that_of_another_worker_stays(archive_url: str) -> None:
    first, second = worker(archive_url, "a"), worker(archive_url, "b")
    assert first.claim(9, 1) == 0
    second.release(0)
    assert second.claim(9, 1) is None
    first.release(0)
    assert second.claim(9, 1) == 0


def test_an_archive_that_was_closed_still_answers(archive_url: str, experiment: Any) -> None:
    archive = worker(archive_url)
    archive.finish(0, experiment(0))
    archive.close()
    assert list(archive.upto(0)) == [experiment(0)]


def test_threads_never_hold_the_same_number(archive_url: str, experiment: Any) -> None:
    archive, other = worker(archive_url, "a"), worker(archive_url, "b")

    def work(archive: Archive) -> list[int]:
        mine = []
        while not archive.finished(40):
            if (number := archive.claim(40, 4)) is not None:
                seen = [one.number for one in archive.upto(number - 4)]
                assert seen == list(range(max(0, number - 3)))
                assert archive.finish(number, experiment(number))
                mine.append(number)
        return mine

    with ThreadPoolExecutor(4) as pool:
        done = [number for mine in pool.map(work, [archive, archive, other, other]) for number in mine]
    assert sorted(done) == list(range(40))
    assert sql(archive_url, "SELECT tries FROM claims WHERE tries <> 1") == []


# Workers, dead and alive. What another machine would write is written straight into the database.


def move(url: str, name: str, *, silent: float) -> None:
    """Make a worker one of another machine that was last heard of `silent` seconds ago."""
    ((document,),) = sql(url, "SELECT document FROM workers WHERE name = :name", name=name)
    elsewhere = json.dumps({**json.loads(document), "machine": "elsewhere", "host": "far"})
    statement = "UPDATE workers SET document = :document, heartbeat = heartbeat - :silent WHERE name = :name"
    sql(url, statement, name=name, document=elsewhere, silent=silent)


def test_a_name_that_is_in_use_is_refused_and_names_the_worker(archive_url: str) -> None:
    first = worker(archive_url, "w")
    with pytest.raises(
        InputError, match=r"^worker 'w' is already at work \(host .*, pid \d+\): choose another with wo"
    ):
        worker(archive_url, "w")
    first.leave()
    worker(archive_url, "w")


def test_a_name_on_another_machine_is_in_use_until_its_lease_is_over(archive_url: str) -> None:
    worker(archive_url, "w")
    move(archive_url, "w", silent=LEASE - 10)
    with pytest.raises(InputError, match=r"^worker 'w' is already at work \(host far, pid \d+\)"):
        worker(archive_url, "w")
    move(archive_url, "w", silent=20)
    worker(archive_url, "w")


def test_a_process_that_began_at_another_time_is_another_one(archive_url: str) -> None:
    gone, here = worker(archive_url, "gone"), worker(archive_url, "here")
    assert gone.claim(9, 1) == 0
    assert here.claim(9, 1) is None
    ((document,),) = sql(archive_url, "SELECT document FROM workers WHERE name = 'gone'")
    other = json.dumps({**json.loads(document), "started": "1"})
    sql(archive_url, "UPDATE workers SET document = :document WHERE name = 'gone'", document=other)
    assert here.claim(9, 1) == 0


def test_an_experiment_that_was_taken_over_is_not_stored_by_the_worker_that_lost_it(
    archive_url: str, experiment: Any
) -> None:
    slow, quick = worker(archive_url, "slow"), worker(archive_url, "quick")
    assert slow.claim(9, 1) == 0
    move(archive_url, "slow", silent=LEASE + 1)
    assert quick.claim(9, 1) == 0
    slow.beat()  # it comes back, without its claim
    assert slow.claim(9, 1) is None
    assert not slow.finish(0, experiment(0, name="slow"))
    assert list(slow.upto(0)) == []
    assert quick.finish(0, experiment(0, name="quick"))
    assert not slow.finish(0, experiment(0, name="slow"))


def test_an_experiment_that_nobody_took_over_is_stored_late(archive_url: str, experiment: Any) -> None:
    slow, quick = worker(archive_url, "slow"), worker(archive_url, "quick")
    assert slow.claim(9, 1) == 0
    move(archive_url, "slow", silent=LEASE + 1)
    quick.beat()
    assert slow.finish(0, experiment(0))


def test_a_heartbeat_keeps_a_lease(archive_url: str) -> None:
    slow, quick = worker(archive_url, "slow"), worker(archive_url, "quick")
    slow.claim(9, 1)
    move(archive_url, "slow", silent=LEASE - 1)
    slow.beat()
    ((before,),) = sql(archive_url, "SELECT heartbeat FROM workers WHERE name = 'slow'")
    ((after,),) = sql(archive_url, "SELECT heartbeat FROM workers WHERE name = 'quick'")
    assert before >= after
    assert quick.claim(9, 1) is None


# Calls and what they cost.


def test_a_reply_comes_back_as_it_was_stored(archive_url: str) -> None:
    archive = Archive.open(archive_url, SEARCH)
    reply = make_reply(text="a\x00 \ud800", truth={"genome": {"b": 1, "a": [2]}})
    assert archive.call(0, 0) is None
    assert archive.store_call(0, 0, "hash", "propose", reply) == reply
    assert Archive.open(archive_url, SEARCH).call(0, 0) == ("hash", reply)
    assert archive.call(0, 1) is None


def test_a_fresh_reply_and_a_stored_one_agree_in_the_order_of_their_keys(archive_url: str) -> None:
    archive = Archive.open(archive_url, SEARCH)
    fresh = archive.store_call(0, 0, "hash", "propose", make_reply(content={"b": 1, "a": (2,)}))
    assert json.dumps(fresh.content) == '{"a": [2], "b": 1}'


def test_the_first_reply_to_a_request_stays_and_both_are_paid(archive_url: str) -> None:
    archive = Archive.open(archive_url, SEARCH)
    first, again = make_reply(content={"name": "first"}), make_reply(content={"name": "again"})
    archive.store_call(0, 0, "hash", "propose", first)
    archive.store_call(0, 1, "later", "judge", first)
    assert archive.store_call(0, 0, "hash", "propose", again) == first
    assert archive.call(0, 1) == ("later", first)
    assert archive.spent().money == 0.75


def test_another_request_replaces_a_reply_and_all_that_followed_and_all_stay_paid(archive_url: str) -> None:
    archive = Archive.open(archive_url, SEARCH)
    for turn in range(3):
        archive.store_call(0, turn, f"old {turn}", "propose", make_reply())
    archive.store_call(1, 1, "of another", "propose", make_reply())
    new = make_reply(text="new")
    archive.store_call(0, 1, "new 1", "judge", new)
    assert [archive.call(0, turn) for turn in range(3)] == [("old 0", make_reply()), ("new 1", new), None]
    assert archive.call(1, 1) is not None
    spent = Spent(experiments=0, device_seconds=0.0, prompt_tokens=500, completion_tokens=50, money=1.25)
    assert archive.spent() == spent


def test_a_reply_with_a_number_that_is_none_is_kept_as_one_without_content(archive_url: str) -> None:
    archive = Archive.open(archive_url, SEARCH)
    reply = archive.store_call(0, 0, "hash", "judge", make_reply(content={"innovation": math.nan}, text="NaN"))
    assert (reply.content, reply.error, reply.text) == (None, "a number in it is not finite", "NaN")


def test_what_was_spent_is_the_sum_of_experiments_and_calls(archive_url: str, experiment: Any) -> None:
    archive = worker(archive_url)
    assert archive.spent() == Spent(experiments=0, device_seconds=0.0, prompt_tokens=0, completion_tokens=0, money=0.0)
    archive.store_call(5, 0, "hash", "propose", make_reply(prompt_tokens=3 * 10**9))
    archive.finish(0, experiment(0, device_seconds=1.5))
    archive.finish(1, experiment(1, device_seconds=2.0, status="crashed"))
    assert archive.spent() == Spent(
        experiments=2, device_seconds=3.5, prompt_tokens=3 * 10**9, completion_tokens=10, money=0.25
    )


# Baselines and the whole.


def test_a_baseline_is_kept_once_and_all_come_in_order(archive_url: str) -> None:
    archive = Archive.open(archive_url, SEARCH)
    archive.store_baseline("mamba2", 1, {"loss": 2.0})
    archive.store_baseline("Zeta", 10, {"loss": 2.5})
    archive.store_baseline("Zeta", 9, {"loss": 2.6})
    archive.store_baseline("mamba2", 1, {"loss": 9.0})
    assert archive.baselines() == [
        {"name": "Zeta", "seed": 9, "loss": 2.6},
        {"name": "Zeta", "seed": 10, "loss": 2.5},
        {"name": "mamba2", "seed": 1, "loss": 2.0},
    ]


def fill(archive: Archive, experiment: Any, numbers: tuple[int, ...], **times: Any) -> None:
    for number in numbers:
        archive.store_call(number, 0, f"hash {number}", "propose", make_reply(seconds=times["device_seconds"]))
        archive.finish(number, experiment(number, **times))
    archive.store_baseline("delta_net", 0, {"loss": 2.5, "device_seconds": times["device_seconds"]})


def test_equal_searches_dump_equal_bytes_whatever_the_order_times_and_names(
    archive_url: str, tmp_path: Path, experiment: Any
) -> None:
    fill(worker(archive_url, "a"), experiment, (0, 1, 2), device_seconds=1.0, timings={"train": 1.0})
    other = f"sqlite:///{tmp_path / 'other.db'}"
    twin = worker(other, "b")
    assert twin.claim(9, 1) == 0
    fill(twin, experiment, (2, 0, 1), device_seconds=9.0, timings={})
    assert twin.dump() == Archive.open(archive_url, SEARCH).dump()
    kinds = [sorted(json.loads(line)) for line in twin.dump().splitlines()]
    assert kinds == [["baseline"], ["search"], *[["experiment"]] * 3, *[["call", "reply"]] * 3]


@pytest.mark.parametrize("change", ["experiment", "attempt", "reply", "baseline"])
def test_a_dump_shows_every_difference(change: str, archive_url: str, tmp_path: Path, experiment: Any) -> None:
    one, two = Archive.open(archive_url, SEARCH), Archive.open(str(tmp_path / "two" / "b.db"), SEARCH)
    same = experiment(0)
    other = {
        "experiment": replace(same, loss=math.nextafter(same.loss, 9.0)),
        "attempt": replace(same, attempts=(replace(same.attempts[0], reason="x"),)),
    }
    for archive, changed in ((one, False), (two, True)):
        archive.finish(0, other.get(change, same) if changed else same)
        archive.store_call(0, 0, "hash", "propose", make_reply(text=change if changed and change == "reply" else ""))
        archive.store_baseline("delta_net", 0, {"loss": 2.0 if changed and change == "baseline" else 3.0})
    assert one.dump() != two.dump()


# Opening.


def test_several_workers_may_make_the_archive_at_once(archive_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: Archive.open(archive_url, SEARCH), range(8)))
    assert len({archive.dump() for archive in opened}) == 1
    assert sql(archive_url, "SELECT count(*) FROM search") == [(1,)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 2}, "seed is 1 there and 2 here"),
        ({"scale": {"name": "cpu-search", "steps": 99}}, "scale.steps is 250 there and 99 here"),
        ({"rules": []}, "rules is ['strict'] there and [] here"),
        ({"scale": {"name": "cpu-search"}}, "scale.steps is 250 there and not set here"),
        ({"extra": None}, "extra is not set there and None here"),
    ],
)
def test_an_archive_of_another_search_is_refused_naming_the_first_setting_that_differs(
    change: dict[str, Any], said: str, archive_url: str
) -> None:
    Archive.open(archive_url, SEARCH)
    with pytest.raises(InputError) as caught:
        Archive.open(archive_url, {**SEARCH, **change})
    assert str(caught.value).endswith(f": it holds another search: {said}")
    Archive.open(archive_url, dict(reversed(SEARCH.items())))


def test_an_archive_of_another_layout_is_refused_naming_both(archive_url: str) -> None:
    Archive.open(archive_url, SEARCH)
    sql(archive_url, "UPDATE search SET layout = 99")
    with pytest.raises(InputError, match=f"its layout is version 99, and this program reads version {LAYOUT}$"):
        Archive.open(archive_url, SEARCH)


def test_altered_settings_are_noticed(archive_url: str) -> None:
    Archive.open(archive_url, SEARCH)
    sql(archive_url, "UPDATE search SET document = :document", document=json.dumps({**SEARCH, "seed": 2}))
    with pytest.raises(InputError, match="damaged, its settings do not match their checksum"):
        Archive.open(archive_url, {**SEARCH, "seed": 2})


def test_a_database_of_somebody_else_is_left_alone(archive_url: str) -> None:
    sql(archive_url, "CREATE TABLE search (title TEXT)")
    with pytest.raises(InputError, match="it holds other tables and is no archive of a search"):
        Archive.open(archive_url, SEARCH)


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    text = str(error.value)
    assert text.startswith("archive")
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "nonsense://",
        "postgresql://host",
        "a:b://",
        "postgresql://host:port/db",
        "",
    ],
)
def test_an_address_that_is_none_is_one_line(url: str) -> None:
    with pytest.raises(InputError) as caught:
        Archive.open(url, SEARCH)
    assert "SQLite" in one_line(caught) or "PATH" in one_line(caught)


def test_a_server_that_does_not_answer_is_one_line_without_the_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(InputError) as caught:
        Archive.open("postgresql://someone:secret@127.0.0.1:1/archive", SEARCH)
    assert "refused" in one_line(caught)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", [b"not a database" * 100, None])
def test_a_path_that_holds_something_else_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        Archive.open(str(path), SEARCH)
    assert ("not a database" if content else "unable to open") in one_line(caught)
    assert content is None or path.read_bytes() == content


def test_a_damaged_file_is_one_line(tmp_path: Path, experiment: Any) -> None:
    path = tmp_path / "archive.db"
    archive = worker(str(path))
    for number in range(40):
        archive.finish(number, experiment(number))
    archive._engine.dispose()
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with pytest.raises(InputError) as caught:
        Archive.open(str(path), SEARCH).upto(99)
    assert "malformed" in one_line(caught)


def test_a_file_that_may_only_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the root may write any file, so SQLite is asked to refuse
    Archive.open("archive.db", SEARCH)
    archive = Archive.open("sqlite:///file:archive.db?mode=ro&uri=true", SEARCH)
    with pytest.raises(InputError) as caught:
        archive.enter("w", LEASE)
    assert "readonly" in one_line(caught)


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_is_one_line_and_what_was_stored_stays(tmp_path: Path, experiment: Any) -> None:
    path = tmp_path / "archive.db"
    archive = worker(str(path))
    archive.finish(0, experiment(0))
    size = max(file.stat().st_size for file in tmp_path.iterdir())
    with small_files(size + 1000), pytest.raises(InputError) as caught:
        archive.finish(1, experiment(1, source="x" * 1_000_000))
    assert "the same command goes on" in one_line(caught)
    assert [one.number for one in Archive.open(str(path), SEARCH).upto(9)] == [0]
    assert archive.finish(1, experiment(1))


def test_a_file_is_written_ahead_so_that_readers_do_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "new" / "archive.db"
    Archive.open(str(path), SEARCH)
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)
