"""Language models behind an OpenAI-compatible endpoint: prompts, tolerant reading, budgets, a cassette for replay."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import jsonschema
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from loop.records import Mind, Purpose, Reply, Request
from replication.processes import Stopped
from replication.settings import InputError, require

if TYPE_CHECKING:
    from loop.archive import Archive
    from loop.offline import OfflineSettings

PROMPTS = Path(__file__).with_name("prompts")
KEPT = "what was done is kept, and the same command goes on from there"
BLAME = {  # by HTTP status
    401: "llm.key_variable: the key is not accepted",
    402: "llm.key_variable: the quota of this key is used up",
    403: "llm.key_variable: the key may not do this",
    404: "llm.model, llm.base_url: no such model at this address",
}
LONGEST_REPLY, LONGEST_EMBEDDED, EMBEDDED_AT_ONCE = 400_000, 8_000, 64  # characters, characters, texts
BRACES = 1_000  # tried as the beginning of an object
TOO_MUCH = re.compile(r"context|too (long|large)|content.?(filter|policy|management)", re.IGNORECASE)
TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])', re.DOTALL)  # or a whole string, to step over it
NEEDED = ("name", "motivation", "code", "summary")  # where a reply has them, they say something
NULL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # as JSON writes it
PYTHON_FENCE = re.compile(r"```(?:python|py)[ \t]*\r?\n(.*?)\n?[ \t]*```", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Price:
    """Of a million tokens, in a unit of the user's choice."""

    prompt: float
    completion: float


@dataclass(frozen=True, kw_only=True)
class LLMSettings:
    """The settings `llm.*`; conf/llm/openai.yaml explains each."""

    provider: Literal["offline", "openai"]
    model: str | None
    base_url: str
    key_variable: str | None
    temperature: float
    max_tokens: int
    structured: bool
    timeout_seconds: float
    retries: int
    price: Price
    embedding_model: str | None
    cassette: str | None
    cassette_mode: Literal["record", "replay"]

    def __post_init__(self) -> None:
        require(
            urlsplit(self.base_url).scheme in ("http", "https"), "llm.base_url: must begin with http:// or https://"
        )
        require("@" not in self.base_url, "llm.base_url: leave the password out, it would be recorded")
        require(self.max_tokens >= 1 and self.timeout_seconds > 0, "llm.max_tokens, llm.timeout_seconds: too small")
        require(0 <= self.retries <= 100, f"llm.retries: must lie between 0 and 100, got {self.retries}")


class BudgetSpent(Exception):
    """No further call is allowed. The message names the setting."""


class Conversation:
    """The questions of one experiment, in order. What was answered before a kill is not asked, or paid, again."""

    def __init__(
        self, archive: Archive, mind: Mind, number: int, check: Callable[[], None], stopping: Callable[[], bool]
    ) -> None:
        self._archive, self._mind, self._number, self._turn = archive, mind, number, 0
        self._check, self._stopping = check, stopping

    def ask(self, purpose: Purpose, payload: dict[str, Any]) -> Reply:
        """The reply, stored. Raises what `check` raises before a new call, what the mind raises, and Stopped."""
        turn, self._turn = self._turn, self._turn + 1
        digest = _sha256({"purpose": purpose, "payload": payload})
        stored = self._archive.call(self._number, turn)
        if stored is not None and stored[0] == digest:
            return stored[1]
        self._check()
        with ThreadPool(1) as pool:  # whose thread nobody waits for at the end
            answer = pool.apply_async(self._mind.reply, [Request(purpose=purpose, payload=payload)])
            while not answer.ready():
                if self._stopping():
                    raise Stopped
                answer.wait(0.1)
            reply = answer.get()
        return self._archive.store_call(self._number, turn, digest, purpose, reply)


def open_mind(llm: LLMSettings, offline: OfflineSettings) -> Mind:
    """Who answers under these settings. Raises InputError: no model, no key, a cassette that cannot be read."""
    if llm.provider == "openai":
        return OpenAIMind(llm)
    from loop.offline import Offline

    return Offline(offline)


