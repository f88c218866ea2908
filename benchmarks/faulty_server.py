"""An OpenAI-compatible server for tests: a model that knows texts by heart, behind a line that fails as it is told to.

All that it says follows from the prompt, and all that fails from a seed, the prompt and how often it was asked before:
never from time or from the order in which threads ask.
"""

import json
import random
import re
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from zlib import crc32

KINDS = {
    "connection dropped before an answer": 3,
    "connection dropped in the body": 3,
    "stall before an answer": 0.3,
    "stall in the body": 0.3,
    "429": 3,
    "429 with Retry-After": 3,
    "500": 3,
    "503": 3,
    "malformed JSON": 3,
    "JSON cut short": 3,
    "wrong shape": 3,
    "no choices": 3,
    "HTML": 3,
}
"""What can happen to a request, and how often beside the others. A stall ends when the client goes away."""

STREAK = 4
"""Faults in a row with which a prompt is met at most."""

_PIECES = re.compile(r" ?\w+| ?[^\s\w]+|\n|[^\S\n]+")
_ENDED = 24  # tokens after which the model ends what it does not know by heart
_KNOWN = {
    *("model", "prompt", "max_tokens", "temperature", "n", "stream", "echo", "logprobs"),
    *("frequency_penalty", "presence_penalty"),
}

Plan = Callable[[str, int], str | None]
"""A prompt and how often it was asked before -> the fault that this request meets, a key of `KINDS`."""


def pieces(text: str) -> list[str]:
    """The model's tokens of a text."""
    return _PIECES.findall(text)


def seeded(share: float, seed: int, *, kinds: Mapping[str, float] = KINDS) -> Plan:
    """A plan in which so many of the requests fail, though no prompt more than `STREAK` times in a row."""
    names, weights = list(kinds), list(kinds.values())

    def fault(prompt: str, before: int) -> str | None:
        draw = random.Random(f"{seed} {before} {prompt}")
        return draw.choices(names, weights)[0] if draw.random() < share else None

    def plan(prompt: str, before: int) -> str | None:
        streak = (
            all(fault(prompt, before - back) for back in range(1, STREAK + 1)) if before >= STREAK else False
        )
        return None if streak else fault(prompt, before)

    return plan


