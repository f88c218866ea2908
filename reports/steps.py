"""What comes out over the steps of a training, as small pictures drawn by hand: lengths are in units of the drawing.

A page puts them into SVG elements and colours them by its own style, so they follow light, dark and paper.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from reports.audited import checkpoints, passages, passed
from reports.findings import Proportion
from reports.phrases import measured
from reports.tally import Passage, Tally

WIDTH, HEIGHT = 420, 216
LEFT, RIGHT, TOP, BOTTOM = 46, 404, 12, 180
"""Where the axes are; the rest is for their labels."""
_DOTS = 40  # points of a line up to which each is marked
_APART = 46  # between labels of the lower axis
_TOPS = {0.02: 0.005, 0.05: 0.01, 0.1: 0.02, 0.2: 0.05, 0.5: 0.1, 1.0: 0.25}
"""Highest rate that an axis shows, and the distance of its marks."""


Scale = Callable[[float], float]
"""From a value to its place in the drawing."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A label on an axis."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """A rate at a step."""

    x: float
    y: float
    words: str
    """What is measured there."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line with the band of its intervals."""

    role: str
    """model or control."""
    line: str
    """Points of a polyline."""
    band: str
    """Points of a polygon."""
    dots: list[Point]


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The rate over the steps of a stage."""

    stage: str
    """Hostile."""
    words: str
    """What the picture shows, for people who cannot see it."""
    series: list[Series]
    """The control first, so that the model is drawn over it."""
    across: list[Mark]
    up: list[Mark]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A count at a step."""

    look: str
    """acquired: out for the first time; forgotten: for the last time, before the last step."""
    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Passing:
    """What came out first at each step of a stage (up), and what came out there last and no more at the end (down)."""

    stage: str
    """Hostile."""
    words: str
    """What the picture shows, for people who cannot see it."""
    bars: list[Bar]
    across: list[Mark]
    up: list[Mark]
    zero: float
    """Height of the line that bars stand on."""


def rates(tally: Tally) -> list[Rates]:
    """Draw the rate over the steps of every stage that was asked at several, all kinds, by default definition."""
    found = checkpoints(tally)
    drawn = []
    for stage in dict.fromkeys(checkpoint.stage for checkpoint in found):
        rows = [(at.step, at.main.row) for at in found if at.stage == stage]
        model = [(step, row.model) for step, row in rows]
        control = [(step, row.control) for step, row in rows if row.control is not None]
        began = next((p.steps[0] for p in tally.passages if p.stage == stage), None)
        if tally.weak_control and control and began is not None and began < model[0][0]:
            # The control is where this very line begins.
            model, control = [(began, control[0][1]), *model], []
        if len(model) > 1:
            drawn.append(_rates(stage, {"control": control, "model": model}))
    return drawn


def _rates(stage: str, lines: dict[str, list[tuple[int, Proportion]]]) -> Rates:
    every = [point for points in lines.values() for point in points]
    steps = sorted({step for step, _ in every})
    highest = next((top for top in _TOPS if top >= max(rate.high for _, rate in every)), 1.0)
    across = _scale(steps[0], steps[-1], LEFT + 8, RIGHT - 8)
    up = _scale(0, highest, BOTTOM, TOP)
    series = [_series(role, points, across, up) for role, points in lines.items() if points]
    (first, begin), (last, end) = lines["model"][0], lines["model"][-1]
    marks = [place * _TOPS[highest] for place in range(round(highest / _TOPS[highest]) + 1)]
    return Rates(
        stage=stage,
        words=f"Step {first}: {begin.count} of {begin.total} ({measured(begin)}); step {last}: {end.count} of "
        f"{end.total} ({measured(end)}).",
        series=series,
        across=_thinned([Mark(at=across(step), text=str(step)) for step in steps]),
        up=[Mark(at=up(rate), text=f"{100 * rate:g}{' %' if rate == marks[-1] else ''}") for rate in marks],
    )


def _series(role: str, points: Sequence[tuple[int, Proportion]], across: Scale, up: Scale) -> Series:
    low = [(across(step), up(rate.low)) for step, rate in points]
    high = [(across(step), up(rate.high)) for step, rate in points]
    dots = [
        Point(
            x=across(step),
            y=up(rate.rate),
            words=f"{role} at step {step}: {rate.count} of {rate.total} ({measured(rate)})",
        )
        for step, rate in points
    ]
    return Series(
        role=role,
        line=_path((dot.x, dot.y) for dot in dots),
        band=_path([*low, *reversed(high)]),
        dots=dots if len(dots) <= _DOTS else [],
    )


def passing(tally: Tally) -> list[Passing]:
    """Draw at which steps of each stage probes came out first, and last."""
    return [_passing(passage) for passage in passages(tally)]


def _passing(passage: Passage) -> Passing:
    most = max(1, *passage.first_out, *passage.last_out[:-1])
    up = _scale(-most, most, BOTTOM, TOP)
    # Steps lie side by side: bars of a true scale would cover each other.
    apart = (RIGHT - LEFT) / len(passage.steps)
    middles = [LEFT + apart * (place + 0.5) for place in range(len(passage.steps))]
    out = passage.asked - passage.never
    return Passing(
        stage=passage.stage,
        words=f"{out} of {passage.asked} came out at some step: {passage.last_out[-1]} at the last one, "
        f"{passed(passage)} only before.",
        bars=list(_bars(passage, middles, 0.7 * apart, up)),
        across=_thinned(
            [Mark(at=at, text=str(step)) for at, step in zip(middles, passage.steps, strict=True)]
        ),
        up=[Mark(at=up(count), text=str(abs(count))) for count in (-most, 0, most)],
        zero=up(0),
    )


def _bars(passage: Passage, middles: Sequence[float], width: float, up: Scale) -> Iterator[Bar]:
    zero = up(0)
    for middle, step, first, last in zip(
        middles, passage.steps, passage.first_out, [*passage.last_out[:-1], 0], strict=True
    ):
        place = {"x": round(middle - width / 2, 2), "width": round(width, 2)}
        if first:
            words = f"step {step}: {first} came out for the first time"
            yield Bar(look="acquired", y=up(first), height=round(zero - up(first), 2), words=words, **place)
        if last:
            words = f"step {step}: {last} came out for the last time"
            yield Bar(look="forgotten", y=zero, height=round(up(-last) - zero, 2), words=words, **place)


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    """Map values from `low` to `high` evenly to places from `start` to `end`."""
    return lambda value: round(start + (end - start) * (value - low) / (high - low), 2)


def _path(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _thinned(marks: Sequence[Mark]) -> list[Mark]:
    """Leave out labels that would run into each other; the last one stays."""
    kept = [marks[-1]]
    for mark in reversed(marks[:-1]):
        if kept[-1].at - mark.at >= _APART:
            kept.append(mark)
    return kept[::-1]
