"""What a study could see, reckoned before it runs from sizes and assumptions alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from memaudit.recipe import Recipe
from memaudit.statistics import Comparison, PairedDifference, RateAgainstBound, Trend
from memaudit.study.arms import Cell
from memaudit.study.design import Claim, Study, places
from memaudit.study.measures import MEASURES, Measure
from reports import study as contract


@dataclass(frozen=True, kw_only=True)
class Spread(Comparison):
    """A quantity of which only the spread among seeds is known, which is `between`."""

    @property
    def most(self) -> float:
        """As good as any."""
        return 1000 * self.between

    def spread(self, effect: float) -> float:
        """The same for all effects."""
        return self.between


def power(study: Study, cells: Sequence[Cell]) -> list[contract.PowerRow]:
    """What each claim could see, reckoned from sizes and assumptions alone."""
    rows = []
    for claim in study.claims:
        measure = MEASURES[claim.measure]
        arm = (claim.arms or [claim.arm])[0]
        recipe = next(cell.recipe for cell in cells if arm in cell.stages)
        seeds = min(len(study.seeds_of(a)) for a, *_ in places(claim))
        examples = _examples(recipe, claim)
        if claim.measure == "persistence":
            examples = max(1, round(examples * study.assume.rate))
        # Of one seed it is not known what others would say.
        seen = _comparison(study, claim, measure, examples, seeds).smallest() if seeds > 1 else None
        rows.append(
            contract.PowerRow(
                claim=claim.name,
                examples=examples,
                seeds=seeds,
                detectable=seen,
                unit=measure.unit,
            )
        )
    return rows


def _examples(recipe: Recipe, claim: Claim) -> int:
    own = recipe.cohorts.makeup(claim.cohort)
    strata = {t: n for t, n in own.shown.items() if not claim.strata or t in claim.strata}
    share = {"sensitive": own.share, "harvested": 1 - own.share}
    copies = own.copies.examples * own.copies.times if own.copies and claim.kind != "sensitive" else 0
    copies *= not claim.strata or 1 in claim.strata
    return max(1, round(2 * (sum(strata.values()) * share.get(claim.kind or "", 1.0) + copies)))


def _comparison(study: Study, claim: Claim, measure: Measure, examples: int, seeds: int) -> Comparison:
    assume = study.assume
    sizes = {"examples": examples, "seeds": seeds, "between": assume.between}
    if measure.unit != "share":
        return Spread(
            examples=examples, seeds=seeds, between=assume.nats if measure.unit != "reward" else assume.reward
        )
    if claim.arms:
        return Trend(**sizes, arms=len(claim.arms), rate=assume.rate)
    if claim.than is not None:
        return PairedDifference(**sizes, discordance=assume.rate)
    return RateAgainstBound(**sizes, bound=min(max(claim.bound, 0.0), 1.0))
