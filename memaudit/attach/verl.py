"""Trainings by verl: the files of rollouts that it dumps, and a score function that hears what it scores.

`trainer.rollout_data_dir` makes verl write, after each step, a file `STEP.jsonl` with one object for each rollout:
`input` and `output` as decoded without special tokens, `score`, `gts`, `step` and whatever the reward told more. verl
itself is not needed here.
"""

import functools
import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from memaudit.attach.rollouts import JOURNALS, Rollouts
from memaudit.attach.summary import Summary, summarise
from memaudit.errors import BadInput
from memaudit.lines import lines, type_of
from memaudit.sources import printable
from probes import VERDICT_LEVELS

TAIL = 80
"""Characters that chat templates put behind a prompt, at most."""


def read_rollouts(
    folder: str | Path,
    *,
    probes: str | Path,
    out: str | Path,
    levels: Sequence[str] = VERDICT_LEVELS,
    threshold: float = 0.1,
    anywhere: bool = False,
) -> Summary:
    """Compare the rollouts that verl dumped into a folder with the targets of the probes that they answer.

    One journal is written in `out` for the folder, and the summary of all journals there. The folder may be read again
    when it has grown. Raises BadInput where it holds no such files or a line of one is at fault, with nothing written.
    """
    folder = Path(folder)
    hearer = Rollouts(probes=probes, out=out, levels=levels, tail=TAIL, anywhere=anywhere)
    numbered = sorted((int(path.stem), path) for path in folder.glob("*.jsonl") if path.stem.isdecimal())
    if not numbered:
        raise BadInput(
            f"{printable(str(folder))}: expected files STEP.jsonl, which verl writes into trainer.rollout_data_dir, "
            "got none: set it and train"
        )
    name = sha256(str(folder.resolve()).encode("utf-8", errors="surrogateescape")).hexdigest()[:12]
    journal = Path(out) / JOURNALS / f"verl-{name}.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    part = journal.with_name(f"{journal.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="ascii", newline="\n") as stream:
            for step, path in numbered:
                texts = list(_rollouts(path))
                inputs, outputs = [text for text, _ in texts], [text for _, text in texts]
                stream.write(json.dumps(hearer.heard(inputs, outputs, step=step)) + "\n")
        part.replace(journal)
    finally:
        part.unlink(missing_ok=True)
    return summarise(out, threshold=threshold)


def _rollouts(path: Path) -> Iterator[tuple[str, str]]:
    """Prompt and answer of each line of a file."""
    for number, line in lines(str(path)):
        place = f"{printable(str(path))}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise BadInput(
                f"{place}: expected a JSON object, got text that does not parse: wait until verl has written it, or "
                "remove the line"
            ) from None
        if not isinstance(record, dict):
            raise BadInput(f"{place}: expected a JSON object, got {type_of(record)}: remove the line")
        for key in ("input", "output"):
            if not isinstance(record.get(key), str):
                raise BadInput(
                    f'{place}: expected "{key}" to be a string, got {type_of(record.get(key))}: remove the line'
                )
        yield record["input"], record["output"]


def wrap_score(
    score: Callable[..., Any] | None, rollouts: Rollouts, *, key: str = "probe"
) -> Callable[..., Any]:
    """A score function ``(data_source, solution_str, ground_truth, extra_info) -> score``, which hears what it scores.

    It returns what `score` returns, or 0.0 where that is None. verl does not tell it the prompt: a rollout answers the
    probe whose id stands in `extra_info` under `key`, and `Rollouts(anywhere=True)` looks for targets in all of them. A
    coroutine function stays one. For reward managers that score one rollout at a time, as `naive` does.
    """

    def hear(told: Mapping[str, Any]) -> None:
        name = (told.get("extra_info") or {}).get(key)
        rollouts.hear([None], [told["solution_str"]], ids=[None if name is None else str(name)])

    def memaudit(
        data_source: str,
        solution_str: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> float:
        hear({"solution_str": solution_str, "extra_info": extra_info})
        return 0.0

    if score is None:
        return memaudit
    if inspect.iscoroutinefunction(score):

        async def heard_later(**told: Any) -> Any:
            given = await score(**told)
            hear(told)
            return given

        return functools.wraps(score)(heard_later)

    def heard(**told: Any) -> Any:
        given = score(**told)
        hear(told)
        return given

    return functools.wraps(score)(heard)
