"""Trying again: how often a question is put to a server, how long is waited between, and how many in a second."""

import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

from memaudit.errors import BadInput

_T = TypeVar("_T")

_FIRST = 0.5  # seconds before the second attempt
_LONGEST = 60.0  # seconds that are waited at most, whatever a server asks for


class Fault(Exception):
    """What may be better next time. Its text is fit to be printed.

    Attributes:
        pause: Seconds for which the server asked to be left alone; None where it did not.
        status: What it answered; None where it did not answer.
    """

    def __init__(self, text: str, *, pause: float | None = None, status: int | None = None) -> None:
        super().__init__(text)
        self.pause = pause
        self.status = status


class Unanswered(BadInput):
    """The last attempt failed as well.

    Attributes:
        fault: What was the matter with it.
    """

    def __init__(self, text: str, fault: Fault) -> None:
        super().__init__(text)
        self.fault = fault


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Where time and chance come from.

    Attributes:
        now: Seconds from some moment on; never goes back.
        sleep: Waits for so many seconds.
        draw: A number from 0 to 1, another one each time.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random


class Patience:
    """Puts a question until it is answered. Threads may share one: the rate is that of all of them.

    Our own and no library's, because what decides is the server's word and the rate, and what is left is a loop.
    """

    def __init__(self, *, attempts: int, rate: float | None, clock: Clock) -> None:
        """`attempts` at each question, the first one counted; `rate`: attempts in a second, None for any number."""
        self._attempts = attempts
        self._gap = 0.0 if rate is None else 1 / rate
        self._clock = clock
        self._next = -math.inf
        self._lock = threading.Lock()

    def ask(self, question: Callable[[], _T], what: str) -> _T:
        """What `question` returns, as soon as it raises no Fault. `what` names it to the reader of an error.

        Raises:
            Unanswered: Each attempt ended in a Fault.
        """
        attempt = 1
        while True:
            self._wait_for_turn()
            try:
                return question()
            except Fault as fault:
                if attempt == self._attempts:
                    raise Unanswered(
                        f"{what}: expected an answer, got none in {attempt} attempt{'s' * (attempt > 1)}, "
                        f"and at last: {fault}; nothing is lost, start again when the server is well, "
                        "or set `attempts`, `timeout` or `rate`",
                        fault,
                    ) from None
                self._clock.sleep(self._pause(attempt, fault))
                attempt += 1

    def _pause(self, attempt: int, fault: Fault) -> float:
        """Twice as long after each attempt, less up to a half at random so that threads do not come back as one."""
        own = min(_LONGEST, _FIRST * 2.0 ** min(attempt - 1, 30)) * (1 - self._clock.draw() / 2)
        return min(_LONGEST, max(own, fault.pause or 0.0))

    def _wait_for_turn(self) -> None:
        if not self._gap:
            return
        with self._lock:
            now = self._clock.now()
            turn = max(now, self._next)
            self._next = turn + self._gap
        if turn > now:
            self._clock.sleep(turn - now)


def asked_pause(retry_after: str | None, date: str | None) -> float | None:
    """Seconds that a `Retry-After` asks for, which is a number or a date; None where it is missing or neither.

    A date is compared with the server's own `Date`, where there is one, because clocks differ.
    """
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        until = _moment(retry_after)
        if until is None:
            return None
        now = _moment(date)
        seconds = until - (time.time() if now is None else now)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _moment(date: str | None) -> float | None:
    """Seconds since 1970 of a date as HTTP writes it (RFC 9110, 5.6.7)."""
    try:
        return None if date is None else parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
