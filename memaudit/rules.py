"""How checkpoints are asked, and by which rules their answers are judged: a recipe's table `audit`."""

from typing import Annotated

from pydantic import Field

from memaudit.errors import BadInput
from memaudit.section import Natural, Positive, Section
from probes import VERDICT_LEVELS

Share = Annotated[float, Field(ge=0, le=1)]


class SamplerSection(Section):
    """A sampler whose chance to say each target is observed, from which follows how often it would."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Divides the logits."""
    top_k: Positive | None = None
    """Only so many of the most likely tokens are kept."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of those, only the fewest that together have this share of the mass."""


class Audit(Section):
    """How each checkpoint is asked."""

    levels: list[str] = Field(default=list(VERDICT_LEVELS))
    """Levels at which completions are compared."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Normalised distance up to which a completion counts as a near copy."""
    batch: Positive = 100
    """Probes answered at once."""
    evidence: Annotated[int, Field(ge=0)] = 200
    """Leaks that the report shows side by side."""
    samplers: list[SamplerSection] = Field(
        default=[SamplerSection(), SamplerSection(top_k=40), SamplerSection(temperature=0.8, top_p=0.95)]
    )
    """Of each, the chance that it says the target is observed ((n,p)-extraction, arXiv 2410.19482)."""
    twice: Share = 0.25
    """Share of the probes that are asked once more, in another order and batch size: verdicts that differ are noise."""
    references: Natural = 15
    """Other fillings of each synthetic secret whose loss is observed beside its own (exposure, arXiv 1802.08232)."""
    samples: Natural = 8
    """Answers drawn to each RL prompt, after stages that roll out (Min-NN distance, arXiv 2602.11792); 0: none."""
    every: Natural = 0
    """Steps of a stage after which a sample of the probes is asked, for near copies at `exact` alone; 0: never."""
    sample: Share = 0.05
    """Share of the probes that are asked then: the same ones at every step, in every stage and in both twins."""


def check_audit(audit: Audit) -> None:
    """Refuse what cannot be meant. Raises BadInput."""
    wrong = [level for level in audit.levels if level not in VERDICT_LEVELS]
    if wrong or "exact" not in audit.levels:
        raise BadInput(
            f"audit.levels: expected levels out of {', '.join(VERDICT_LEVELS)}, `exact` among them, got "
            f"{', '.join(audit.levels) or 'none'}"
        )
    if audit.samples == 1:
        raise BadInput("audit.samples: expected 0 or at least 2, whose distances there are, got 1")
    if audit.every and not audit.sample:
        raise BadInput("audit.sample: expected a share above 0 beside audit.every, got 0")
