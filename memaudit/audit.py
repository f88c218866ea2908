"""An audit of a finished model: every probe put to it, and to a control if there is one; a ledger like a run's.

Answers are kept as they come, so that an audit that was stopped goes on with the probes that are open. Probes are
read, asked and counted a batch at a time: their number costs time and not memory.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import groupby, islice
from pathlib import Path
from time import monotonic
from typing import Any

from memaudit.backends import Backend, Question, budget
from memaudit.backends.jax import Jax
from memaudit.errors import BadInput
from memaudit.extraction import observed
from memaudit.ledger import LEDGER, Ledger
from memaudit.lines import Span
from memaudit.probefile import GivenProbe, read_probes
from memaudit.progress import Progress, watched
from memaudit.records import Example, Observation, Probe, StageRecord
from memaudit.sample import drawn, rank
from memaudit.versions import versions
from probes import Secret
from rlhf.generate import bucket

MODEL, CONTROL = "model", "control"
"""Names of the two in a ledger, where a run has its twins."""
STAGE = "given"
"""The one stage of an audit of a finished model."""
_TOKENISED = 256  # probes that are tokenised together
_POOLED = 16  # batches that our own decoder is given in one call: it fills the places of rows that finish
_FULL = 256  # tokens of prompt and target up to which a batch has as many rows as it may


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a model is asked, and by which rule its answers are judged."""

    levels: tuple[str, ...]
    """At which completions are compared."""
    threshold: float = 0.1
    """Normalised distance up to which a completion counts as a near copy."""
    full: bool = False
    """Decode every completion to its end and score every token of the targets; else only until verdicts are closed."""
    twice: float = 0.1
    """Share of the probes that are asked once more, in another order and batch size: what differs is noise."""

    @property
    def closing(self) -> float | None:
        """The distance at which a verdict is closed; None: never before the end."""
        return None if self.full else self.threshold


def audit(
    path: str, model: Backend, control: Backend | None, folder: Path, terms: Terms, progress: Progress
) -> Ledger:
    """Put the probes of a file to a model and its control, or go on with the audit that is in `folder`.

    Returns the ledger, open. Raises BadInput, with nothing written, if the folder holds anything else.
    """
    asked = {MODEL: model} | ({CONTROL: control} if control is not None else {})
    started = {
        "probes": digest(Path(path)),
        "models": {name: asdict(backend.about) for name, backend in asked.items()},
        "terms": asdict(terms),
    }
    ledger = _open(folder, started)
    try:
        if not ledger.count("probes"):
            progress.say(f"reading the probes of {path}")
            populate(ledger, path, model, {**started, "threshold": terms.threshold, "versions": versions()})
        for position, (name, backend) in enumerate(asked.items()):
            ledger.enter(
                StageRecord(id=name, name=STAGE, method="given", steps=0, seconds=0.0, audit_seconds=0.0),
                name,
                position,
            )
            checkpoint = ledger.answers.checkpoint(name, 0)
            for asking, title in enumerate((name, f"{name}, once more")[: 1 + bool(terms.twice)]):
                ask(
                    backend,
                    ledger,
                    checkpoint,
                    terms,
                    progress,
                    title=title,
                    asking=asking,
                    anew=name == CONTROL,
                )
    except BaseException:
        ledger.close()
        raise
    # What could not be known of some questions came out only as they were asked.
    ledger.settle({"models": {name: asdict(backend.about) for name, backend in asked.items()}})
    return ledger


def digest(path: Path) -> str:
    """SHA-256 of a file. Raises BadInput where it cannot be read."""
    found = sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                found.update(block)
    except OSError as error:
        raise BadInput(f"{path}: expected to read it, got: {error.strerror}") from None
    return found.hexdigest()


