import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from asking import PREFIX, QUESTION, TEXT, FakeClock, only
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.faulty_server import FaultyServer
from memaudit.backends.http import Completions
from memaudit.backends.patience import Clock, Fault, Patience, asked_pause
from memaudit.backends.protocol import Question
from memaudit.backends.wire import Address, Wire
from memaudit.errors import BadInput


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@contextmanager
def dripping(start: bytes) -> Iterator[tuple[str, threading.Event]]:
    """A server that sends this, and then a letter now and then, for as long as anybody listens; and when it began."""
    begun = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                try:
                    connection.recv(65536)
                    connection.sendall(start)
                    begun.set()
                    for _ in range(1000):
                        connection.sendall(b"a")
                        time.sleep(0.02)
                except ConnectionError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", begun
        thread.join()


@pytest.mark.parametrize(
    ("header", "date", "pause"),
    [
        (None, None, None),
        ("7", None, 7.0),
        ("0.5", None, 0.5),
        ("-3", None, 0.0),
        ("Wed, 21 Oct 2026 07:28:10 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 10.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:10 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", None, 0.0),
        ("soon", None, None),
        ("nan", None, None),
        ("inf", None, None),
        ("", "", None),
    ],
)
def test_a_server_says_in_seconds_or_as_a_date_when_to_come_again(
    header: str | None, date: str | None, pause: float | None
) -> None:
    assert asked_pause(header, date) == pause


@given(st.text(max_size=40) | st.floats().map(str), st.none() | st.text(max_size=40))
def test_no_pause_that_is_asked_for_is_negative_or_endless(header: str, date: str | None) -> None:
    pause = asked_pause(header, date)
    assert pause is None or 0 <= pause < math.inf


@given(
    st.lists(st.none() | st.floats(0, 1e9), min_size=1, max_size=12),
    st.lists(st.floats(0, 1), min_size=12, max_size=12),
)
def test_pauses_are_as_long_as_asked_for_and_never_longer_than_a_minute(
    pauses: list[float | None], draws: list[float]
) -> None:
    slept: list[float] = []
    left, chance = iter(pauses), iter(draws)
    clock = Clock(now=lambda: 0.0, sleep=slept.append, draw=lambda: next(chance))

    def question() -> str:
        for pause in left:
            raise Fault("busy", pause=pause)
        return "answer"

    assert Patience(attempts=13, rate=None, clock=clock).ask(question, "x") == "answer"
    assert len(slept) == len(pauses)
    for attempt, (seconds, pause) in enumerate(zip(slept, pauses, strict=True)):
        longest = min(60.0, 0.5 * 2**attempt)
        assert min(60.0, max(longest / 2, pause or 0.0)) <= seconds <= min(60.0, max(longest, pause or 0.0))


def test_the_rate_holds_for_all_attempts_together(clock: FakeClock) -> None:
    began = clock.time
    faults = only(PREFIX, "500", "500")
    with (
        FaultyServer([TEXT], plan=faults) as server,
        Completions(url=server.url, model="parrot", rate=4, clock=clock.clock) as backend,
    ):
        backend.go_on([QUESTION] * 20, [None] * 20)
        # Each waits for its turn but the first; the two pauses after the faults are longer than that.
        assert clock.time - began >= (len(server.asked) - 1) / 4
        turns = [seconds for seconds in clock.slept if seconds not in (0.375, 0.75)]
    assert turns == pytest.approx([0.25] * (len(server.asked) - 3))


def test_the_rate_is_that_of_all_threads_together() -> None:
    with (
        FaultyServer([TEXT]) as server,
        Completions(url=server.url, rate=100) as backend,
        ThreadPoolExecutor(8) as threads,
    ):
        began = time.monotonic()
        list(threads.map(lambda _: backend.go_on([QUESTION], [None]), range(41)))
        assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"]
)
def test_a_request_has_one_time_limit_however_often_a_byte_comes(start: bytes) -> None:
    with dripping(start) as (url, _):
        line = Wire(Address.of(url), key=None, timeout=0.3)
        began = time.monotonic()
        with pytest.raises(Fault, match=r"no whole answer within 0\.3 s"):
            line.get("models")
        assert time.monotonic() - began < 5  # and not the 20 that it would take
        line.close()


def wires() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "memaudit-wire"]


def test_nothing_is_left_open() -> None:
    before = wires()
    with FaultyServer([TEXT]) as server:
        with Completions(url=server.url) as backend:
            backend.go_on([QUESTION], [None])
            assert len(wires()) == len(before) + 1
        backend.close()  # twice is once
        assert wires() == before
        with pytest.raises(BadInput) as caught:
            Completions(url=server.url, model="missing")
        assert wires() == before  # though the error, and all that it saw, is still there
        assert caught.value
        forgotten = Completions(url=server.url)
        del forgotten
        assert wires() == before


def test_a_request_that_is_under_way_is_given_up_when_its_line_is_closed() -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nX-A: ") as (url, begun):
        line = Wire(Address.of(url), key=None, timeout=30)
        errors: list[BaseException] = []

        def ask() -> None:
            try:
                line.get("models")
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        assert begun.wait(20)
        line.close()
        thread.join(5)
        assert not thread.is_alive()
        assert [type(error).__name__ for error in errors] == ["CancelledError"]


def test_prompts_arrive_as_they_are() -> None:
    prefix = "s = 'é\u2028\x00\U0001f600\\'\r\n\t"
    with FaultyServer([prefix + "x"]) as server, Completions(url=server.url) as backend:
        backend.go_on([Question(prefix=prefix, target="x")], [None])
        assert server.asked[-1]["prompt"] == prefix
        assert json.dumps(server.asked[-1])