def endpoint_embedder(llm: LLMSettings) -> OpenAIMind:
    """What embeds texts by the endpoint's llm.embedding_model. Raises InputError as `open_mind`."""
    require(bool(llm.embedding_model), "llm.embedding_model: name the model of the embeddings")
    return OpenAIMind(llm)


class Refused(Exception):
    """The endpoint calls this request wrong."""


class OpenAIMind:
    """The models behind one endpoint. Threads may share it."""

    def __init__(self, settings: LLMSettings, prompts: Path = PROMPTS) -> None:
        """prompts: the folder of the prompts, their JSON schemas and system.md."""
        named = settings.model is not None or settings.provider == "offline"  # which may still embed by the endpoint
        require(named, "llm.model: name the model, as in llm.model=NAME")
        self._settings, self._prompts, self._key = settings, prompts, "none"
        # what this endpoint calls a parameter; "" where it does not take it
        self._names = {} if settings.structured else {"response_format": ""}
        self._cassette = Path(settings.cassette) if settings.cassette else None
        self._replays = self._cassette is not None and settings.cassette_mode == "replay"
        self._tape = _read_tape(self._cassette, self._replays) if self._cassette else {}
        if self._replays:
            return
        if (variable := settings.key_variable) is not None:
            self._key = os.environ.get(variable, "").strip()
            usable = bool(self._key) and self._key.isascii() and self._key.isprintable()
            hint = "set it, or llm.key_variable=null for an endpoint without keys"
            require(usable, f"llm.key_variable: the environment variable {variable} holds no key; {hint}")
        import openai  # half a second that others need not wait for

        self._client = openai.OpenAI(api_key=self._key, base_url=settings.base_url, max_retries=settings.retries)
        self._client.timeout = settings.timeout_seconds

    def reply(self, request: Request) -> Reply:
        """Ask, and once more where the answer has the wrong form. Where nobody counts tokens, one is 4 characters.

        Raises InputError where no answer can be had: key, model, address, quota, retries used up.
        """
        messages = [{"role": "system", "content": render("system", {}, self._prompts)}]
        messages.append({"role": "user", "content": render(request.purpose, request.payload, self._prompts)})
        began, price, tokens = time.perf_counter(), self._settings.price, [0, 0]
        for last in (False, True):
            answer = self._answer(request, messages)
            tokens = [before + more for before, more in zip(tokens, answer["tokens"], strict=True)]
            content, error = read(request.purpose, answer["text"], self._prompts)
            if content is not None or last or answer["fault"]:
                break
            messages.append({"role": "assistant", "content": answer["text"] or "-"})
            again = f"That cannot be used: {error}. Answer again, whole and in the form that was asked for."
            messages.append({"role": "user", "content": again})
        return Reply(
            content=content,
            error="" if content is not None else answer["fault"] or error,
            prompt="\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages),
            text=answer["text"],
            model=answer["model"],
            parameters=answer["parameters"],
            prompt_tokens=tokens[0],
            completion_tokens=tokens[1],
            cost=(tokens[0] * price.prompt + tokens[1] * price.completion) / 1e6,
            seconds=time.perf_counter() - began,
        )

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors [n, d] of unit length. Their tokens count in no budget. Raises InputError as `reply`."""
        cut = [text[:LONGEST_EMBEDDED] or " " for text in texts]
        keys = [_sha256({"model": self._settings.embedding_model, "input": text}) for text in cut]
        new = [(key, text) for key, text in dict(zip(keys, cut, strict=True)).items() if key not in self._tape]
        for start in range(0, len(new), EMBEDDED_AT_ONCE):
            batch = new[start : start + EMBEDDED_AT_ONCE]
            for (key, _), vector in zip(batch, self._vectors([text for _, text in batch]), strict=True):
                self._keep(key, base64.b64encode(vector.astype("<f4")).decode())
        vectors = np.stack([np.frombuffer(base64.b64decode(self._tape[key]), "<f4") for key in keys]).astype(float)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def _vectors(self, texts: list[str]) -> np.ndarray:
        body = {"model": self._settings.embedding_model, "input": texts, "encoding_format": "float"}
        try:
            data = sorted(self._post("/embeddings", "embedding", body)["data"], key=lambda row: row["index"])
            vectors = np.array([row["embedding"] for row in data], dtype=float)
            if len(data) != len(texts) or not (np.linalg.norm(vectors, axis=1) > 0).all():
                raise ValueError("their number or length is wrong")
        except (Refused, LookupError, TypeError, ValueError) as error:
            raise InputError(f"llm.embedding_model: the endpoint gives no embeddings: {error}") from None
        return vectors

    def _answer(self, request: Request, messages: list[dict[str, str]]) -> dict[str, Any]:
        settings = self._settings
        form = {"name": request.purpose, "strict": True, "schema": _validator(request.purpose, self._prompts).schema}
        body = {
            "model": settings.model,
            "messages": messages,
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
            "seed": request.payload.get("draw", 0),
            "response_format": {"type": "json_schema", "json_schema": form},
        }
        key = _sha256(body)
        if key in self._tape:
            return dict(self._tape[key])
        answer = self._complete(body)
        return answer if self._cassette is None else dict(self._keep(key, answer))

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask, in the words that this endpoint knows."""
        what = body["response_format"]["json_schema"]["name"]
        while True:
            sent = {self._names.get(name, name): value for name, value in body.items()}
            sent.pop("", None)
            try:
                answer = self._completion(self._post("/chat/completions", what, sent), body)
            except Refused as refused:
                newer = "max_completion_tokens" in str(refused)  # what newer models call it
                names = {"max_tokens": "max_completion_tokens"} if newer else {"response_format": "", "seed": ""}
                if names.items() <= self._names.items():
                    raise InputError(f"llm: {self._settings.base_url} refuses the request: {refused}") from None
                self._names = self._names | names
            else:
                shown = {name: value for name, value in sent.items() if name not in ("model", "messages")}
                return answer | {"parameters": shown | {"response_format": "response_format" in sent}}

    def _completion(self, body: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        """What counts in the body of an answer, whatever is missing or odd in it."""
        try:
            choice = body["choices"][0]
            text, fault = str(choice["message"]["content"] or ""), choice["message"].get("refusal") or ""
            if choice.get("finish_reason") == "length":
                fault = f"the reply was cut off after llm.max_tokens={asked['max_tokens']}"
        except (LookupError, TypeError, AttributeError):
            text, fault = "", f"the endpoint's answer holds no reply: {body.get('error', '')}"
        if len(text) > LONGEST_REPLY:
            text, fault = "", f"the reply is {len(text)} characters long, too long for any program"
        try:
            tokens = [max(0, int(body["usage"][f"{name}_tokens"])) for name in ("prompt", "completion")]
        except (LookupError, TypeError, ValueError):
            tokens = [sum(len(message["content"]) for message in asked["messages"]) // 4, len(text) // 4]
        model = self._clean(str(body.get("model") or asked["model"]))
        return {"text": self._clean(text), "fault": self._clean(str(fault)), "tokens": tokens, "model": model}

    def _post(self, path: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON object that the endpoint answers. Raises Refused and InputError."""
        asked = "llm.cassette_mode=record asks the endpoint and keeps the answer"
        require(not self._replays, f"llm.cassette: {self._cassette} has no answer to this {what} call; {asked}")
        import openai

        address = self._settings.base_url
        try:
            answer = json.loads(self._client.post(path, cast_to=str, body=body))
        except openai.APIStatusError as error:
            told = " ".join(self._clean(error.message).split())[:300]
            if error.status_code in (400, 413, 422):
                if TOO_MUCH.search(told):
                    return {"error": told}
                raise Refused(told) from None
            status = 402 if error.code == "insufficient_quota" else error.status_code
            blame = BLAME.get(status, "llm.retries: the endpoint fails or is busy")
            raise InputError(f"{blame}: {address} says: {told}; {KEPT}") from None
        except openai.APITimeoutError:
            seconds = f"{self._settings.timeout_seconds:g} s"
            raise InputError(f"llm.timeout_seconds: no answer from {address} in {seconds}; {KEPT}") from None
        except openai.APIConnectionError as error:
            cause = self._clean(str(error.__cause__ or error))
            raise InputError(f"llm.base_url: {address} cannot be reached ({cause}); {KEPT}") from None
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise InputError(f"llm.base_url: what {address} answers is not the OpenAI protocol; {KEPT}")
        return answer

    def _keep(self, key: str, answer: Any) -> Any:
        """The first answer to a request, which is remembered, on the cassette too where there is one."""
        kept = self._tape.setdefault(key, answer)
        if kept is answer and self._cassette is not None:
            try:
                with self._cassette.open("ab", buffering=0) as file:  # one write: other writers' lines stay whole
                    file.write(json.dumps({"key": key, "answer": answer}).encode() + b"\n")
            except OSError as error:
                raise InputError(f"llm.cassette: {self._cassette} cannot be written: {error.strerror}") from error
        return kept

    def _clean(self, text: str) -> str:
        """A stranger's text without the key, null characters and halves of surrogate pairs."""
        text = text.replace(self._key, "[key]") if len(self._key) >= 8 else text
        return text.encode("utf-8", "replace").decode().replace("\0", "")


def read(purpose: Purpose, text: str, prompts: Path = PROMPTS) -> tuple[dict[str, Any] | None, str]:
    """The content of a reply as models write it: bare JSON, JSON in prose, code in a fence beside it. Else why not."""
    text = text.rpartition("</think>")[2]
    fenced = max(PYTHON_FENCE.findall(text), key=len, default="")
    validator, why = _validator(purpose, prompts), "there is no JSON object in it"
    for found in _objects(text):
        content = {name: found[name] for name in validator.schema["properties"] if name in found}
        if "code" in validator.schema["properties"]:
            code = str(content.get("code", ""))
            content["code"] = (
                fenced if fenced and "class " not in code else max(PYTHON_FENCE.findall(code), default=code)
            )
        problem = jsonschema.exceptions.best_match(validator.iter_errors(content))
        if problem is None and all(content.get(name, name).strip() for name in NEEDED):
            tidy = NULL.sub(r"\1", json.dumps(content, ensure_ascii=False).encode("utf-8", "replace").decode())
            return dict(json.loads(tidy)), ""
        why = f"{problem.json_path}: {problem.message[:200]}" if problem else f"one of {', '.join(NEEDED)} is empty"
    return None, why


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Every JSON object in a text; line breaks in strings and, where need be, trailing commas pass."""
    decoder = json.JSONDecoder(strict=False, parse_constant=str)
    for version in (text, TRAILING_COMMA.sub(r"\1", text)):
        place = version.find("{")
        for _ in range(BRACES):
            if place < 0:
                break
            try:
                found, end = decoder.raw_decode(version, place)
                yield found
            except (ValueError, RecursionError):
                end = place + 1
            place = version.find("{", end)


def render(name: str, payload: dict[str, Any], prompts: Path = PROMPTS) -> str:
    """The prompt NAME.md of a folder with a payload, names in order, from which every `truth` is taken out first."""
    shown = json.loads(
        json.dumps(payload, sort_keys=True), object_hook=lambda found: {k: v for k, v in found.items() if k != "truth"}
    )
    return _templates(prompts).get_template(f"{name}.md").render(shown)


@functools.cache
def _templates(prompts: Path) -> Environment:
    loader = FileSystemLoader(prompts)
    return Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@functools.cache
def _validator(purpose: str, prompts: Path) -> Any:
    return jsonschema.Draft202012Validator(json.loads((prompts / f"{purpose}.json").read_text(encoding="utf-8")))


def _read_tape(path: Path, must_exist: bool) -> dict[str, Any]:
    """Answers by key. A last line that a kill left unfinished is cut off."""
    try:
        if not must_exist:
            path.touch()
        whole, _, rest = path.read_bytes().rpartition(b"\n")
        calls = [json.loads(line) for line in whole.splitlines() or [rest] if line]
        if calls and rest and not must_exist:
            os.truncate(path, len(whole) + 1)
        return {call["key"]: call["answer"] for call in calls}
    except OSError as error:
        raise InputError(f"llm.cassette: {path} cannot be opened: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"llm.cassette: {path} is no cassette, or damaged: {error}") from error


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
