"""What a comparison shows, and how far it goes, in sentences."""

from collections.abc import Iterator, Sequence

from reports.comparison import Comparison, PopulationRow, Row, Side, StagePair
from reports.phrases import p_value, points, portion
from reports.statement import Name, Part, Statement, fact, judged, manner

_SAID = 6  # differences that the headline names
_NAMED = 6  # stages that it names in one list


def title(report: Comparison) -> tuple[Part, ...]:
    """Name the two: by their directories where they have one name."""
    a, b = report.a, report.b
    names = (a.name, b.name) if a.name != b.name else (a.place, b.place)
    return (Name(names[0]), " and ", Name(names[1]))


def staged(pair: StagePair) -> tuple[Part, ...]:
    """Name a stage, or the two that are compared."""
    return (Name(pair.a),) if pair.a == pair.b else (Name(pair.a), " → ", Name(pair.b))


def whose(row: Row) -> tuple[Part, ...]:
    """Name where a row was counted."""
    cohort = () if row.cohort is None else (", cohort ", Name(row.cohort))
    return ("after ", *staged(row.stage), *cohort)


def statements(report: Comparison) -> list[Statement]:
    """Return what there is to say, the differences first."""
    return [
        *_differences(report),
        *_unpaired(report),
        *_examples(report),
        fact("What is paired", *_pairs(report)),
        fact("Memorized", *_counted(report)),
        *_noise(report),
        *_left_out(report),
        fact("How far it goes", *_scope(report)),
    ]


def _differences(report: Comparison) -> Iterator[Statement]:
    paired = [row for row in report.rows if row.paired]
    tested = [
        (row.paired.p_adjusted, row) for row in paired if row.paired and row.paired.p_adjusted is not None
    ]
    shown = sorted((pair for pair in tested if pair[0] <= 1 - report.confidence), key=lambda pair: pair[0])
    for adjusted, row in shown[:_SAID]:
        pairs = row.paired
        assert pairs is not None
        total = pairs.both + pairs.only_a + pairs.only_b + pairs.neither
        yield Statement(
            topic="Paired",
            verdict="more" if pairs.only_b > pairs.only_a else "less",
            parts=(
                f"{'More' if pairs.only_b > pairs.only_a else 'Less'} is memorized in B ",
                *whose(row),
                f": of {total} paired examples {pairs.only_b} became memorized and {pairs.only_a} no longer "
                f"{'is' if pairs.only_a == 1 else 'are'}, {points(pairs.difference)}, {p_value(adjusted)} after Holm.",
            ),
        )
    if len(shown) > _SAID:
        yield fact("Paired", f"{len(shown) - _SAID} more such differences stand in the table.")
    if tested and not shown:
        none = (
            "At the one place that was tested no difference is shown. "
            if len(tested) == 1
            else f"At none of the {len(tested)} places that were tested is a difference shown, adjusted for their "
            "number (Holm). "
        )
        left = "That is not evidence that there is none: the intervals say what is left open."
        yield Statement(topic="Paired", verdict="open", parts=(none + left,))
    if paired and all(row.paired and row.paired.untested == "same checkpoint" for row in paired):
        yield fact("Paired", "Nothing was tested: the two have the same checkpoints, which agree.")


def _unpaired(report: Comparison) -> Iterator[Statement]:
    alone = [
        row.unpaired
        for row in report.rows
        if row.unpaired and (row.paired is None or row.paired.untested == "too few")
    ]
    if not alone:
        return
    signs = [judged(difference) for difference in alone]
    none = (
        "No example is in both, so nothing can be paired. "
        if report.pairing == "none"
        else f"At {len(alone)} of {len(report.rows)} places no example is in both, or too few to test in pairs. "
    )
    yield Statement(
        topic="Unpaired",
        verdict="open" if set(signs) == {"open"} else "fact",
        parts=(
            f"{none}Unpaired, the whole interval lies above zero (more is memorized in B) at {signs.count('more')} of "
            f"{len(signs)} places, and below it at {signs.count('less')}. These are not adjusted for their number.",
        ),
    )


def _examples(report: Comparison) -> Iterator[Statement]:
    if report.pairing == "none":
        return
    became, gone = report.became_total, report.gone_total
    yield fact(
        "Examples",
        f"{became} example{'' if became == 1 else 's'} became memorized after one of the compared stages at least, and "
        f"{gone} no longer {'is' if gone == 1 else 'are'}.",
    )


