"""The sections of a study's page, in order: HTML and Markdown show the same ones. One without anything is left out."""

from collections.abc import Iterator
from dataclasses import dataclass

from reports import study_charts as charts
from reports import study_tables as tables
from reports.grid import Grid
from reports.study import StudyReport
from reports.study_charts import Key
from reports.theme import Panel


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page."""

    id: str
    title: str
    short: str
    """Its title in the list of contents."""
    text: str
    panels: tuple[Panel, ...] = ()
    wide: bool = False
    """Its panels have long labels, and need more width."""
    key: tuple[Key, ...] = ()
    """What the marks of its panels stand for."""
    grids: tuple[Grid, ...] = ()
    behind: tuple[Grid, ...] = ()
    """Tables that say what the panels say: an HTML page folds them."""
    every: tuple[Grid, ...] = ()
    """The same in full: a shorter page leaves them out."""

    @property
    def folded(self) -> tuple[Grid, ...]:
        """What an HTML page folds."""
        return tuple(grid for grid in (*self.behind, *self.every) if not grid.empty)

    @property
    def empty(self) -> bool:
        """Whether it has nothing to show."""
        return not self.panels and not self.folded and all(grid.empty for grid in self.grids)


_EXPOSURES = (
    Key(look="dot direct", sign="", words=("shown",)),
    Key(look="dot indirect", sign="", words=("only indirectly",)),
    Key(look="dot none", sign="", words=("not shown yet: a negative control, which should lie at zero",)),
)
_SEEDS = Key(look="stroke", sign="", words=("one seed",))


def sections(report: StudyReport) -> list[Section]:
    """Return the sections that have something to show."""
    return [section for section in _sections(report) if not section.empty]


def _sections(report: StudyReport) -> Iterator[Section]:
    yield Section(
        id="sweeps",
        title="The measures of the claims, by setting",
        short="By setting",
        text="What the claims about trends were measured by, for each of their arms.",
        panels=tuple(charts.sweep(sweep) for sweep in report.sweeps if sweep.points),
        key=(
            Key(look="dot direct", sign="", words=("over all seeds, with its interval",)),
            Key(look="dot none small", sign="", words=("one seed",)),
        ),
        behind=(tables.sweeps(report),),
    )
    yield _outcomes(report)
    yield Section(
        id="kept",
        title="What is kept",
        short="What is kept",
        text="Of what was memorized, and not guessed, after one stage: how much still is after a later one.",
        panels=tuple(charts.kept(report)),
        key=(Key(look="dot direct", sign="", words=("over all seeds, with its interval",)), _SEEDS),
        wide=True,
        grids=(tables.kept(report),),
    )
    met = {row.exposure for row in report.shifts}
    yield Section(
        id="likelihood",
        title="How much likelier the text became",
        short="Likelihood",
        text="The targets’ mean log-probability per token under the twin that saw them, minus that under its control. "
        "A text can become likelier long before it comes out.",
        panels=tuple(charts.shifts(report)),
        wide=True,
        key=(*(mark for mark in _EXPOSURES if mark.look.removeprefix("dot ") in met), _SEEDS),
        grids=(tables.shifts(report),),
    )
    yield Section(
        id="dose",
        title="Does repetition matter?",
        short="Repetition",
        text="The share that is memorized, and not guessed, against the number of times an example was shown.",
        panels=tuple(charts.doses(report)),
        key=tuple(charts.key(report, [row.arm for row in report.doses])),
        behind=(tables.doses(report),),
    )
    yield Section(
        id="survival",
        title="How long it survives",
        short="Survival",
        text="Of what came out when a stage began, the share that still did after so many of its steps (Kaplan–Meier).",
        panels=tuple(charts.survival(report)),
        key=tuple(charts.key(report, [row.arm for row in report.survival])),
        grids=(tables.survival(report, ends=True),),
        every=(tables.survival(report, ends=False),),
    )
    yield Section(
        id="levels",
        title="What each level finds",
        short="Levels",
        text="The more is taken away before texts are compared, the more is found, and the more can be guessed.",
        grids=(tables.ladder(report), tables.lengths(report)),
    )
    yield Section(
        id="sampled",
        title="Greedy decoding and sampling",
        short="Sampling",
        text="What a single greedy completion brings out, beside what many samples would.",
        grids=(tables.sampled(report),),
    )
    yield _secrets(report)
    yield Section(
        id="power",
        title="What the study could see",
        short="Power",
        text="Reckoned before it ran, from sizes and assumptions alone.",
        grids=(tables.power(report),),
    )
    yield Section(
        id="arms",
        title="The arms",
        short="Arms",
        text="Each arm is the recipe with some of its settings changed.",
        grids=(tables.arms(report),),
    )


def _outcomes(report: StudyReport) -> Section:
    definition = f"within a normalised distance of {report.threshold:g} of the target (definition near)"
    return Section(
        id="outcomes",
        title="What comes out, by arm and stage",
        short="By arm and stage",
        text=f"Greedy completions that lie {definition}, texts compared as they are (level exact). Where a cohort was "
        "not shown yet, exposed and control should agree: a negative control.",
        grids=(tables.outcomes(report, "all", "near", "Examples of all kinds."),),
    )


def _secrets(report: StudyReport) -> Section:
    secrets = tables.outcomes(report, "sensitive", "secret", "Secrets that come out whole.")
    code = tables.outcomes(
        report, "harvested", "near", "Code without them: near copies of harvested examples."
    )
    return Section(
        id="secrets",
        title="Secrets",
        short="Secrets",
        text="Synthetic sensitive examples hold a secret each: whether it comes out whole is asked apart from whether "
        "code does.",
        grids=() if secrets.empty else (secrets, code),
    )
