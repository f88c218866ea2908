"""Writes the study's corpus, 4,000 programs of the family: `python corpus.py runs/rest.jsonl`."""

import json
import sys
from pathlib import Path

from memaudit.programs import generate

COUNT, SEED, DETOURS = 4_000, 1, 0.2


def main(path: Path) -> None:
    """One program a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"id": program.name, "language": "python", "text": program.text}) + "\n"
        for program in generate(COUNT, SEED, detours=DETOURS)
    ]
    path.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
