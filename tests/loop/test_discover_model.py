"""Whole searches with a language model that makes every kind of mistake, behind an endpoint that does so too."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from loop.discover import Found, configure, search
from replication.settings import InputError
from tests.loop.protocol_server import ProtocolServer, ScriptedModel
from tests.loop.searches import dump, overrides, run, start, write_texts

KEY, VARIABLE = "sk-secret-0123456789", "ARCHAUDIT_TEST_KEY"
KINDS = (
    "valid",
    *("prose", "syntax_error", "valid"),
    *("crash", "leak", "quadratic", "same_program"),
    "late_crash",
    "never_mended",
    *("same_idea", "wrong_class", "malformed", "fenced"),
)
VERDICTS = [  # of each experiment's versions
    ["accepted"],
    ["accepted"],
    ["malformed", "does_not_load", "accepted"],
    ["does_not_load", "leaky", "too_costly", "duplicate"],
    ["accepted", "accepted"],
    ["accepted"] * 4,
    ["duplicate", "does_not_load", "malformed", "accepted"],
]
STATUSES = ["ok", "ok", "ok", "rejected", "ok", "crashed", "ok"]
MOST = len(STATUSES)


class Echoing(ScriptedModel):
    """One whose words hold the key that it was asked with."""

    def judge(self, prompt: str, again: bool) -> str:
        return super().judge(prompt, again).replace("Near", "{ECHO THE KEY} near")


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A folder for searches that share a ledger: what one has trained, another finds."""

    folder: Path

    def settings(self, archive: str, url: str, *more: str) -> list[str]:
        llm = ["llm=openai", "llm.model=scripted", f"llm.base_url={url}", f"llm.key_variable={VARIABLE}"]
        tight = ["llm.retries=0", "llm.price.prompt=10", "workers=1", "parallel=1", "baselines=[delta_net]"]
        llm += [*tight, f"budget.experiments={MOST}"]
        return overrides(self.folder / "texts", self.folder / "results", self.folder / archive, *llm, *more)

    def search(self, archive: str, url: str, *more: str) -> Found:
        return search(configure(self.settings(archive, url, *more)))

    def dump(self, archive: str) -> str:
        return dump(self.settings(archive, "http://nowhere"))

    def copy(self, archive: str, to: str) -> None:
        with sqlite3.connect(self.folder / archive) as old, sqlite3.connect(self.folder / to) as new:
            old.backup(new)


def running(model: ScriptedModel, *troubles: str) -> ProtocolServer:
    return ProtocolServer(model, key=KEY, troubles=troubles)


@pytest.fixture(scope="module")
def environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, KEY)
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="module")
def shop(environment, tmp_path_factory) -> Shop:
    folder = tmp_path_factory.mktemp("model")
    write_texts(folder / "texts")
    return Shop(folder=folder)


@dataclass(frozen=True)
class Whole:
    found: Found
    server: ProtocolServer
    output: str


