"""A ledger that one pages through: every example of it, found, sorted and shown a page at a time. Nothing is written.

What a question finds is one list of numbers, made by one statement and kept for the pages that follow. A page then
reads the rows it shows. A million observations need no other index than the ledger has; `benchmarks.browsing` says
what that takes.
"""

import sqlite3
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from memaudit.answers import Answers
from memaudit.audit import MODEL
from memaudit.documents import DOCUMENTS
from memaudit.errors import BadInput
from memaudit.leaks import masking, pseudonyms, secret_state, side_by_side
from memaudit.ledger import LEDGER, SCHEMA_VERSION, Ledger
from memaudit.looks import Look, of_a_model, of_twins
from memaudit.questions import number, one_of, question, values_of
from memaudit.recipe import parse
from memaudit.records import Example, Probe
from memaudit.search import NORMALIZED, OUT, WHOLE, statement
from memaudit.sources import printable
from reports import Arm, Redactor, Shown
from reports.catalogue import Answer, Choices, Heard, Life, Listing, Moment, Pair, Row, Subject

ROWS = 50
"""Examples on a page."""
_KEPT = 16  # lists that are kept


@dataclass(frozen=True, kw_only=True)
class _About:
    """What a ledger is about, as it is now."""

    subject: Subject
    levels: tuple[str, ...]
    looks: tuple[Look, ...]

    @property
    def made(self) -> tuple[Look, ...]:
        """The looks at the ends of stages."""
        return tuple(look for look in self.looks if look.final)


_Heard = Mapping[tuple[int, int | None], Mapping[str, Heard]]
"""(probe, checkpoint) -> level -> how it answered."""


