"""What a study claimed and what came of it, in words and as a table; and what was run."""

from collections.abc import Iterable, Iterator

from reports.grid import Body, Cell, Grid, heads, number, text
from reports.phrases import between, chance, confident, joined, quantity
from reports.statement import Name, Part, Quoted, Statement, fact
from reports.study import ClaimRow, StudyReport, Verdict

SIGNS: dict[Verdict, str] = {"holds": "✓", "contradicted": "✗", "not resolved": "?", "not tested": "–"}
"""A sign for each verdict; its word stands beside it."""
MEANINGS: dict[Verdict, str] = {
    "holds": "What was measured lies on the side that was expected, by more than chance among seeds and examples.",
    "contradicted": "It lies on the other side, by more than chance.",
    "not resolved": "The interval leaves both sides open. That is not evidence that nothing is there: what could "
    "have been seen stands beside it.",
    "not tested": "It could not be measured, and the note says why.",
}
_VERBS: dict[Verdict, tuple[str, str]] = {
    "holds": ("holds", "hold"),
    "contradicted": ("is contradicted", "are contradicted"),
    "not resolved": ("is not resolved", "are not resolved"),
    "not tested": ("is not tested", "are not tested"),
}


def opening(report: StudyReport) -> list[tuple[Part, ...]]:
    """Say how the claims came out, and what was run."""
    said: list[tuple[Part, ...]] = [_outcome(report.claims)] if report.claims else []
    return [*said, (*_runs(report), *_corpora(report), *_missing(report))]


def _outcome(claims: list[ClaimRow]) -> tuple[Part, ...]:
    headline = [claim for claim in claims if claim.headline]
    chosen, kind = (headline, "headline claim") if headline else (claims, "claim")
    counts: dict[Verdict, int] = {
        verdict: sum(claim.verdict == verdict for claim in chosen) for verdict in SIGNS
    }
    told = [f"{n} {_VERBS[verdict][n != 1]}" for verdict, n in counts.items() if n]
    return (f"Of {len(chosen)} {kind}{'' if len(chosen) == 1 else 's'}, {joined(told)}.",)


def _runs(report: StudyReport) -> Iterator[Part]:
    many = len(report.arms) != 1
    yield f"{len(report.arms)} arm{'s' if many else ''} ("
    yield from _listed(arm.name for arm in report.arms)
    yield f") {'were' if many else 'was'} run with {_seeds(report.seeds)}"
    for arm in report.arms:
        if arm.seeds != report.seeds:
            yield from (", ", Name(arm.name), f" with {_seeds(arm.seeds)}")
    yield ". Every run has two twins, equal but for the half of each cohort that they are shown: for what one of "
    yield "them saw, the other is the control."


def _corpora(report: StudyReport) -> Iterator[Part]:
    if report.corpus:
        yield f" {'Corpus' if len(report.corpus) == 1 else 'Corpora'}: "
        for place, corpus in enumerate(report.corpus):
            yield from ("; " if place else "", Quoted(corpus))
        yield "."


def _missing(report: StudyReport) -> Iterator[Part]:
    count = len(report.missing)
    if count:
        yield f" {count} run{' is' if count == 1 else 's are'} missing ("
        yield from _listed(report.missing)
        yield "): what is said here is said without "
        yield "it." if count == 1 else "them."


def _listed(names: Iterable[str]) -> Iterator[Part]:
    for place, name in enumerate(names):
        yield from (", " if place else "", Name(name))


def _seeds(seeds: list[int]) -> str:
    return (
        f"{'seed' if len(seeds) == 1 else 'seeds'} {joined([str(seed) for seed in seeds])}"
        if seeds
        else "no seed"
    )


def claims(report: StudyReport, *, brief: bool = False) -> Grid:
    """Return the table of claims, headline claims first; `brief`: without what `details` says."""
    groups = [
        ("Headline claims", [claim for claim in report.claims if claim.headline]),
        ("Other claims", [claim for claim in report.claims if not claim.headline]),
    ]
    there = [(name, rows) for name, rows in groups if rows]
    first: list[Part] = ["Headline claims come first: ", *_listed(claim.name for claim in groups[0][1]), ". "]
    head = ["Claim", "#Measured", f"#{confident(report.confidence)} interval", "#p", "Verdict"]
    return Grid(
        caption=(
            "What was claimed beforehand, and what came of it. ",
            *(first if brief and len(there) > 1 else []),
            "The p-values of headline claims are adjusted for "
            "their number (Holm), those of other claims are not.",
        ),
        head=heads(*head, *([] if brief else ["Beside it"])),
        bodies=[
            Body(
                heading=(name,) if len(there) > 1 and not brief else (),
                rows=[_claim(claim, brief=brief) for claim in rows],
            )
            for name, rows in there
        ],
        look="claims",
    )


def _claim(claim: ClaimRow, *, brief: bool) -> list[Cell]:
    about = () if brief else _what(claim)
    cells = [
        text(Name(claim.name), " ", Quoted(claim.text), aside=about),
        *_measured(claim, brief=brief),
        text(f"{SIGNS[claim.verdict]} {claim.verdict}", look=f"verdict {claim.verdict.replace(' ', '-')}"),
    ]
    return cells if brief else [*cells, text(*_beside(claim), look="remark")]


def _measured(claim: ClaimRow, *, brief: bool) -> list[Cell]:
    found = claim.estimate
    if found is None:
        return [number("–"), number("–"), number("–")]
    by_seed = ", ".join(quantity(value, claim.unit).split(" ")[0] for value in found.seeds)
    how = (Quoted(found.by),) if found.by and not brief else ()
    return [
        number(
            quantity(found.value, claim.unit), aside="" if brief or not by_seed else f"by seed: {by_seed}"
        ),
        text(between(found.low, found.high, claim.unit), aside=how, look="number"),
        _p(claim, found.p_value, brief=brief),
    ]


def _p(claim: ClaimRow, alone: float | None, *, brief: bool) -> Cell:
    if claim.p_adjusted is not None:
        aside = "" if brief or alone is None else f"unadjusted: {chance(alone)}"
        return number(chance(claim.p_adjusted), aside=aside)
    return number("–" if alone is None else chance(alone))


def _what(claim: ClaimRow) -> tuple[Part, ...]:
    rests = f"; {claim.examples} example{'' if claim.examples == 1 else 's'}"
    return (Quoted(claim.measure), "; ", Quoted(claim.where), "; expected ", Quoted(claim.expected), rests)


def _beside(claim: ClaimRow) -> Iterator[Part]:
    if claim.detectable is not None:
        yield f"What could have been seen: {quantity(claim.detectable, claim.unit).removeprefix('+')} or more."
    if claim.note:
        yield from (" " if claim.detectable is not None else "", Quoted(claim.note))


def details(report: StudyReport) -> list[Statement]:
    """Say of every claim what was measured and what to know beside it: for pages whose tables are narrow."""
    ordered = sorted(report.claims, key=lambda claim: not claim.headline)
    return [fact(claim.name, *_what(claim), ". ", *_beside(claim)) for claim in ordered]