class FaultyServer(ThreadingHTTPServer):
    """Listens on a free port of this machine as long as its `with` block runs.

    Attributes:
        url: Its base.
        asked: The bodies of all questions, as they came.
        answered: Prompt -> completions of it that were sent as a whole.
        injected: Kind of fault -> how often it was met with.
        times: When each question came, by the clock that never goes back.
    """

    daemon_threads = True

    def __init__(
        self,
        texts: Sequence[str] = (),
        *,
        plan: Plan = lambda prompt, before: None,
        lists: Literal["yes", "no", "refuses", "fails", "shifted"] = "yes",
        strict: bool = False,
        context: int = 100_000,
        models: Sequence[str] = ("parrot",),
        key: str | None = None,
        change: Callable[[dict[str, Any], dict[str, Any]], Any] = lambda answer, asked: answer,
    ) -> None:
        """A server that is well, unless told otherwise.

        Args:
            texts: What the model knows by heart.
            plan: Which requests fail, and how.
            lists: Whether it lists the log-probabilities of a prompt; it may refuse with 400, fail with 500, or list
                each token's under the next one.
            strict: Refuses fields that are not of the protocol.
            context: Tokens of prompt and completion that it has room for.
            models: Their names.
            key: The only one that it takes.
            change: An answer and what was asked -> what is sent as JSON; bytes as they are.
        """
        super().__init__(("127.0.0.1", 0), _Handler)
        self.texts, self.plan, self.lists, self.strict, self.context = texts, plan, lists, strict, context
        self.models, self.key, self.change = models, key, change
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.asked: list[dict[str, Any]] = []
        self.answered: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self.times: list[float] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self._before: Counter[str] = Counter()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "FaultyServer":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may go away; all else is an error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def hear(self, asked: dict[str, Any]) -> str | None:
        """Take down a question, and say which fault it meets."""
        with self.lock:
            self.asked.append(asked)
            self.times.append(time.monotonic())
            # Its log-probabilities are another question.
            name = ("echo " if asked.get("echo") else "") + asked["prompt"]
            before = self._before[name]
            self._before[name] += 1
            fault = self.plan(name, before)
            if fault:
                self.injected[fault] += 1
        return fault

    def continued(self, prompt: str) -> list[str]:
        """The tokens that the model says after a prompt, to its end."""
        for text in self.texts:
            if text.startswith(prompt) and text != prompt:
                return pieces(text[len(prompt) :])
        return [f" w{crc32(f'{prompt} {i}'.encode()) % 1000}" for i in range(_ENDED)]

    def listed(self, text: str, more: list[str]) -> dict[str, Any]:
        """The log-probabilities of a text and of what is said after it."""
        tokens, logprobs, tops, offsets, at = [*pieces(text), *more], [], [], [], 0
        for token in tokens:
            best = self.continued((text + "".join(more))[:at])[0]
            own = -(crc32(f"{token} {at}".encode()) % 1000) / 1000 - 0.001
            logprobs.append(own)
            tops.append({token: own} if token == best else {best: own / 2, token: own})
            offsets.append(at)
            at += len(token)
        if self.lists == "shifted":
            logprobs, tops = [*logprobs[1:], -1.0], [*tops[1:], {"x": -1.0}]
        logprobs[0] = tops[0] = None
        return {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets}

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The right answer."""
        prompt, most = asked["prompt"], asked["max_tokens"]
        said = self.continued(prompt)
        tokens = said[:most]
        choice = {
            "index": 0,
            "text": "".join(tokens),
            "finish_reason": "stop" if len(said) < most else "length",
        }
        if self.lists in ("yes", "shifted") and asked.get("echo"):
            choice["text"] = prompt + choice["text"]
        if self.lists in ("yes", "shifted") and asked.get("logprobs"):
            choice["logprobs"] = self.listed(prompt, tokens)
        return {"object": "text_completion", "model": asked["model"], "choices": [choice]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    server: FaultyServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """List the models."""
        if self.path != "/v1/models":
            return self._complain(404, f"no {self.path} here")
        if self._admitted():
            self._send(200, {"object": "list", "data": [{"id": name} for name in self.server.models]})
        return None

    def do_POST(self) -> None:
        """Answer a question, or fail at it."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/completions":
            return self._complain(404, f"no {self.path} here")
        if not self._admitted():
            return None
        if asked["model"] not in self.server.models:
            return self._complain(404, f"The model `{asked['model']}` does not exist.")
        fault = self.server.hear(asked)
        if unknown := self.server.strict and asked.keys() - _KNOWN:
            return self._complain(422, f"Unexpected fields in the request: {sorted(unknown)}")
        if asked.get("logprobs") and self.server.lists == "refuses":
            return self._complain(400, "logprobs are not supported")
        if asked.get("logprobs") and self.server.lists == "fails":
            return self._complain(500, "Internal Server Error")
        if len(pieces(asked["prompt"])) + asked["max_tokens"] > self.server.context:
            return self._complain(
                400, f"This model's maximum context length is {self.server.context} tokens."
            )
        answer = self.server.change(self.server.answer(asked), asked)
        if fault:
            return self._fail(fault, json.dumps(answer).encode())
        if not asked.get("echo"):
            with self.server.lock:  # before the client can know of it
                self.server.answered[asked["prompt"]] += 1
        self._send(200, answer)
        return None

    def _admitted(self) -> bool:
        given = self.headers.get("Authorization", "")
        if self.server.key is None or given == f"Bearer {self.server.key}":
            return True
        self._complain(401, f"Incorrect API key provided:\n{given}")  # as talkative as some are
        return False

    def _complain(self, status: int, message: str) -> None:
        self._send(status, {"error": {"message": message, "code": status}})

    def _send(self, status: int, answer: Any, headers: Mapping[str, str] | None = None) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self._raw(status, body, {"Content-Type": "application/json", **(headers or {})})

    def _raw(self, status: int, body: bytes, headers: Mapping[str, str], *, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)

    def _fail(self, fault: str, right: bytes) -> None:
        half, as_json = right[: len(right) // 2], {"Content-Type": "application/json"}
        if fault.startswith(("connection dropped", "stall")):
            if fault.endswith("in the body"):
                self._raw(200, right, as_json, cut=True)
            self._hang_up() if fault.startswith("connection") else self._stall()
        elif fault == "429 with Retry-After":
            self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "2"})
        elif fault.isdecimal():
            moved = {"Location": f"{self.server.url}/models"} if fault.startswith("3") else None
            self._send(int(fault), {"error": {"message": "not now"}}, moved)
        elif fault == "malformed JSON":
            self._raw(200, half + b"}}" + half, as_json)
        elif fault == "JSON cut short":
            self._raw(200, half, as_json)
        elif fault == "wrong shape":
            self._send(200, {"result": {"text": "nothing of the kind"}})
        elif fault == "no choices":
            self._send(200, {"object": "text_completion", "choices": []})
        elif fault == "HTML":
            self._raw(200, b"<html><body>Welcome</body></html>", {"Content-Type": "text/html"})
        else:
            raise ValueError(f"expected one of {', '.join(KINDS)} or a status, got {fault!r}")

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _stall(self) -> None:
        self.close_connection = True
        while not self.server.closing.is_set():
            if select.select([self.connection], [], [], 0.02)[0]:
                return
