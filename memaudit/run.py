"""A whole run: the stages in order for both twins, each audited when it is done, all of it in one directory.

    runs/NAME/recipe.toml    the recipe, every default written out
              ledger.sqlite  what was shown, asked and answered
              stages/NAME-HASH/  parameters, metrics.jsonl, exposures.jsonl, tensorboard/ where that is installed,
                                 a reward stage's pairs, and, while it runs, its state
              findings.json  report.html  report.md

A stage that is in the ledger is done and is not run again; one that was killed goes on from its last state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jax

import probes
from memaudit import corpus as corpora
from memaudit.cohorts import populate
from memaudit.corpus import Corpus
from memaudit.course import Leg, course
from memaudit.documents import write_documents
from memaudit.errors import BadInput
from memaudit.findings import conclude
from memaudit.instruments import Instruments, setting_of
from memaudit.ledger import LEDGER, Ledger
from memaudit.progress import Progress
from memaudit.quizzes import QUESTIONS, about, quizzed
from memaudit.recipe import Recipe, context_of, dumps
from memaudit.records import Finished
from memaudit.selftrain import check_problems
from memaudit.stages import Setting
from memaudit.versions import versions
from reports import Findings
from rlhf.mesh import Layout

RECIPE = "recipe.toml"


def run(recipe: Recipe, folder: Path, progress: Progress) -> Findings:
    """Run a recipe into `folder`, or go on with the run that is there; returns the findings it wrote.

    Raises BadInput, with nothing written, if the folder holds anything else or the corpus does not suffice.
    """
    _check(recipe, folder)
    progress.say("reading the corpus")
    corpus = read(recipe)
    progress.say(f"{corpus.description}; drawing cohorts")
    plan = Plan.of(recipe, folder, corpus)
    population = plan.setting.population
    progress.say(f"{len(population.public)} public examples, {len(population.examples)} in cohorts")
    for language in sorted({e.language for e in population.examples}):
        if probes.lexer(language) == "generic":
            progress.say(
                f"{language}: not a language that is known, so a generic lexer; "
                "layout, code and renamed are one level"
            )
    instruments = Instruments(plan.setting)
    done = plan.done()
    with plan.open() as ledger:
        for leg in plan.legs:
            if leg.key in done:
                progress.say(f"{leg.title}: already done")
                plan.enter(ledger, leg)
            else:
                plan.enter(ledger, leg, instruments.carry_out(leg, progress))
        finish(ledger)
        findings = conclude(ledger, recipe)
    write_documents(findings, folder)
    return findings


def read(recipe: Recipe) -> Corpus:
    """The corpus that a recipe names."""
    return corpora.load(
        recipe.corpus.source,
        recipe.corpus.path or None,
        exclude=recipe.corpus.exclude,
        smallest=recipe.corpus.smallest,
        largest=recipe.corpus.largest,
        keep_files=bool(quizzed(recipe)) or any(context_of(recipe, stage) for stage in recipe.stages),
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run that could start, or go on: its population is drawn, its legs are known, and nothing is written yet."""

    folder: Path
    setting: Setting
    corpus: str
    """One line about it."""
    legs: Sequence[Leg]

    @classmethod
    def of(cls, recipe: Recipe, folder: Path, corpus: Corpus) -> "Plan":
        """Raises BadInput where the folder holds anything else, or the corpus or this machine does not suffice."""
        _check(recipe, folder)
        setting = setting_of(recipe, populate(corpus, recipe), folder)
        check_problems(recipe, setting.population)
        return cls(folder=folder, setting=setting, corpus=corpus.description, legs=course(setting))

    def done(self) -> set[str]:
        """The keys of the legs that the run's ledger has. Raises BadInput where what one of them left is gone."""
        if not (self.folder / LEDGER).is_file():
            return set()
        with Ledger(self.folder / LEDGER) as ledger:
            found = {leg.key: leg.stage for leg in self.legs if leg.key in ledger.stages()}
        for key, stage in found.items():
            Instruments(self.setting).result(stage, key)
        return set(found)

    def open(self) -> Ledger:
        """The run's ledger, with its population in it; what is not there yet is made."""
        recipe, population = self.setting.recipe, self.setting.population
        # The recipe first: it is by its recipe that a directory is known to hold this run.
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / RECIPE).write_text(dumps(recipe), encoding="utf-8")
        self.setting.folder.mkdir(exist_ok=True)
        ledger = Ledger(self.folder / LEDGER)
        if not ledger.count("examples"):
            ledger.add_examples(
                (*population.public, *population.examples),
                population.probes,
                {
                    "recipe": dumps(recipe),
                    "corpus": self.corpus,
                    "threshold": recipe.audit.threshold,
                    "versions": versions(),
                    "started": _now(),
                    "finished": None,
                }
                | ({QUESTIONS: about(population.questions)} if population.questions else {}),
            )
        elif {e.id for e in ledger.examples()} != {e.id for e in population.examples}:
            ledger.close()
            raise BadInput(
                f"{self.folder}: expected the corpus that the run was started with, got another: its code has changed "
                "since. Set --out to a new directory"
            )
        return ledger

    def enter(self, ledger: Ledger, leg: Leg, finished: Finished | None = None) -> None:
        """Write down that a leg is done: what it left, unless the ledger has it, and whose way goes through it."""
        if finished is not None:
            ledger.add_stage(finished)
        for twin in leg.twins:
            ledger.walk(twin, leg.stage, leg.key, leg.position)
        # Not before the ledger has it; and where a run was killed in between, it is still there.
        Instruments(self.setting).saver(leg).clear()


def finish(ledger: Ledger) -> None:
    """Note that all of a run is done."""
    ledger.settle({"finished": _now()})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _check(recipe: Recipe, folder: Path) -> None:
    _check_folder(folder, recipe)
    _check_devices(recipe)


def _check_folder(folder: Path, recipe: Recipe) -> None:
    if not folder.exists() or not any(folder.iterdir() if folder.is_dir() else [folder]):
        return
    written = folder / RECIPE
    if not folder.is_dir() or not written.is_file():
        raise BadInput(
            f"{folder}: expected a new or empty directory or one that holds a run, got other files: set --out"
        )
    if written.read_text(encoding="utf-8") != dumps(recipe):
        raise BadInput(
            f"{folder}: expected no run or one of this very recipe, got a run of another recipe: "
            "set --out to another directory, or `name` in the recipe"
        )


def _check_devices(recipe: Recipe) -> None:
    wanted, found = Layout(**recipe.devices.model_dump()).devices, len(jax.devices())
    if wanted > found:
        raise BadInput(
            f"devices: expected data * fsdp * tensor of at most {found}, the number of devices there are "
            f"({jax.devices()[0].device_kind}), got {wanted}: set them smaller"
        )