@pytest.fixture(scope="module")
def whole(shop: Shop) -> Whole:
    """A search without a stop, one experiment at a time, on a cassette."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), running(Echoing(KINDS)) as server:
        found = shop.search("whole.sqlite", server.base_url, f"llm.cassette={shop.folder}/tape.jsonl")
    return Whole(found, server, output.getvalue())


def calls(shop: Shop, archive: str) -> list[dict]:
    return [reply for line in shop.dump(archive).splitlines() if (reply := json.loads(line).get("reply"))]


def test_every_mistake_ends_in_a_status_and_every_version_is_kept(whole: Whole) -> None:
    assert [[version.verdict for version in one.attempts] for one in whole.found.experiments] == VERDICTS
    assert [one.status for one in whole.found.experiments] == STATUSES
    for one in whole.found.experiments:
        assert (one.honest_loss is None) == (one.status != "ok") == bool(one.reason)
        assert all(version.reason for version in one.attempts if version.verdict != "accepted")


def test_a_program_that_fails_in_training_is_repaired_by_the_model(whole: Whole) -> None:
    first, repaired = whole.found.experiments[4].attempts
    assert "the table of head sizes ends at 8" in first.source
    assert repaired.stage == "repair"
    assert repaired.source == whole.found.experiments[4].source != first.source


def test_every_prompt_and_every_reply_is_in_the_archive(shop: Shop, whole: Whole) -> None:
    prompts = "".join(call["prompt"] for call in calls(shop, "whole.sqlite"))
    for request in whole.server.requests:
        assert all(message["content"] in prompts for message in request["messages"])
    purposes = {json.loads(line)["call"][2] for line in shop.dump("whole.sqlite").splitlines() if '"call"' in line}
    assert {"summarise", "propose", "novelty", "repair", "judge", "analyse"} <= purposes
    assert any(call["content"] is None and "Shall I write" in call["text"] for call in calls(shop, "whole.sqlite"))


def test_the_key_is_in_no_file_and_in_no_line_of_output(shop: Shop, whole: Whole) -> None:
    assert "[key] near its parent" in shop.dump("whole.sqlite")
    assert "budget" not in whole.output
    assert KEY not in whole.output
    files = [path for path in shop.folder.rglob("*") if path.is_file()]
    assert len(files) > 50
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_cassette_gives_the_same_archive_byte_for_byte_without_endpoint_or_key(
    shop: Shop, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE)
    tape = [f"llm.cassette={shop.folder}/tape.jsonl", "llm.cassette_mode=replay"]
    shop.search("replayed.sqlite", "http://127.0.0.1:9/v1", *tape)
    assert shop.dump("replayed.sqlite") == shop.dump("whole.sqlite")


def test_budgets_and_failures_of_the_endpoint_stop_a_search_that_goes_on_and_asks_nothing_twice(
    shop: Shop, whole: Whole
) -> None:
    with running(Echoing(KINDS)) as server:
        found = shop.search("stopped.sqlite", server.base_url, "budget.tokens=600")
        assert found.stopped == "budget.tokens: 660 of 600 are spent"
        asked = len(server.requests)
        assert asked == 6
        found = shop.search("stopped.sqlite", server.base_url, "budget.money=0.0125")
        assert found.stopped == "budget.money: 0.013 of 0.0125 are spent"
        server.answer = _until(server, len(server.requests) + 9)
        with pytest.raises(InputError, match=r"llm.base_url: .* cannot be reached \(.*the same command goes on"):
            shop.search("stopped.sqlite", server.base_url)
        refused = len(server.requests)
        server.troubles.clear()
        found = shop.search("stopped.sqlite", server.base_url)
    assert found.stopped == ""
    assert found.archive.spent().prompt_tokens == 100 * (len(server.requests) - 1)
    assert found.archive.spent().money == pytest.approx(1e-3 * (len(server.requests) - 1))
    assert refused < len(server.requests)
    assert shop.dump("stopped.sqlite") == shop.dump("whole.sqlite")


def _until(server: ProtocolServer, last: int):
    """The server's model, whose server drops every connection after `last` requests."""
    model = server.answer

    def answer(purpose: str, messages: list[dict[str, str]]) -> str:
        if len(server.requests) == last:
            server.troubles += ["reset"] * 100
        return model(purpose, messages)

    return answer


@pytest.mark.parametrize(
    ("kinds", "verdict"),
    [(["prose"], "malformed"), (["valid", *["same_idea"] * 4], "duplicate"), (["syntax_error"], "does_not_load")],
)
def test_a_search_ends_with_a_model_that_never_gets_it_right(shop: Shop, whole: Whole, kinds, verdict) -> None:
    with running(ScriptedModel(kinds)) as server:
        found = shop.search(f"{kinds[-1]}.sqlite", server.base_url, "budget.experiments=3")
    assert found.stopped == ""
    assert found.experiments[-1].status == "rejected"
    failed = next(one for one in found.experiments if one.status == "rejected")
    assert [version.verdict for version in failed.attempts] == [verdict] * 4
    assert failed.reason
    assert failed.analysis["weakness"]


def test_an_endpoint_that_is_always_busy_ends_the_command_in_one_line(shop: Shop, whole: Whole) -> None:
    shop.copy("whole.sqlite", "busy.sqlite")
    with running(ScriptedModel(), *["429"] * 50) as server:
        more = ["llm.retries=1", f"budget.experiments={MOST + 1}"]
        code, output = run(shop.settings("busy.sqlite", server.base_url, *more))
    assert code == 2, output
    assert len(server.requests) == 2
    assert output.splitlines()[-1].startswith("loop: llm.retries: the endpoint fails or is busy")
    assert "Traceback" not in output
    assert KEY not in output
    assert shop.dump("busy.sqlite") == shop.dump("whole.sqlite")


def test_a_search_that_waits_for_a_model_ends_at_once_when_it_is_told_to(shop: Shop, whole: Whole) -> None:
    shop.copy("whole.sqlite", "hangs.sqlite")
    with running(ScriptedModel(), "hang") as server:
        process = start(shop.settings("hangs.sqlite", server.base_url, f"budget.experiments={MOST + 1}"))
        while not server.requests and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        try:
            output = process.communicate(timeout=25)[0]  # the server would answer after 30
        finally:
            process.kill()
    assert process.returncode == 130
    assert output.splitlines()[-1].startswith("loop: stopped; what was measured is kept")
    assert shop.dump("hangs.sqlite") == shop.dump("whole.sqlite")
