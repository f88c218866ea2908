"""One request to a server, and what came of it: a JSON object, a fault that may pass, or a refusal that stays."""

import asyncio
import json
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx2

from memaudit.backends.patience import Fault, asked_pause
from memaudit.errors import BadInput
from memaudit.sources import printable

_LARGEST = 16 * 2**20  # bytes of an answer: a long prompt with its log-probabilities is a tenth of it
_BRIEF = 200  # characters of a server's words that a message repeats
_PASSING = (408, 409, 425, 429)  # and all from 500 on


class Refused(BadInput):
    """The server will not answer this, however often it is asked.

    Attributes:
        status: Its answer's.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where an endpoint is.

    Attributes:
        base: What paths are put behind, without a slash at its end.
        query: What comes behind the path; empty where there is none.
    """

    base: str
    query: str

    @classmethod
    def of(cls, url: str) -> "Address":
        """From a base such as http://host:8000/v1, or the whole of .../completions.

        Raises:
            BadInput: It is neither, or holds credentials.
        """
        if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
            raise BadInput("expected `url` to be http://HOST:PORT/v1 or the like, got other characters in it")
        try:
            parts = urlsplit(url)
            _ = parts.port, httpx2.URL(url)  # each is strict where the other is not
        except (ValueError, httpx2.InvalidURL):
            raise BadInput(
                "expected `url` to be http://HOST:PORT/v1 or the like, got no such thing"
            ) from None
        if parts.username is not None or parts.password is not None:
            raise BadInput(
                "expected `url` without credentials, got some before its host: take them out and set the environment "
                "variable MEMAUDIT_API_KEY"
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(
                f"expected `url` to begin with http:// or https:// and a host, got {parts.scheme or 'no'!r} "
                f"and {parts.hostname or 'no host'!r}: set it to the server's base, such as http://host:8000/v1"
            )
        path = parts.path.rstrip("/")
        if path.endswith("/chat/completions"):
            raise BadInput(
                "expected `url` to be that of text completions, got one of chats: set it to the server's base, "
                "such as http://host:8000/v1"
            )
        path = path.removesuffix("/completions")
        return cls(base=urlunsplit((parts.scheme, parts.netloc, path, "", "")), query=parts.query)

    def to(self, path: str) -> str:
        """The URL of something there."""
        return f"{self.base}/{path}" + (f"?{self.query}" if self.query else "")


class Wire:
    """Connections to one address, kept open between requests. Threads may share it.

    The requests run in an event loop in a thread of its own, because only there a request can be given up at a fixed
    time, whatever it is waiting for: the timeouts of blocking clients begin again with every byte.
    """

    def __init__(self, address: Address, *, key: str | None, timeout: float) -> None:
        """`key` is sent as bearer token and kept nowhere else; `timeout` in seconds, for a request as a whole."""
        self.address = address
        # As it is, and as JSON writes it.
        self._hidden = () if key is None else (key, json.dumps(key)[1:-1])
        self._timeout = timeout
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        # Redirects are not followed: they would carry the key and the code elsewhere.
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=None,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
        )
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run, args=(self._loop,), name="memaudit-wire", daemon=True)
        thread.start()
        self.close = weakref.finalize(self, _close, self._client, self._loop, thread)
        """Let go of the connections, once; also done at the end of the program."""

    def get(self, path: str) -> dict[str, Any]:
        """What lies there. Raises as `post` does."""
        return self._send("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a JSON object.

        Raises:
            Fault: The connection failed, time was up, the server was busy or unwell, or it sent no JSON object.
            Refused: It answered otherwise.
        """
        return self._send("POST", path, body)

    def shown(self, text: str) -> str:
        """A server's words as they may be printed: one line, short, and without the key."""
        for key in self._hidden:
            text = text.replace(key, "[key]")
        text = printable(text.strip())
        return text if len(text) <= _BRIEF else text[:_BRIEF] + "..."

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        exchange = _exchange(self._client, self._timeout, method, self.address.to(path), body)
        work = asyncio.run_coroutine_threadsafe(exchange, self._loop)
        try:
            status, headers, content = work.result()
        except httpx2.RequestError as error:
            raise Fault(f"{type(error).__name__}: {self.shown(str(error))}") from None
        except BaseException:
            work.cancel()  # one that was interrupted; the others are over
            raise
        if not 200 <= status < 300:
            self._complain(path, status, headers, content)
        return _object(content)

    def _complain(self, path: str, status: int, headers: httpx2.Headers, content: bytes) -> None:
        """Raise what such an answer amounts to."""
        said = self.shown(_words(content))
        got = f"status {status}" + (f' and "{said}"' if said else "")
        if status in _PASSING or status >= 500:
            raise Fault(
                got, pause=asked_pause(headers.get("Retry-After"), headers.get("Date")), status=status
            )
        if status < 400:
            remedy = "set `url` to where the server now is"
        elif status in (401, 403):
            remedy = "set the environment variable MEMAUDIT_API_KEY to a key that it takes"
        elif status == 404:
            remedy = (
                "set `url` to a base that has /completions and /models, and `model` to a model that it serves"
            )
        else:
            remedy = "set `model` to one that completes text, and shorter prefixes and targets if they are too long"
        raise Refused(f"{self.address.base}/{path}: expected an answer, got {got}; {remedy}", status)


async def _exchange(
    client: httpx2.AsyncClient, timeout: float, method: str, url: str, body: Mapping[str, Any] | None
) -> tuple[int, httpx2.Headers, bytes]:
    content = bytearray()
    try:
        async with asyncio.timeout(timeout), client.stream(method, url, json=body) as response:
            async for part in response.aiter_raw():
                content += part
                if len(content) > _LARGEST:
                    raise Fault(f"an answer of more than {_LARGEST >> 20} MiB")
    except TimeoutError:
        raise Fault(f"no whole answer within {timeout:g} s") from None
    return response.status_code, response.headers, bytes(content)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _close(client: httpx2.AsyncClient, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    asyncio.run_coroutine_threadsafe(_leave(client, loop), loop)
    if thread is not threading.current_thread():
        thread.join()


async def _leave(client: httpx2.AsyncClient, loop: asyncio.AbstractEventLoop) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await client.aclose()
    loop.call_soon(loop.stop)


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise Fault(f"{len(content)} bytes that are no JSON") from None
    if not isinstance(found, dict):
        raise Fault("JSON that is no object")
    return found


def _words(content: bytes) -> str:
    """What a server says of an error: where OpenAI, FastAPI and others put it, or the body as it is."""
    try:
        found = _object(content)
    except Fault:
        return content.decode("utf-8", errors="replace")
    while isinstance(found, dict):
        found = next((found[name] for name in ("error", "message", "detail") if name in found), "")
    return found if isinstance(found, str) else json.dumps(found)
