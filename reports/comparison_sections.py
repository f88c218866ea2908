"""The sections of a comparison's page, in order: HTML and Markdown show the same ones. An empty one is left out."""

from collections.abc import Iterator, Sequence

from reports import comparison_tables as tables
from reports.comparison import Change, Comparison
from reports.study_charts import Key
from reports.study_sections import Section

_KEY = (
    Key(look="dot direct", sign="", words=("shown to A or to B",)),
    Key(look="dot indirect", sign="", words=("only indirectly",)),
    Key(
        look="dot none",
        sign="",
        words=("not shown yet to either: a negative control, which should lie at zero",),
    ),
)


def sections(report: Comparison, *, listed: int | None = None) -> list[Section]:
    """Return the sections that have something to show, with so many examples at most in each list."""
    return [section for section in _sections(report, listed) if not section.empty]


def _sections(report: Comparison, listed: int | None) -> Iterator[Section]:
    key = _KEY if report.kind == "run" else ()
    yield Section(
        id="pairs",
        title="What changed, pair by pair",
        short="Paired",
        text="Each example that is in both stands beside itself.",
        panels=tuple(tables.forest(report, paired=True)),
        wide=True,
        key=key,
        grids=(tables.pairs(report),),
    )
    unpaired = any(row.unpaired for row in report.rows)
    apart = " Where not all of it is in both, the difference is taken as if the two had nothing to do with each other."
    yield Section(
        id="rates",
        title="All examples, unpaired" if unpaired else "Both rates",
        short="Unpaired" if unpaired else "Rates",
        text=f"How much each of the two has memorized of what it was asked for.{apart if unpaired else ''}",
        panels=tuple(tables.forest(report, paired=False)),
        wide=True,
        key=key,
        grids=(tables.rates(report),),
    )
    yield _changed(
        report, "became", "Became memorized", "In B and not in A.", report.became, report.became_total, listed
    )
    yield _changed(
        report, "gone", "No longer memorized", "In A and not in B.", report.gone, report.gone_total, listed
    )
    yield Section(
        id="population",
        title="Which examples are paired",
        short="Examples",
        text="Only an example that is in both, with the same text and in the same half, can be its own partner.",
        grids=(tables.population(report),),
    )
    settings = (
        "What each of the two was told. A stage that only one of them has is given by its method alone."
    )
    yield Section(
        id="settings",
        title="What was set otherwise",
        short="Settings",
        text="What lies between the two besides chance, as far as it was written down.",
        grids=(
            tables.sides(report),
            tables.differing(report.settings, "Setting", settings),
            tables.differing(report.versions, "Version of", "What ran."),
        ),
    )


def _changed(
    report: Comparison,
    name: str,
    title: str,
    text: str,
    found: Sequence[Change],
    total: int,
    listed: int | None,
) -> Section:
    return Section(
        id=name,
        title=title,
        short=title,
        text=f"{text} Whole secrets come first, then what came out nearest.",
        grids=(tables.changes(report, found[:listed], total),),
    )
