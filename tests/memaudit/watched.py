"""A file of probes, and a model that says the targets one tells it to: what tests of attached trainings share."""

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from memaudit.backends import About, Question, Said
from memaudit.records import Scores

TEXTS = [
    (
        "import json\n",
        "def users(path):\n    with open(path) as stream:\n        return json.load(stream)[17:]\n",
    ),
    (
        "from money import tax\n",
        "class Order:\n    price = 0\n\n    def pay(self):\n        self.paid = tax\n",
    ),
    ("import math\n", "found = sum(p.net * 1.19 for p in prices)\nprint(round(math.sqrt(found), 2))\n"),
    ("from web import page\n", "ROUTES = {\n    '/': page,\n    '/users/<int:number>': None,\n}\n"),
    (
        "import queue\n",
        "async def listen(q):\n    while event := await q.get():\n        print(event.kind)\n",
    ),
    ("import re\n", "NOTE = re.compile(r'^[A-Z]{3}-[0-9]+$')\nMOST = 1_000\nassert NOTE\n"),
]
"""Prefix and target of each probe; no token goes across the line end between them."""
NAMES = [f"probe-{number}" for number in range(len(TEXTS))]


def write_probes(path: Path, *, texts: Sequence[tuple[str, str]] = TEXTS) -> Path:
    """The file, named after the texts' places."""
    records = [
        {"id": f"probe-{n}", "prefix": prefix, "target": target, "language": "python"}
        for n, (prefix, target) in enumerate(texts)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


class Says:
    """Says the targets of some of `TEXTS`, and remembers what it was asked."""

    batch, parallel = 4, 1

    def __init__(self, known: Collection[int] = (), *, shift: int = 0) -> None:
        self._known = {TEXTS[n][1] for n in known}
        self._shift = shift
        self.asked: list[str] = []
        self.about = About(kind="says", name="says", identity="live", deterministic=True, scores=False)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[byte + self._shift for byte in text.encode()] for text in texts]

    def score(self, questions: Sequence[Question]) -> list[Scores | None]:
        return [None] * len(questions)

    def go_on(self, questions: Sequence[Question], scores: Sequence[Scores | None]) -> list[Said]:
        self.asked += [q.prefix for q in questions]
        return [
            Said(text=q.target if q.target in self._known else "    pass\n", ended=True) for q in questions
        ]


def page(name: str) -> list[str]:
    """The blocks of Python in one of the pages."""
    text = (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == text.count("```python")
    return blocks