class _Unwritten(Ledger):
    """A ledger that is opened for reading alone: a run that still writes it is not disturbed."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        self.answers = Answers(self._db, self._transaction)

    def __enter__(self) -> "_Unwritten":
        return self

    def rows(self, text: str, values: Sequence[Any] = ()) -> list[tuple]:
        """What a statement finds."""
        return self._db.execute(text, values).fetchall()


class Catalogue:
    """The examples of a run or an audit. Several threads may use it: each call opens the ledger for itself."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput where there is no ledger in the folder, or one with nothing to show."""
        self.folder, self._path = folder, folder / LEDGER
        if not self._path.is_file():
            raise BadInput(
                f"expected the directory of a run or an audit, with a {LEDGER} in it, got {printable(str(folder))}: "
                "`memaudit run` and `memaudit audit` print where they lie"
            )
        _check(self._path)
        self._found = lru_cache(maxsize=_KEPT)(self._find)

    @property
    def report(self) -> Path:
        """Where the report lies, if there is one."""
        return self.folder / DOCUMENTS["html"]

    def listing(self, query: str) -> Listing:
        """The page of the list that a query string asks for. Raises BadInput where it names what there is not."""
        with _Unwritten(self._path) as ledger:
            about = self._about(ledger)
            choices = _choices(ledger, about)
            asked = question(query, choices)
            # What was found is found again, unless more has been said since.
            said = ledger.rows("SELECT COALESCE(MAX(id), 0) FROM observations")[0][0]
            found = self._found(*statement(asked, about.made, about.subject.threshold), said)
            pages = max(1, -(-len(found) // ROWS))
            if not 1 <= asked.page <= pages:
                raise BadInput(f"page: expected a number from 1 to {pages}, got {asked.page}")
            first = (asked.page - 1) * ROWS
            return Listing(
                subject=about.subject,
                choices=choices,
                question=asked,
                total=ledger.count("probes"),
                found=len(found),
                first=first + 1,
                pages=pages,
                rows=_rows(ledger, about, asked.level, found[first : first + ROWS]),
            )

    def life(self, query: str) -> Life:
        """The page of the example that a query string names, and what it asks of it. Raises BadInput."""
        given = values_of(query, ("id", "level", "stage", "step", "arm"))
        with _Unwritten(self._path) as ledger:
            about = self._about(ledger)
            level = one_of("level", given.get("level", about.levels[0]), about.levels)
            name = given.get("id", "")
            rows = ledger.rows("SELECT id FROM probes WHERE example_id = ?", (name,))
            if not rows:
                raise BadInput(f"id: expected that of an example that was asked for, got {name!r}")
            (probe,) = ledger.probes([rows[0][0]])
            example = ledger.examples_of([probe])[name]
            heard = _heard(ledger, [probe.id], None, about.subject.threshold)
            looks = [k for k in about.looks if any((probe.id, c) in heard for c in k.side(example.half))]
            chosen = _chosen(given, level, looks, probe, example, heard)
            return Life(
                subject=about.subject,
                id=example.id,
                kind=example.kind,
                language=example.language,
                source=example.source,
                first_line=example.first_line,
                last_line=example.last_line,
                cohort=example.cohort,
                half=example.half,
                times=example.repetition,
                secrets=pseudonyms(example, self._everyone.numbers),
                shown=_shown(ledger, example),
                levels=list(about.levels),
                level=level,
                moments=[_moment(k, about, level, probe, example, heard) for k in looks],
                answer=self._answer(ledger, *chosen, probe, example) if chosen else None,
            )

    @cached_property
    def _everyone(self) -> Redactor:
        # Examples are drawn before anything is asked, so their secrets stay the same.
        with _Unwritten(self._path) as ledger:
            return masking(ledger)

    def _find(self, text: str, values: tuple[Any, ...], said: int) -> Sequence[int]:
        """The numbers of all probes that a statement finds, in its order, in a ledger in which so much is said."""
        del said
        with _Unwritten(self._path) as ledger:
            return array("q", (row[0] for row in ledger.rows(text, values)))

    def _about(self, ledger: Ledger) -> _About:
        run = ledger.has("recipe")
        if run:
            recipe = parse(ledger.setting("recipe"), where=printable(str(self._path)))
            name, threshold, levels = recipe.name, recipe.audit.threshold, recipe.audit.levels
        else:
            terms, models = ledger.setting("terms"), ledger.setting("models")
            name, threshold, levels = models[MODEL]["name"], terms["threshold"], terms["levels"]
        return _About(
            subject=Subject(
                name=name,
                audited=not run,
                finished=not run or ledger.setting("finished") is not None,
                threshold=threshold,
                report=self.report.is_file(),
            ),
            levels=tuple(levels),
            looks=tuple(of_twins(ledger) if run else of_a_model(ledger)),
        )

    def _answer(self, ledger: _Unwritten, look: Look, arm: Arm, probe: Probe, example: Example) -> Answer:
        """What a checkpoint said, beside what it was to say; secrets are masked."""
        ((said, completion),) = ledger.rows(
            "SELECT id, completion FROM observations WHERE checkpoint_id = ? AND probe_id = ? AND asking = 0",
            (look.side(example.half)[arm == "control"], probe.id),
        )
        recovered = ledger.rows(
            "SELECT start, recovered, total FROM recoveries WHERE observation_id = ?", (said,)
        )
        prefix, segments = side_by_side(example, probe, completion, self._everyone)
        return Answer(
            stage=look.stage,
            step=look.step,
            arm=arm,
            secret=secret_state({start: (got, total) for start, got, total in recovered}),
            prefix=prefix,
            segments=segments,
        )


def _check(path: Path) -> None:
    where = printable(str(path))
    with _Unwritten(path) as ledger:
        try:
            # An empty file is what a run leaves that was killed before its first transaction.
            written = ledger.count("sqlite_master")
            version = ledger.setting("schema_version") if written else SCHEMA_VERSION
            started = written and (ledger.has("recipe") or ledger.has("terms"))
        except (sqlite3.DatabaseError, KeyError):
            raise BadInput(f"{where}: expected a ledger of memaudit, got another file") from None
    if version != SCHEMA_VERSION:
        raise BadInput(
            f"{where}: expected a ledger of schema version {SCHEMA_VERSION}, got {version}: "
            "read it with the memaudit that wrote it"
        )
    if not started:
        raise BadInput(
            f"{where}: expected a run or an audit with its examples drawn, got one that never started"
        )


def _choices(ledger: _Unwritten, about: _About) -> Choices:
    drawn = ledger.rows("SELECT DISTINCT cohort, repetition FROM examples WHERE cohort IS NOT NULL")
    return Choices(
        stages=[look.stage for look in about.made],
        cohorts=sorted({cohort for cohort, _ in drawn}),
        levels=list(about.levels),
        times=sorted({times for _, times in drawn if times is not None}),
    )


def _rows(ledger: _Unwritten, about: _About, level: str, numbers: Sequence[int]) -> list[Row]:
    probes = {p.id: p for p in ledger.probes(numbers)}
    examples = ledger.examples_of(list(probes.values()))
    heard = _heard(ledger, numbers, level, about.subject.threshold)
    found = []
    for probe in numbers:
        example = examples[probes[probe].example_id]
        found.append(
            Row(
                id=example.id,
                source=example.source,
                first_line=example.first_line,
                last_line=example.last_line,
                kind=example.kind,
                cohort=example.cohort,
                times=example.repetition,
                heard=[_pair(heard, probe, look, example, level) for look in about.made],
            )
        )
    return found


def _heard(ledger: _Unwritten, numbers: Sequence[int], level: str | None, threshold: float) -> _Heard:
    """How all checkpoints answered some probes, at a level or, where none is named, at all."""
    found: dict[tuple[int, int | None], dict[str, Heard]] = {}
    for probe, checkpoint, of, distance, at_least, out, whole in ledger.rows(
        f"SELECT x.probe_id, x.checkpoint_id, m.level, {NORMALIZED.format(m='m')}, m.at_least, {OUT.format(m='m')}, "
        f"{WHOLE} FROM observations x JOIN matches m ON m.observation_id = x.id AND m.level = COALESCE(?, m.level) "
        f"WHERE x.probe_id IN ({', '.join('?' * len(numbers))}) AND x.asking = 0",
        (threshold, level, *numbers),
    ):
        found.setdefault((probe, checkpoint), {})[of] = Heard(
            distance=distance,
            at_least=bool(at_least),
            out=bool(out),
            secret=None if whole is None else bool(whole),
        )
    return found


def _pair(heard: _Heard, probe: int, look: Look, example: Example, level: str) -> Pair:
    seen, control = (heard.get((probe, number), {}).get(level) for number in look.side(example.half))
    return Pair(exposed=seen, control=control)


def _moment(look: Look, about: _About, level: str, probe: Probe, example: Example, heard: _Heard) -> Moment:
    by_level = heard.get((probe.id, look.side(example.half)[0]), {})
    return Moment(
        stage=look.stage,
        step=look.step,
        final=look.final,
        heard=_pair(heard, probe.id, look, example, level),
        levels=[name for name in about.levels if name in by_level and by_level[name].out],
    )


def _shown(ledger: _Unwritten, example: Example) -> list[Shown]:
    return [
        Shown(stage=stage, role=role, times=times, first_step=first, last_step=last)
        for stage, role, times, first, last in ledger.rows(
            "SELECT stage, role, times, first_step, last_step FROM shown "
            "WHERE example_id = ? AND twin = ? ORDER BY position, role",
            (example.id, example.half),
        )
    ]


def _chosen(
    given: Mapping[str, str],
    level: str,
    looks: Sequence[Look],
    probe: Probe,
    example: Example,
    heard: _Heard,
) -> tuple[Look, Arm] | None:
    """Whose answer is shown: the one asked for; else the first that came out of who saw it, or the last of all."""
    if not looks:
        return None
    stages = list(dict.fromkeys(look.stage for look in looks))
    stage = one_of("stage", given["stage"], stages) if "stage" in given else None
    of_stage = [look for look in looks if look.stage == (stage or look.stage)]
    steps = [f"{look.step}" for look in of_stage]
    if "step" in given and stage is not None:
        step = one_of("step", f"{number('step', given['step'])}", steps)
        of_stage = [of_stage[steps.index(step)]]
    made = [look for look in of_stage if look.final] or of_stage
    out = [
        look
        for look in made
        if (said := _pair(heard, probe.id, look, example, level).exposed) is not None and said.out
    ]
    look = (out or made[-1:])[0]
    arms: dict[Arm, int | None] = dict(zip(("exposed", "control"), look.side(example.half), strict=True))
    known = [arm for arm, checkpoint in arms.items() if (probe.id, checkpoint) in heard]
    arm = one_of("arm", given.get("arm", known[0]), known)
    return look, "control" if arm == "control" else "exposed"
