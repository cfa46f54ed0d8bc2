"""A server that speaks the OpenAI protocol, well or badly, and a scripted model that makes every kind of mistake."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str, list[dict[str, str]]], str]  # purpose, messages -> text of the reply
TASK = re.compile(r"^Task: (\w+)$", re.MULTILINE)


def purpose_of(messages: list[dict[str, str]]) -> str:
    """The purpose that a prompt names."""
    found = TASK.search(messages[1]["content"])
    assert found, "the prompt names no task"
    return found[1]


class ProtocolServer:
    """Serves /v1/chat/completions and /v1/embeddings on a free port of this machine. A context manager.

    `troubles` are used up first, one a request: "401", "404", "429", "500", "quota", "hang", "reset", "html", "empty",
    "not_json", "context", "odd". Then `answer` writes the replies. `strict` refuses response_format and seed, `newer`
    refuses max_tokens; with `usage` False no tokens are counted. `finish` is the finish_reason of every reply.
    """

    def __init__(self, answer: Answer, *, key: str = "", troubles: tuple[str, ...] = (), **ways: Any) -> None:
        self.answer, self.key, self.troubles = answer, key, list(troubles)
        self.strict, self.newer = ways.pop("strict", False), ways.pop("newer", False)
        self.usage, self.finish = ways.pop("usage", True), ways.pop("finish", "stop")
        assert not ways, ways
        self.requests: list[dict[str, Any]] = []
        self.released = threading.Event()  # ends what hangs
        self.lock = threading.Lock()

    def __enter__(self) -> ProtocolServer:
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def asked(self) -> list[str]:
        """Purposes of the chat requests so far."""
        return [purpose_of(request["messages"]) for request in self.requests if "messages" in request]


class _Handler(BaseHTTPRequestHandler):
    owner: ProtocolServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        owner = self.owner
        with owner.lock:
            owner.requests.append(request)
            trouble = owner.troubles.pop(0) if owner.troubles else ""
        if owner.key and self.headers.get("Authorization") != f"Bearer {owner.key}":
            trouble = "401"
        with contextlib.suppress(OSError):  # a client that has gone away
            if trouble:
                self._misbehave(trouble)
            elif owner.strict and ("response_format" in request or "seed" in request):
                self._refuse(400, "Unknown parameter: response_format")
            elif owner.newer and "max_tokens" in request:
                self._refuse(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
            elif self.path == "/v1/chat/completions":
                self._complete(request)
            elif self.path == "/v1/embeddings":
                self._embed(request)
            else:
                self._refuse(404, "no such path")

    def _misbehave(self, trouble: str) -> None:
        if trouble == "hang":
            self.owner.released.wait(30)
        elif trouble == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif trouble == "html":
            self._send(200, b"<html>Welcome to nginx</html>", "text/html")
        elif trouble == "not_json":
            self._send(200, b'{"choices": [{"mess')
        elif trouble == "empty":
            self._send(200, b'{"choices": [], "usage": null}')
        elif trouble == "odd":
            self._send(200, b'{"choices": [{"message": "no mapping"}], "usage": {"prompt_tokens": "many"}}')
        elif trouble == "context":
            self._refuse(400, "This model's maximum context length is 8192 tokens.")
        elif trouble == "quota":
            self._refuse(429, "You exceeded your current quota", "insufficient_quota")
        else:
            echoed = self.headers.get("Authorization", "")
            self._refuse(int(trouble), f"trouble {trouble}; you sent\n{echoed}")

    def _complete(self, request: dict[str, Any]) -> None:
        text = self.owner.answer(purpose_of(request["messages"]), request["messages"])
        text = text.replace("{ECHO THE KEY}", self.headers.get("Authorization", ""))
        message = {"role": "assistant", "content": text}
        body: dict[str, Any] = {
            "id": "x",
            "object": "chat.completion",
            "model": request["model"] + "-2025",
            "choices": [{"index": 0, "message": message, "finish_reason": self.owner.finish}],
        }
        if self.owner.usage:
            body["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        self._send(200, json.dumps(body).encode())

    def _embed(self, request: dict[str, Any]) -> None:
        """Of each text a vector of 8 numbers that only hangs on the text, in the wrong order."""
        rows = [
            {"object": "embedding", "index": index, "embedding": [byte - 99.5 for byte in digest[:8]]}
            for index, digest in enumerate(hashlib.sha256(text.encode()).digest() for text in request["input"])
        ]
        self._send(200, json.dumps({"data": rows[::-1], "model": request["model"]}).encode())

    def _refuse(self, status: int, message: str, code: str | None = None) -> None:
        error = {"message": message, "type": "invalid_request_error", "code": code}
        self._send(status, json.dumps({"error": error}).encode(), again={"retry-after-ms": "1", "Retry-After": "0"})

    def _send(
        self, status: int, body: bytes, kind: str = "application/json", again: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(again or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


PROGRAM = """import torch
from torch import nn
from torch.nn import functional as F

