"""An audit of a model that is none: it says the targets that it is told to, by their number."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tiny import Quiet

from memaudit.audit import Terms, audit
from memaudit.backends import About, Question
from memaudit.backends import Said as Answered


class Parrot:
    """Says the targets whose number, in `f_NUMBER` of their prefix, it is given."""

    batch, parallel = 4, 1

    def __init__(self, name: str, *says: int) -> None:
        self.about = About(kind="parrot", name=name, identity=name, deterministic=True, scores=False)
        self.says = says

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        return [[] for _ in texts]

    def score(self, questions: Iterable[Question]) -> list[None]:
        raise AssertionError("offers no scores")

    def go_on(self, questions: Iterable[Question], scores: Iterable[object]) -> list[Answered]:
        return [Answered(text=q.target if _number(q) in self.says else "", ended=True) for q in questions]


def _number(question: Question) -> int:
    found = re.search(r"f_(\d+)", question.prefix)
    assert found
    return int(found[1])


def asked(
    folder: Path,
    name: str,
    model: Iterable[int],
    control: Iterable[int] | None,
    *,
    secrets: Sequence[int],
    count: int,
    **terms: float,
) -> Path:
    """The directory of an audit of `count` probes; `secrets` are the numbers of those that have one."""
    path = folder / "probes.jsonl"
    lines = [
        {
            "id": f"p{n}",
            "prefix": f"def f_{n}(a):\n",
            "target": f"    return a * {n * 1111 + 7777}\n",
            "language": "python",
            "secrets": [[15, 18]] if n in secrets else [],
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    beside = None if control is None else Parrot(f"{name}-base", *control)
    settings = Terms(levels=("exact", "code"), **terms)  # pyright: ignore[reportArgumentType]
    audit(str(path), Parrot(name, *model), beside, folder / name, settings, Quiet()).close()
    return folder / name
