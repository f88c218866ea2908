"""A question, ways to fail at it, and a clock: what tests of the HTTP backend share."""

import threading
from typing import Any

from benchmarks.faulty_server import FaultyServer
from memaudit.backends.patience import Clock
from memaudit.backends.protocol import Question

PREFIX, TARGET = "def area(x):\n", "    return x * 3.14159 # about\n"
TEXT = PREFIX + TARGET
QUESTION = Question(prefix=PREFIX, target=TARGET)
KEY = "sk-Secret/0+9=="


class FakeClock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.time = 100.0
        self.slept: list[float] = []
        self._lock = threading.Lock()
        self.clock = Clock(now=lambda: self.time, sleep=self.sleep, draw=lambda: 0.5)

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.time += seconds


def only(prompt: str, *faults: str | None) -> Any:
    """A plan: these faults one after the other at this prompt, and none elsewhere."""
    return lambda asked, before: faults[before] if asked == prompt and before < len(faults) else None


def always(fault: str, prompt: str = PREFIX) -> Any:
    return lambda asked, before: fault if asked == prompt else None


def asked_of(server: FaultyServer, prompt: str = PREFIX) -> list[dict[str, Any]]:
    return [body for body in server.asked if body["prompt"] == prompt and not body.get("echo")]


def with_choice(answer: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return answer | {"choices": [answer["choices"][0] | fields]}