from kernels import decay_attention, delta_rule, fir, gated_norm


class Mixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, hidden_size // num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.rates = nn.Linear(hidden_size, 2 * num_heads)
        self.gate = nn.Linear(hidden_size, hidden_size, bias=False)
        self.taps = nn.Parameter(F.pad(torch.ones(3 * hidden_size, 1), ({taps} - 1, 0)))
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.out = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x):
        mixed = F.silu(fir(self.qkv(x), [self.taps])[0])
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in mixed.chunk(3, dim=-1))
        gate = self.gate(x).unflatten(-1, (self.num_heads, -1))
        beta, decay = self.rates(x).chunk(2, dim=-1)
        unit_q, unit_k = F.normalize(q, dim=-1, eps=1e-3), F.normalize(k, dim=-1, eps=1e-3)
        {body}
        return self.out(o.flatten(-2))
"""
DELTA = "o = delta_rule(unit_q, unit_k, v, beta.sigmoid(), scale=self.head_dim**-0.5)"
GATED = "o = delta_rule(unit_q, unit_k, v, beta.sigmoid(), -F.softplus(decay - 4), scale=self.head_dim**-0.5)"
FADING = "o = decay_attention(q, k, v, -F.softplus(decay - 4), scale=self.head_dim**-0.5)"
NORM, SILU_GATE = "\n        o = self.norm(o)", "\n        o = gated_norm(o, gate, self.norm.weight)"
VALID = {  # name -> (motivation, taps, body)
    "narrow_delta": ("Two taps bind neighbours at less cost than four.", 2, DELTA + NORM),
    "gated_output": ("An output gate lets a token mute what it does not need.", 4, DELTA + SILU_GATE),
    "fading_delta": ("A decay that hangs on the data clears the state between topics.", 4, GATED + NORM),
    "fading_gated": ("Decay and output gate together: forget early, select late.", 4, GATED + SILU_GATE),
    "plain_decay": ("Without the delta rule: is a fading sum enough here?", 4, FADING + NORM),
    "wide_taps": ("Seven taps see whole words before the state is written.", 7, DELTA + NORM),
    "value_shortcut": ("The value of the token itself goes past the memory.", 4, DELTA + NORM + " + v"),
    "twice_beta": ("Negative eigenvalues: steps up to two.", 4, DELTA.replace("beta.s", "2 * beta.s") + NORM),
    "sigmoid_gate": ("A gate that cannot change the sign.", 4, DELTA + NORM + " * gate.sigmoid()"),
    "retained_values": ("A slow sum of values beside the precise memory.", 4, GATED + NORM + " + 0.5 * v"),
}
MISTAKES = {  # kind -> body in place of a valid one; those that look at head_dim only show in training
    "crash": "o = delta_rule(q, k, v[..., :-1, :], beta.sigmoid())",
    "late_crash": "assert self.head_dim == 8, 'the table of head sizes ends at 8'\n        " + DELTA + NORM,
    "leak": DELTA + NORM + "\n        o = o + F.pad(v, (0, 0, 0, 0, 0, 1))[:, 1:]",
    "quadratic": (
        "scores = torch.einsum('bthk,bshk->bhts', q, k).tril()\n        "
        "o = self.norm(torch.einsum('bhts,bshk->bthk', scores, v))"
    ),
    "not_a_number": DELTA + "\n        o = o / (o - o)",
    "late_not_a_number": DELTA + "\n        o = o / torch.tensor(float(self.head_dim == 8)).to(o)",
    "slow": "o = torch.stack([v[:, : t + 1].mean(1) for t in range(v.shape[1])], dim=1)",
}
KINDS = (
    *("valid", "prose", "syntax_error", "valid", "wrong_class", "crash", "leak", "valid", "late_crash", "quadratic"),
    *("same_program", "same_idea", "not_a_number", "valid", "late_not_a_number", "malformed", "fenced", "slow"),
    *("never_mended", "valid"),
)


def valid_program(number: int) -> tuple[str, str, str]:
    """Name, motivation and source of one valid mixer; they differ for at least 50 numbers in a row."""
    name, (motivation, taps, body) = list(VALID.items())[number % len(VALID)]
    more = number // len(VALID)
    words = f" With {taps + more} taps." if more else ""
    return f"{name}_{taps + more}", motivation + words, PROGRAM.format(taps=taps + more, body=body)


class ScriptedModel:
    """Plays a language model in a whole search: the next of `kinds` at each proposal, sense at everything else."""

    def __init__(self, kinds: Sequence[str] = KINDS) -> None:
        self.kinds, self.played = kinds, list[str]()
        self._valid, self._lock = 0, threading.Lock()

    def __call__(self, purpose: str, messages: list[dict[str, str]]) -> str:
        """The text of a reply."""
        with self._lock:
            return str(getattr(self, purpose)(messages[1]["content"], len(messages) > 2))

    def propose(self, prompt: str, again: bool) -> str:
        if again:  # a model that does not learn from being told so
            return self._proposal(self.played[-1], prompt)
        self.played.append(self.kinds[len(self.played) % len(self.kinds)])
        return self._proposal(self.played[-1], prompt)

    def _proposal(self, kind: str, prompt: str) -> str:
        if kind == "prose":
            return "I would suggest making the memory decay a little more slowly. Shall I write the code?"
        if kind == "same_program":
            code = re.findall(r"```python\n(.*?)```", prompt, re.DOTALL)[1]  # after the contract's: the parent
            return _proposed("renewed", "Everything anew, from first principles.", code)
        if kind == "same_idea":
            name, motivation, _ = valid_program(0)
            return _proposed(name, motivation, PROGRAM.format(taps=11 + len(self.played), body=DELTA + NORM))
        name, motivation, code = valid_program(self._valid)
        if kind in ("valid", "fenced", "malformed"):
            self._valid += kind != "malformed"
        if kind in MISTAKES or kind == "never_mended":
            name, motivation = (
                f"{kind}_{len(self.played)}",
                f"Attempt {len(self.played)}: {kind.replace('_', ' ')} at work.",
            )
            code = PROGRAM.format(taps=4, body=MISTAKES.get(kind, MISTAKES["late_crash"]))
        if kind == "wrong_class":
            code = code.replace("class Mixer", "class BestMixer")
        if kind == "syntax_error":
            code = code.replace("def forward(self, x):", "def forward(self, x:")
        text = _proposed(name, motivation, "" if kind == "fenced" else code)
        if kind == "malformed":
            return text[: len(text) // 2]
        return f"Here it is:\n{text}\n```python\n{code}\n```\nGood luck!" if kind == "fenced" else text

    def repair(self, prompt: str, again: bool) -> str:
        broken = re.findall(r"```python\n(.*?)```", prompt, re.DOTALL)[1]
        mended = re.sub(
            r"(?<=eps=1e-3\)\n).*(?=        return self)", f"        {DELTA}{NORM}\n", broken, flags=re.DOTALL
        )
        mended = mended.replace("def forward(self, x:", "def forward(self, x):").replace("BestMixer", "Mixer")
        never = "never_mended" in prompt
        return json.dumps({"code": broken + "\n# mended" if never else mended, "explanation": "A shape was wrong."})

    def novelty(self, prompt: str, again: bool) -> str:
        idea, _, earlier = prompt.partition("## The earlier experiments")
        motivation = idea.partition("<<<\n")[2].partition("\n>>>")[0]
        return json.dumps({"duplicate": motivation in earlier, "reason": "Compared the words."})

    def summarise(self, prompt: str, again: bool) -> str:
        return json.dumps({"summary": "A memory that is corrected as it is written; the numbers stand beside it."})

    def judge(self, prompt: str, again: bool) -> str:
        return json.dumps({"innovation": 4, "complexity": 6.5, "performance": 5, "reason": "Near its parent."})

    def analyse(self, prompt: str, again: bool) -> str:
        components = [{"component": "output_gate_silu", "origin": "original"}]
        told = {"worked": "The gate.", "failed": "Nothing.", "weakness": "forgets associations made far back"}
        return json.dumps(told | {"components": components})

    def extract(self, prompt: str, again: bool) -> str:
        entry = {
            "scenario": "The state fills up.",
            "algorithm": "Let it fade.",
            "context": "Text.",
            "hint": "One gate.",
        }
        return json.dumps({"title": "On Fading", "year": 2024, "entries": [entry]})


def _proposed(name: str, motivation: str, code: str) -> str:
    components = [{"component": name, "origin": "analysis"}]
    return json.dumps({"name": name, "motivation": motivation, "code": code, "components": components})
