"""Probes put to a server that fails: `python -m benchmarks.faults [--probes 1000] [--share 0.3] [--seed 0] [--json]`.

The server drops connections, stalls, is busy or unwell, and sends what is no answer. Each probe is scored and completed
through `memaudit.backends.http`, several at a time, and has to be answered once, and rightly. No request meets more
than four faults in a row, so that six attempts are enough. The pauses between attempts are a fiftieth of what they are
elsewhere; time limits are real.

The exit code is 1 if a probe was lost or was answered wrongly or twice.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from benchmarks.faulty_server import KINDS, FaultyServer, seeded
from memaudit.backends.http import Completions
from memaudit.backends.patience import Clock
from memaudit.backends.protocol import Question, Said
from memaudit.errors import BadInput
from memaudit.records import Scores

_SHORTER = 50  # times, for the pauses between attempts


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the probes."""

    injected: dict[str, int]
    """Kind of fault -> how many requests met it."""
    requests: int
    probes: int
    answered: int
    """Rightly, by log-probabilities and completion."""
    wrong: int
    lost: int
    """Given up after the last attempt."""
    twice: int
    """Probes of which the server sent the whole completion more than once."""
    seconds: float

    @property
    def good(self) -> bool:
        """Whether each probe was answered rightly and once."""
        return self.answered == self.probes and not (self.wrong or self.lost or self.twice)


def questions(count: int) -> list[Question]:
    """So many probes, each of its own; the server knows the texts of every other one by heart."""
    return [
        Question(prefix=f"def number_{i}(x):\n    return", target=f" x + {i} if x else offset_{i}(x)\n")
        for i in range(count)
    ]


def ask(probes: int, share: float, seed: int, *, parallel: int = 8, timeout: float = 2.0) -> Outcome:
    """Put so many probes to a server that fails at such a share of the requests. `timeout` in seconds."""
    asked = questions(probes)
    known = [q.prefix + q.target for q in asked[::2]]
    clock = Clock(sleep=lambda seconds: time.sleep(seconds / _SHORTER))
    with (
        FaultyServer(known, plan=seeded(share, seed)) as server,
        Completions(url=server.url, parallel=parallel, timeout=timeout, clock=clock) as backend,
        ThreadPoolExecutor(backend.parallel) as threads,
    ):
        began = time.monotonic()

        def put(question: Question) -> tuple[Scores | None, Said] | None:
            try:
                [scores] = backend.score([question])
                [said] = backend.go_on([question], [scores])
            except BadInput:
                return None
            return scores, said

        answers = list(threads.map(put, asked))
        seconds = time.monotonic() - began
        lost = sum(answer is None for answer in answers)
        right = sum(
            answer is not None and _right(question, *answer, known=place % 2 == 0)
            for place, (question, answer) in enumerate(zip(asked, answers, strict=True))
        )
        return Outcome(
            injected={kind: server.injected[kind] for kind in KINDS},
            requests=len(server.asked),
            probes=probes,
            answered=right,
            wrong=probes - right - lost,
            lost=lost,
            twice=sum(server.answered[question.prefix] > 1 for question in asked),
            seconds=seconds,
        )


def _right(question: Question, scores: Scores | None, said: Said, *, known: bool) -> bool:
    """Both have to say that what is known by heart is, and that the rest is not."""
    verbatim = said.text.startswith(question.target)
    return scores is not None and all(scores.argmax) == known == verbatim


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was injected and what came of it; 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--probes", type=int, default=1000, help="(default %(default)s)")
    parser.add_argument(
        "--share", type=float, default=0.3, help="of requests that fail (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the faults (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    asked = parser.parse_args(arguments)
    if asked.probes < 1 or not 0 <= asked.share <= 1:
        parser.error(
            f"expected a probe at least and a share from 0 to 1, got {asked.probes} and {asked.share}"
        )
    outcome = ask(asked.probes, asked.share, asked.seed)
    if asked.json:
        print(json.dumps(asdict(outcome) | {"good": outcome.good}, indent=1))
    else:
        print(f"{'fault':<36} {'injected':>8}")
        for kind, count in outcome.injected.items():
            print(f"{kind:<36} {count:>8}")
        print(f"{'in all':<36} {sum(outcome.injected.values()):>8} of {outcome.requests} requests\n")
        print(
            f"probes {outcome.probes}, answered {outcome.answered}, wrong {outcome.wrong}, lost {outcome.lost}, ",
            end="",
        )
        print(f"answered twice {outcome.twice}; {outcome.seconds:.1f} s")
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