def _pairs(report: Comparison) -> Iterator[Part]:
    rows = report.population
    both, crossed, only_a, only_b = (
        sum(getattr(row, name) for row in rows) for name in ("both", "crossed", "only_a", "only_b")
    )
    thing = "example" if report.kind == "run" else "probe"
    if report.pairing == "strict":
        seed = f"seed {report.a.seed} and " if report.a.seed is not None else ""
        yield f"Both have {seed}the same {both} {thing}s: each is its own partner."
    else:
        yield f"{both} {thing}{' is' if both == 1 else 's are'} in both"
        yield f" and paired, {only_a} only in A and {only_b} only in B."
        if report.a.seed is not None and report.a.seed != report.b.seed:
            yield f" The seeds differ: {report.a.seed} and {report.b.seed}."
    if crossed:
        yield f" {crossed} more {'is' if crossed == 1 else 'are'} in both but in other halves: the twin that was to "
        yield "see them in A is the one that was not in B, so they are left out of what is paired."
    yield from _unlike(rows)


def _unlike(rows: Sequence[PopulationRow]) -> Iterator[Part]:
    often, recut = sum(row.otherwise_often for row in rows), sum(row.recut for row in rows)
    if often:
        yield f" Of those that are paired, {often} {'was' if often == 1 else 'were'} to be shown another number of "
        yield "times."
    if recut:
        yield f" Of those that are paired, {recut} {'was' if recut == 1 else 'were'} cut elsewhere, so that another "
        yield "question was asked."


def _counted(report: Comparison) -> Iterator[Part]:
    yield from ("The target comes out ", *manner(report.level, report.definition.name))
    if not report.counterfactual:
        yield ". One of the two has no control: what comes out may have been guessed."
    elif report.kind == "run":
        yield " of the twin that was to see it, and not of the other, which is its control."
    else:
        yield " of the model, and not of its control."
        weak = [name for name, one in (("A", report.a), ("B", report.b)) if one.control == "beginning"]
        if weak:
            yield f" The control of {' and '.join(weak)} is what the training began with, which knows less in every "
            yield "way."


def _noise(report: Comparison) -> Iterator[Statement]:
    told = [
        f"{portion(one.flips.count, one.flips.total)} verdicts of {name}"
        for name, one in (("A", report.a), ("B", report.b))
        if one.flips
    ]
    if told:
        yield fact(
            "Noise",
            f"Asked once more, {' and '.join(told)} flipped.",
            " A difference that is smaller is none." if any(map(_flipped, (report.a, report.b))) else "",
        )


def _flipped(one: Side) -> bool:
    return one.flips is not None and one.flips.count > 0


def _left_out(report: Comparison) -> Iterator[Statement]:
    met = ({pair.a for pair in report.stages}, {pair.b for pair in report.stages})
    told = [
        *_left_out_of("A", report.a, met[0]),
        *_left_out_of("B", report.b, met[1]),
    ]
    if told:
        spaced = [part for place, said in enumerate(told) for part in ([" ", *said] if place else said)]
        yield fact("Not compared", *spaced)


def _left_out_of(name: str, one: Side, met: set[str]) -> Iterator[tuple[Part, ...]]:
    rest = [stage for stage in one.stages if stage not in met]
    if rest:
        yield (f"Stages of {name} that were not set beside another: ", *_names(rest), ".")
    if one.missing:
        yield (f"Stages of {name} that are not done: ", *_names(one.missing), ".")
    if one.unanswered:
        yield (
            f"{one.unanswered} question{' has' if one.unanswered == 1 else 's have'} no answer in {name}.",
        )


def _names(names: Sequence[str]) -> Iterator[Part]:
    for place, name in enumerate(names[:_NAMED]):
        yield from (", " if place else "", Name(name))
    if len(names) > _NAMED:
        yield f" and {len(names) - _NAMED} more"


def _scope(report: Comparison) -> Iterator[Part]:
    if report.kind == "run":
        yield "Intervals and tests are about these two trainings. What other seeds would have given is in none of "
        yield "them: a study with several seeds says that."
    else:
        yield "Intervals and tests are about these two models and probes like these, and not about how the models came "
        yield "to be."