def _open(folder: Path, started: Mapping) -> Ledger:
    path = folder / LEDGER
    if folder.exists() and not path.is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(
            f"{folder}: expected a new or empty directory or one that holds an audit, got other files: set --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(path)
    if not ledger.count("probes"):
        return ledger
    for name in started:
        try:
            found = _compared(ledger.setting(name))
        except KeyError:
            found = None
        if found != _compared(json.loads(json.dumps(started[name]))):
            ledger.close()
            raise BadInput(
                f"{folder}: expected no audit or one of the same {name}, got one of other {name}: set --out to another "
                "directory"
            )
    return ledger


def _compared(value: Any) -> Any:
    """What of a setting says that two audits are the same: of a model who it is, not what was learnt of it."""
    if not isinstance(value, dict):
        return value
    kept = ("kind", "name", "identity") if "identity" in value else tuple(value)
    return {key: _compared(value[key]) for key in kept}


def populate(ledger: Ledger, path: str, backend: Backend, settings: Mapping) -> None:
    """Write the probes of a file into a ledger, each as an example of its own."""
    # Twice through the file: a probe can be written only after its example.
    ledger.add_examples(
        (_example(given) for given in read_probes(path)),
        _tokenised(read_probes(path), backend),
        settings,
    )


def _example(given: GivenProbe) -> Example:
    start = len(given.prefix)
    return Example(
        id=given.id,
        kind="given",
        language=given.language,
        text=given.prefix + given.target + (given.suffix or ""),
        source=given.file,
        first_line=given.first_line,
        last_line=given.last_line,
        secrets=tuple(_moved(span, start) for span in given.secrets),
    )


def _moved(span: Span, by: int) -> Secret:
    return Secret(start=span.start + by, end=span.end + by, kind=span.kind)


def _tokenised(probes: Iterator[GivenProbe], backend: Backend) -> Iterator[Probe]:
    number = 0
    while some := list(islice(probes, _TOKENISED)):
        made = [
            Probe(
                id=number + place,
                example_id=probe.id,
                kind=probe.kind,
                prefix=probe.prefix,
                target=probe.target,
                prefix_tokens=(),
                target_tokens=(),
                prompt=_prompt(probe, backend),
            )
            for place, probe in enumerate(some, start=1)
        ]
        yield from _with_tokens(made, [probe.suffix for probe in some], backend)
        number += len(some)


def _prompt(probe: GivenProbe, backend: Backend) -> str | None:
    """What the model is given in place of the prefix, if it is to fill in and cannot be given marks as tokens."""
    if probe.suffix is None or isinstance(backend, Jax):
        return None
    if probe.prompt is None:
        raise BadInput(
            f"probe {probe.id}: expected a `prompt` beside its suffix, got none: set --fim FORMAT for "
            "`memaudit probes build`, so that it is written in the marks of the model"
        )
    return probe.prompt


def _with_tokens(
    probes: Sequence[Probe], suffixes: Sequence[str | None], backend: Backend
) -> Iterator[Probe]:
    """The probes in a model's own tokens."""
    prompts = backend.encode([p.prompt or p.prefix for p in probes])
    targets = backend.encode([p.target for p in probes])
    for probe, suffix, prompt, target in zip(probes, suffixes, prompts, targets, strict=True):
        if isinstance(backend, Jax) and suffix is not None:
            prompt = backend.infill_tokens(probe.prefix, suffix)
        yield replace(probe, prefix_tokens=tuple(prompt), target_tokens=tuple(target))


@dataclass(frozen=True)
class _Batch:
    """Probes of one shape that are put to a backend in one call."""

    ids: tuple[int, ...]
    rows: int
    """That are asked at once."""


def ask(
    backend: Backend,
    ledger: Ledger,
    checkpoint: int,
    terms: Terms,
    progress: Progress,
    *,
    title: str,
    asking: int = 0,
    chosen: Sequence[int] | None = None,
    anew: bool = False,
) -> None:
    """Put the probes (all, or those with the `chosen` ids) to a model, but those that it has answered already.

    The ledger has one model's tokens; with `anew` they are made again, as for a control with another tokenizer.
    """
    wanted = None if chosen is None else set(chosen)
    sizes = [size for size in ledger.sizes() if wanted is None or size[0] in wanted]
    if asking:
        sizes = sorted((s for s in sizes if drawn(s[0], terms.twice)), key=lambda s: rank(s[0]))
    done = ledger.answers.asked(checkpoint, asking=asking)
    batches = list(_batches([s for s in sizes if s[0] not in done], backend, halved=bool(asking)))
    with watched(progress, title, len(sizes)):
        if done:
            progress.skip(len(sizes) - sum(len(b.ids) for b in batches))
        began = monotonic()
        for observations in _answers(backend, ledger, batches, terms, anew):
            ledger.answers.add(checkpoint, observations, asking=asking, seconds=monotonic() - began)
            progress.advance(len(observations))
            began = monotonic()


def _batches(sizes: Sequence[tuple[int, int, int]], backend: Backend, *, halved: bool) -> Iterator[_Batch]:
    """Probes of one width of prompt and one budget together, as many as a batch may have; long ones are fewer."""

    def shape(size: tuple[int, int, int]) -> tuple[int, int]:
        return (bucket(1 + size[1]), budget(size[2])) if size[2] else (0, 0)

    most = -(-backend.batch // 2) if halved else backend.batch
    for (context, more), group in groupby(sorted(sizes, key=shape), key=shape):
        rows = max(1, min(most, most * _FULL // max(1, context + more)))
        ids = [size[0] for size in group]
        count = rows * _POOLED if isinstance(backend, Jax) else rows
        for start in range(0, len(ids), count):
            yield _Batch(tuple(ids[start : start + count]), rows)


def _answers(
    backend: Backend, ledger: Ledger, batches: Sequence[_Batch], terms: Terms, anew: bool
) -> Iterator[list[Observation]]:
    """Ask batch after batch, or several at once where the backend can. What was heard comes before a fault does."""
    if isinstance(backend, Jax):
        for batch in batches:
            probes, examples = _read(ledger, batch, backend if anew else None)
            said = backend.observe(probes, examples, terms.levels, closing=terms.closing, batch=batch.rows)
            while some := list(islice(said, batch.rows)):
                yield some
        return
    if backend.parallel == 1:
        for batch in batches:
            yield observe(backend, *_read(ledger, batch, backend if anew else None), terms)
        return
    waiting = iter(batches)
    with ThreadPoolExecutor(backend.parallel) as pool:
        open_calls: set[Future[list[Observation]]] = set()
        fault: BaseException | None = None
        while True:
            while fault is None and len(open_calls) < backend.parallel and (batch := next(waiting, None)):
                read = _read(ledger, batch, backend if anew else None)
                open_calls.add(pool.submit(observe, backend, *read, terms))
            if not open_calls:
                break
            done, open_calls = wait(open_calls, return_when=FIRST_COMPLETED)
            for call in done:
                if (error := call.exception()) is None:
                    yield call.result()
                else:
                    fault = fault or error
        if fault is not None:
            raise fault


def _read(ledger: Ledger, batch: _Batch, encoder: Backend | None) -> tuple[list[Probe], dict[str, Example]]:
    by_id = {p.id: p for p in ledger.probes(batch.ids)}
    probes = [by_id[number] for number in batch.ids]
    examples = ledger.examples_of(probes)
    if encoder is not None:
        behind = [examples[p.example_id].text[len(p.prefix) + len(p.target) :] or None for p in probes]
        probes = list(_with_tokens(probes, behind, encoder))
    return probes, examples


def observe(
    backend: Backend, probes: Sequence[Probe], examples: Mapping[str, Example], terms: Terms
) -> list[Observation]:
    """Ask by the protocol alone: score where that is wanted or spares work, then decode."""
    questions = [
        Question(
            prefix=p.prompt or p.prefix,
            target=p.target,
            prefix_tokens=p.prefix_tokens,
            target_tokens=p.target_tokens,
        )
        for p in probes
    ]
    scored = backend.about.scores and (terms.full or backend.about.spares)
    scores = backend.score(questions) if scored else [None] * len(questions)
    said = backend.go_on(questions, scores)
    return [
        observed(
            probe,
            examples[probe.example_id],
            terms.levels,
            answer.text,
            ended=answer.ended,
            scores=score if terms.full else None,
        )
        for probe, answer, score in zip(probes, said, scores, strict=True)
    ]
