"""A language model behind an endpoint: asked through a real server, which behaves well and badly."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from loop.llm import BudgetSpent, Conversation, LLMSettings, OpenAIMind, endpoint_embedder, open_mind
from loop.records import Reply, Request
from replication.configure import compose
from replication.settings import InputError, typed
from tests.loop.protocol_server import ProtocolServer, ScriptedModel

KEY = "sk-secret-0123456789"
NOVELTY = {"name": "fast_gate", "motivation": "A gate forgets.", "nearest": []}
YES = '{"duplicate": true, "reason": "as 3"}'


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("ARCHAUDIT_TEST_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


PLAIN = dataclasses.replace(
    typed(LLMSettings, compose("cognition", ["llm=openai"])["llm"], "llm"),
    model="glm-test",
    key_variable="ARCHAUDIT_TEST_KEY",
    retries=1,
    timeout_seconds=20.0,
)


def settings(server: ProtocolServer | None = None, **changed) -> LLMSettings:
    address = {"base_url": server.base_url} if server else {}
    return dataclasses.replace(PLAIN, **address | changed)


def says(text: str):
    return lambda purpose, messages: text


def ask(server: ProtocolServer, payload=NOVELTY, purpose="novelty", **changed) -> Reply:
    return OpenAIMind(settings(server, **changed)).reply(Request(purpose=purpose, payload=payload))


def test_a_reply_holds_content_tokens_cost_model_and_parameters():
    price = dataclasses.replace(settings().price, prompt=2.0, completion=10.0)
    with ProtocolServer(says(YES), key=KEY) as server:
        reply = ask(server, NOVELTY | {"draw": 7}, price=price)
    assert (reply.content, reply.error) == ({"duplicate": True, "reason": "as 3"}, "")
    assert (reply.prompt_tokens, reply.completion_tokens, reply.text) == (100, 10, YES)
    assert reply.cost == pytest.approx(100 * 2e-6 + 10 * 10e-6)
    assert reply.model == "glm-test-2025"
    assert reply.parameters == {"temperature": 1.0, "max_tokens": 16384, "seed": 7, "response_format": True}
    (request,) = server.requests
    assert request["response_format"]["json_schema"]["schema"]["required"] == ["duplicate", "reason"]
    assert all(message["content"] in reply.prompt for message in request["messages"])


@pytest.mark.parametrize("trouble", ["429", "500", "503"])
def test_a_busy_or_failing_endpoint_is_asked_again(trouble):
    with ProtocolServer(says(YES), troubles=(trouble, trouble)) as server:
        assert ask(server, retries=2).content
        assert len(server.requests) == 3


def test_a_lost_connection_is_tried_again():
    with ProtocolServer(says(YES), troubles=("reset",)) as server:
        assert ask(server).content


@pytest.mark.parametrize(
    ("trouble", "setting"),
    [
        ("401", "llm.key_variable: the key is not accepted"),
        ("403", "llm.key_variable"),
        ("404", "llm.model"),
        ("quota", "llm.key_variable: the quota"),
        ("429", "llm.retries"),
        ("500", "llm.retries"),
        ("418", "llm.retries"),
        ("400", "llm: "),
        ("html", "llm.base_url"),
        ("not_json", "llm.base_url"),
        ("reset", "llm.base_url"),
    ],
)
def test_what_the_user_must_mend_is_one_line_that_names_the_setting_and_never_the_key(trouble, setting):
    with ProtocolServer(says(YES), troubles=(trouble, trouble)) as server, pytest.raises(InputError) as error:
        ask(server, retries=0)
    told = str(error.value)
    assert told.startswith(setting)
    assert "\n" not in told
    assert KEY not in told
    assert error.value.__cause__ is None
    assert trouble == "400" or "the same command goes on" in told


def test_an_endpoint_that_does_not_answer_in_time_is_given_up():
    with ProtocolServer(says(YES), troubles=("hang",)) as server, pytest.raises(InputError, match="timeout_seconds"):
        ask(server, retries=0, timeout_seconds=0.2)


def test_an_endpoint_that_is_not_there_is_an_error_that_names_it():
    with pytest.raises(InputError, match=r"llm.base_url: http://127.0.0.1:9/v1 cannot be reached"):
        OpenAIMind(settings(base_url="http://127.0.0.1:9/v1", retries=0)).reply(
            Request(purpose="novelty", payload=NOVELTY)
        )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": None}, "llm.model"),
        ({"key_variable": "ARCHAUDIT_NO_SUCH_KEY"}, "ARCHAUDIT_NO_SUCH_KEY"),
        ({"cassette": "no/such/folder/tape.jsonl"}, "llm.cassette"),
        ({"base_url": "localhost:8000"}, "llm.base_url"),
        ({"base_url": "https://me:word@host/v1"}, "llm.base_url"),
        ({"retries": -1}, "llm.retries"),
        ({"max_tokens": 0}, "llm.max_tokens"),
    ],
)
def test_wrong_settings_are_found_before_anything_is_asked(changed, message):
    with pytest.raises(InputError, match=message):
        open_mind(settings(**changed), None)


def test_an_endpoint_without_keys_is_sent_none():
    with ProtocolServer(says(YES)) as server:
        assert ask(server, key_variable=None).content


def test_the_key_appears_nowhere_even_where_the_server_echoes_it(capfd, caplog, tmp_path):
    caplog.set_level("DEBUG")
    texts = ['{"duplicate": false, "reason": "{ECHO THE KEY}"}', "prose {ECHO THE KEY}"]
    for text in texts:
        with ProtocolServer(says(text)) as server:
            reply = ask(server, cassette=str(tmp_path / "tape.jsonl"))
        assert "[key]" in reply.text
        assert KEY not in json.dumps(dataclasses.asdict(reply))
    assert KEY not in (tmp_path / "tape.jsonl").read_text()
    assert KEY not in "".join(capfd.readouterr()) + caplog.text + repr(settings())


@pytest.mark.parametrize("ways", [{"strict": True}, {"newer": True}, {"strict": True, "newer": True}])
def test_an_endpoint_that_refuses_a_parameter_is_asked_without_it_from_then_on(ways):
    with ProtocolServer(says(YES), **ways) as server:
        mind = OpenAIMind(settings(server))
        first, tries = mind.reply(Request(purpose="novelty", payload=NOVELTY)), len(server.requests)
        second = mind.reply(Request(purpose="novelty", payload=NOVELTY))
        assert len(server.requests) == tries + 1
    assert first.content == second.content == {"duplicate": True, "reason": "as 3"}
    assert first.parameters["response_format"] is not ways.get("strict", False)
    assert ("max_completion_tokens" in first.parameters) is ways.get("newer", False)


def test_a_schema_is_not_sent_where_the_settings_say_so():
    with ProtocolServer(says(YES)) as server:
        assert ask(server, structured=False).parameters["response_format"] is False
        assert "response_format" not in server.requests[0]


def test_a_reply_of_the_wrong_form_is_sent_back_once_with_the_reason():
    def answer(purpose, messages):
        return YES if len(messages) == 4 and "duplicate" in messages[3]["content"] else '{"verdict": 1}'

    with ProtocolServer(answer) as server:
        reply = ask(server)
        assert len(server.requests) == 2
    assert reply.content == {"duplicate": True, "reason": "as 3"}
    assert (reply.prompt_tokens, reply.completion_tokens) == (200, 20)
    assert '{"verdict": 1}' in reply.prompt


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("I would rather not.", "no JSON object"),
        ('{"duplicate": tru', "no JSON object"),
        ("{" * 3000 + '{"a":' * 3000, "no JSON object"),
        ('{"duplicate": "maybe", "reason": ""}', "duplicate"),
        ("", "no JSON object"),
    ],
)
def test_a_reply_that_stays_wrong_is_an_error_and_no_exception(text, error):
    with ProtocolServer(says(text)) as server:
        reply = ask(server)
        assert len(server.requests) == 2
    assert reply.content is None
    assert error in reply.error
    assert reply.text == text


@pytest.mark.parametrize(
    ("ways", "error"),
    [
        ({"troubles": ("empty",)}, "holds no reply"),
        ({"troubles": ("odd",)}, "holds no reply"),
        ({"troubles": ("context",)}, "maximum context length"),
        ({"finish": "length"}, "cut off after llm.max_tokens=16384"),
        ({"answer": says("x" * 1_000_000)}, "1000000 characters long"),
    ],
)
def test_a_reply_that_asking_again_would_not_mend_is_an_error_at_once(ways, error):
    with ProtocolServer(**({"answer": says('{"duplicate": ')} | ways)) as server:
        reply = ask(server)
        assert len(server.requests) == 1
    assert reply.content is None
    assert error in reply.error
    assert len(reply.text) < 1000


def test_a_reply_is_kept_without_what_no_database_stores():
    with ProtocolServer(says("a\0b\ud800c")) as server:
        assert ask(server).text == "ab?c"


def test_tokens_that_the_endpoint_does_not_count_are_estimated_so_that_a_budget_still_ends():
    with ProtocolServer(says(YES), usage=False) as server:
        reply = ask(server)
    assert reply.prompt_tokens > 100
    assert reply.completion_tokens == len(YES) // 4


def test_a_cassette_gives_the_same_replies_without_network_or_key(tmp_path, monkeypatch):
    tape = str(tmp_path / "tape.jsonl")
    payloads = [NOVELTY | {"draw": draw} for draw in range(3)]
    with ProtocolServer(lambda purpose, messages: YES.replace("3", str(len(server.requests)))) as server:
        recorded = [ask(server, payload, cassette=tape) for payload in payloads]
        again = [ask(server, payload, cassette=tape) for payload in payloads]
        assert len(server.requests) == 3  # what the cassette holds is not paid twice
        texts = ["forgets", "flattens"]
        vectors = endpoint_embedder(settings(server, embedding_model="e", cassette=tape)).embed(texts)
    monkeypatch.delenv("ARCHAUDIT_TEST_KEY")
    replayed = settings(base_url="http://127.0.0.1:9/v1", cassette=tape, cassette_mode="replay", embedding_model="e")
    mind = OpenAIMind(replayed)
    played = [mind.reply(Request(purpose="novelty", payload=payload)) for payload in payloads]
    for replies in (again, played):
        assert [dataclasses.replace(reply, seconds=0.0) for reply in replies] == [
            dataclasses.replace(reply, seconds=0.0) for reply in recorded
        ]
    assert len({reply.text for reply in played}) == 3  # the draw tells calls of one prompt apart
    assert (mind.embed(texts[::-1]) == vectors[::-1]).all()
    with pytest.raises(InputError, match="no answer to this novelty call"):
        mind.reply(Request(purpose="novelty", payload=NOVELTY | {"name": "other"}))
    with pytest.raises(InputError, match="no answer to this embedding call"):
        mind.embed(["other"])


def test_a_cassette_survives_a_line_that_a_kill_tore_and_other_files_are_left_alone(tmp_path):
    tape, notes = tmp_path / "tape.jsonl", tmp_path / "notes.txt"
    with ProtocolServer(says(YES)) as server:
        first = ask(server, cassette=str(tape))
        tape.write_bytes(tape.read_bytes() + b'{"key": "12')
        assert ask(server, cassette=str(tape)).text == first.text
        ask(server, NOVELTY | {"draw": 1}, cassette=str(tape))
        assert ask(server, NOVELTY | {"draw": 1}, cassette=str(tape)).content
        assert len(server.requests) == 2
        notes.write_text("what I think")
        with pytest.raises(InputError, match=r"notes.txt is no cassette"):
            ask(server, cassette=str(notes))
    assert notes.read_text() == "what I think"


def test_two_threads_that_ask_the_same_at_once_get_the_one_answer_that_a_replay_gives(tmp_path):
    together, number = threading.Barrier(2), iter(range(2))

    def answers(purpose, messages):
        together.wait(10)
        return json.dumps({"duplicate": True, "reason": f"as {next(number)}"})

    tape = str(tmp_path / "tape.jsonl")
    with ProtocolServer(answers) as server, ThreadPoolExecutor(2) as threads:
        mind = OpenAIMind(settings(server, cassette=tape))
        request = Request(purpose="novelty", payload=NOVELTY)
        first, second = threads.map(mind.reply, [request, request])
    replayed = OpenAIMind(settings(cassette=tape, cassette_mode="replay")).reply(request)
    assert first.content == second.content == replayed.content


def test_a_cassette_of_many_threads_has_whole_lines(tmp_path):
    tape = tmp_path / "tape.jsonl"
    with ProtocolServer(says(YES)) as server:
        mind = OpenAIMind(settings(server, cassette=str(tape)))
        asked = [
            threading.Thread(target=mind.reply, args=(Request(purpose="novelty", payload=NOVELTY | {"draw": draw}),))
            for draw in range(12)
        ]
        for thread in asked:
            thread.start()
        for thread in asked:
            thread.join()
    assert len({json.loads(line)["key"] for line in tape.read_text().splitlines()}) == 12


def test_embeddings_are_unit_vectors_in_the_order_of_the_texts_asked_in_batches_and_once():
    texts = [f"symptom {number}" for number in range(130)]
    with ProtocolServer(says("")) as server:
        embedder = endpoint_embedder(settings(server, embedding_model="embed-1"))
        vectors = embedder.embed(texts)
        assert len(server.requests) == 3
        alone = embedder.embed([texts[77], texts[77], ""])
        assert server.requests[3:] == [{"model": "embed-1", "input": [" "], "encoding_format": "float"}]
    assert vectors.shape == (130, 8)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    assert (alone[:2] == vectors[77]).all()
    expected = np.array([byte - 99.5 for byte in hashlib.sha256(texts[77].encode()).digest()[:8]])
    assert vectors[77] == pytest.approx(expected / np.linalg.norm(expected))


@pytest.mark.parametrize("trouble", ["400", "empty"])
def test_embeddings_that_cannot_be_had_name_their_setting(trouble):
    with ProtocolServer(says(""), troubles=(trouble,)) as server, pytest.raises(InputError, match="embedding_model"):
        endpoint_embedder(settings(server, embedding_model="embed-1")).embed(["text"])
    with pytest.raises(InputError, match="embedding_model"):
        endpoint_embedder(settings())


class Shelf:
    """Calls kept in memory, as the archive keeps them."""

    def __init__(self):
        self.calls = {}

    def call(self, number, turn):
        return self.calls.get((number, turn))

    def store_call(self, number, turn, request_sha256, purpose, reply):
        self.calls[number, turn] = (request_sha256, reply)
        return reply


def test_a_conversation_that_was_killed_asks_nothing_twice_and_asks_anew_where_the_question_changed():
    def check():
        if len(server.requests) == 4:
            raise BudgetSpent("budget.tokens: 10 of 10")

    shelf = Shelf()
    with ProtocolServer(ScriptedModel()) as server:
        mind = OpenAIMind(settings(server))
        first = Conversation(shelf, mind, 5, check, lambda: False)
        replies = [first.ask("novelty", NOVELTY), first.ask("novelty", NOVELTY)]
        assert len(server.requests) == 2
        redone = Conversation(shelf, mind, 5, check, lambda: False)
        assert [redone.ask("novelty", NOVELTY), redone.ask("novelty", NOVELTY)] == replies
        assert len(server.requests) == 2
        changed = Conversation(shelf, mind, 5, check, lambda: False)
        changed.ask("novelty", NOVELTY | {"name": "slow_gate"})
        assert len(server.requests) == 3
        Conversation(shelf, mind, 6, check, lambda: False).ask("novelty", NOVELTY)
        assert len(server.requests) == 4
        spent = Conversation(shelf, mind, 6, check, lambda: False)
        spent.ask("novelty", NOVELTY)
        with pytest.raises(BudgetSpent):
            spent.ask("novelty", NOVELTY)
        assert len(server.requests) == 4
