"""An audit of a training that goes on elsewhere: its model is looked at now and then, and a ledger is kept.

There is no twin. What the model said at the first look, before anything was trained, is the control: a weak one, and
named as such.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from memaudit.attach.rollouts import JOURNALS
from memaudit.attach.summary import SUMMARY, has_journals, summarise
from memaudit.audit import MODEL, Terms, ask, digest, populate
from memaudit.backends import Backend
from memaudit.documents import conclusion, open_ledger, write_documents
from memaudit.errors import BadInput
from memaudit.ledger import LEDGER, Ledger
from memaudit.records import Finished, StageRecord
from memaudit.sample import drawn
from memaudit.sources import printable
from memaudit.versions import versions
from probes import VERDICT_LEVELS

ROLES = ("target", "preferred", "rejected", "prompt")
"""How an example may enter a stage."""
_COMPARED = 16  # probes by which a tokenizer is told from another

_log = logging.getLogger(__name__)


class Watch:
    """Looks at a model while a stage trains it. Several stages, one after the other, may share a directory.

    It holds no file open and may be made anew at any time: a training that was killed and goes on from a checkpoint
    asks nothing again that was answered.
    """

    def __init__(
        self,
        *,
        probes: str | Path,
        out: str | Path,
        stage: str = "sft",
        levels: Sequence[str] = VERDICT_LEVELS,
        threshold: float = 0.1,
        every: int = 0,
        sample: float = 1.0,
        full: bool = False,
        twice: float = 0.0,
    ) -> None:
        """`probes` is a file of probes, `out` the directory of the audit, `stage` the name of this part of it.

        `levels` are those at which completions are compared, `threshold` the normalised distance up to which one is
        near. The model is looked at before the first step and after the last with all probes, and after `every` steps
        (0: never) with this share of them, a `sample`. `full` decodes every completion to its end and scores every
        target. `twice` is the share of the probes that are asked once more, where all are.
        """
        wrong = [level for level in levels if level not in VERDICT_LEVELS]
        if wrong or "exact" not in levels or len(set(levels)) < len(levels):
            raise BadInput(
                f"levels: expected some of {', '.join(VERDICT_LEVELS)}, exact among them and none twice, got "
                f"{', '.join(levels)}"
            )
        if not 0 <= threshold < 1:
            raise BadInput(f"threshold: expected a share from 0 and below 1, got {threshold:g}")
        if every < 0:
            raise BadInput(f"every: expected a number of steps, or 0 for none, got {every}")
        for name, share in (("sample", sample), ("twice", twice)):
            if not 0 <= share <= 1:
                raise BadInput(f"{name}: expected a share from 0 to 1, got {share:g}")
        if not stage.strip():
            raise BadInput("stage: expected a name, got none: set sft, dpo, grpo, ...")
        self.stage, self.every, self.sample = stage, every, sample
        self._probes, self._out = Path(probes), Path(out)
        self._terms = Terms(levels=tuple(levels), threshold=threshold, full=full, twice=twice)
        self._digest = digest(self._probes)
        self._exposures: Counter[tuple[int, str, str]] = Counter()
        self._told: int | None = None

    def due(self, step: int) -> bool:
        """Whether the model is to be looked at after so many steps."""
        return self.every > 0 and step % self.every == 0

    def begin(self, backend: Backend, step: int = 0) -> None:
        """Look at the model as it is before the first step, or before the next one of a training that goes on.

        Raises BadInput where the stage has been trained further in `out` and this training begins anew: the two would
        be mixed up.
        """
        with self._opened(backend) as ledger:
            known = [at for at, _, _ in ledger.answers.steps(self.stage)]
        if step == 0 and any(known):
            raise BadInput(
                f"{printable(str(self._out))}: expected a training that goes on from a checkpoint, as stage "
                f"{printable(self.stage)} has come to step {max(known)} here, got one that begins: set another "
                "`stage` or `out`"
            )
        if not known or step == known[0]:
            self.look(backend, step, whole=True)

    def look(self, backend: Backend, step: int, *, whole: bool = False) -> None:
        """Put the sample of the probes, or with `whole` all, to the model as it is after so many steps of the stage.

        What was answered at this step before is not asked again.
        """
        with self._opened(backend) as ledger:
            self._enter(ledger, step)
            checkpoint = ledger.answers.checkpoint(self.stage, step)
            chosen = None if whole else [number for number in ledger.names() if drawn(number, self.sample)]
            for asking in range(2 if whole and self._terms.twice else 1):
                ask(
                    backend,
                    ledger,
                    checkpoint,
                    self._terms,
                    _Logged(),
                    title=f"{self.stage}, step {step}" + ", once more" * asking,
                    asking=asking,
                    chosen=chosen,
                )
            ledger.settle({"models": {MODEL: asdict(backend.about)}})

    def shown(self, step: int, role: str, ids: Iterable[str]) -> None:
        """Note which examples, by the ids of their probes, the batch of a step has (from 0) and in which role.

        Ids of no probe are passed over, and so are steps that a training which goes on takes again. It is written with
        `note`.
        """
        if role not in ROLES:
            raise BadInput(f"role: expected one of {', '.join(ROLES)}, got {role}")
        self._exposures.update((step, role, name) for name in ids)

    def note(self) -> None:
        """Write what has been shown. To be called when a step is done, and not in the middle of one."""
        if not self._exposures:
            return
        with open_ledger(self._out) as ledger:
            if self._told is None:
                self._told = max(
                    (last for _, _, stage, *_, last in ledger.shown() if stage == self.stage), default=-1
                )
            known, told = set(ledger.names().values()), self._told
            new = {key: n for key, n in self._exposures.items() if key[0] > told and key[2] in known}
            if new:
                record = self._enter(ledger, 0)
                ledger.add_stage(Finished(stage=record, exposures=new, updates=(), checkpoints=()))
            self._told = max(told, *(step for step, _, _ in self._exposures))
        self._exposures.clear()

    def finish(self) -> list[Path]:
        """Write the documents into `out`, and a summary of the rollouts if any were heard. Returns their paths."""
        self.note()
        with open_ledger(self._out) as ledger:
            paths = write_documents(conclusion(ledger, self._out), self._out)
        if has_journals(self._out):
            summarise(self._out, threshold=self._terms.threshold)
            paths.append(self._out / SUMMARY)
        return paths

    def _enter(self, ledger: Ledger, step: int) -> StageRecord:
        """Note that the stage has come this far."""
        stages = {name: record for (twin, name), record in ledger.walks().items() if twin == MODEL}
        known = stages.get(self.stage)
        record = StageRecord(
            id=self.stage,
            name=self.stage,
            method="watched",
            steps=max(step, known.steps if known else 0),
            seconds=0.0,
            audit_seconds=0.0,
        )
        place = list(stages).index(self.stage) if known else len(stages)
        ledger.enter(record, MODEL, place)
        return record

    def _opened(self, backend: Backend) -> Ledger:
        """The ledger, with its probes in the backend's tokens. Raises BadInput if it is that of another audit."""
        out, path = self._out, self._out / LEDGER
        new = not out.exists() or (
            out.is_dir() and all(entry.name in (JOURNALS, SUMMARY) for entry in out.iterdir())
        )
        if not new and not path.is_file():
            raise BadInput(
                f"{printable(str(out))}: expected a new or empty directory or one of a watched training, got other "
                "files: set another `out`"
            )
        out.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(path)
        try:
            self._check(ledger, backend)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def _check(self, ledger: Ledger, backend: Backend) -> None:
        started = {"probes": self._digest, "terms": asdict(self._terms), "watched": True}
        if not ledger.count("probes"):
            settings = {**started, "models": {MODEL: asdict(backend.about)}, "versions": versions()}
            populate(ledger, str(self._probes), backend, {**settings, "threshold": self._terms.threshold})
            return
        if not ledger.has("watched"):
            raise BadInput(
                f"{printable(str(self._out))}: expected the audit of a watched training, got that of a run or of a "
                "finished model: set another `out`"
            )
        terms = ledger.setting("terms")
        kept = {"probes": ledger.setting("probes"), **{name: terms[name] for name in ("threshold", "full")}}
        kept["levels"] = tuple(terms["levels"])
        for name in ("probes", "levels", "threshold", "full"):
            mine = self._digest if name == "probes" else getattr(self._terms, name)
            if kept[name] != mine:
                raise BadInput(
                    f"{printable(str(self._out))}: expected an audit with the same {name}, got one with others: set "
                    "another `out`"
                )
        probes = ledger.probes(list(ledger.names())[:_COMPARED])
        if [tuple(tokens) for tokens in backend.encode([p.target for p in probes])] != [
            p.target_tokens for p in probes
        ]:
            raise BadInput(
                f"{printable(str(self._out))}: expected a model with the tokenizer that the audit began with, got "
                "another: set another `out`"
            )


class _Logged:
    """Tells the log how looks go."""

    def say(self, text: str) -> None:
        _log.info(text)

    def begin(self, title: str, total: int) -> None:
        _log.info("%s: %d probes", title, total)

    def skip(self, count: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def end(self, outcome: str) -> None:
        _log.info(outcome)
