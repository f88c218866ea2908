"""What a page may say of a study: plain data, versioned. The hall fills it in; the pages show it."""

from typing import Literal

from pydantic import ConfigDict

from reports.findings import Exposure, Record

SCHEMA_VERSION = 1

Verdict = Literal["holds", "contradicted", "not resolved", "not tested"]


class Plain(Record):
    """A record whose fields are described where they stand."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Estimate(Plain):
    """A quantity over all seeds of a study, with its interval."""

    value: float
    low: float
    high: float
    p_value: float | None
    """Two-sided, against what it is set against; None: it is set against nothing."""
    seeds: list[float]
    """Its value with each seed."""
    by: str
    """How the interval was made."""


class ArmRow(Plain):
    """An arm."""

    name: str
    about: str
    changes: dict[str, str]
    """Key of a setting -> its value in TOML."""
    seeds: list[int]
    shares: bool
    """It shares stages with the base arm."""


class PowerRow(Plain):
    """What the study could see, reckoned before it ran."""

    claim: str
    examples: int
    """With each seed."""
    seeds: int
    detectable: float | None
    """The smallest true difference that is seen with a chance of 80 %, in the unit of the claim's measure; None: not
    even the largest there can be."""
    unit: str


class ClaimRow(Plain):
    """A claim, and what came of it."""

    name: str
    text: str
    headline: bool
    measure: str
    """What was measured, in words."""
    where: str
    """Under which arms, after which stage, of which cohort."""
    expected: str
    """Such as `above 0.5`."""
    unit: str
    """`share` (0 to 1), `nats per token`, or `reward`."""
    estimate: Estimate | None
    """None: it could not be measured."""
    examples: int
    """That it rests on, over all seeds."""
    p_adjusted: float | None
    """Holm's, over the headline claims; None for the others."""
    verdict: Verdict
    note: str | None
    """What a reader has to know beside it."""
    detectable: float | None
    """The smallest difference that the spread among seeds would have let be seen with a chance of 80 %."""


class CellRow(Plain):
    """What came out: of an arm after a stage, of a cohort, at a level, under a definition; over all seeds."""

    arm: str
    stage: str
    cohort: str
    exposure: Exposure
    kind: Literal["all", "harvested", "sensitive", "given"]
    level: str
    definition: str
    exposed: int
    control: int
    both: int
    """Out of both twins."""
    total: int
    difference: Estimate
    """Exposed minus control, a share."""


class ShiftRow(Plain):
    """How much likelier a cohort's targets are to the twin that saw them, over all seeds."""

    arm: str
    stage: str
    cohort: str
    exposure: Exposure
    difference: Estimate
    """Nats per token, exposed minus control."""
    listed: int
    """Examples that are likelier than twins differ by chance, at a false discovery rate of 5 %."""
    total: int


class KeptRow(Plain):
    """What became of what was memorized (and not guessed) after one stage, at a later one; over all seeds."""

    arm: str
    before: str
    stage: str
    cohort: str
    kept: int
    total: int
    share: Estimate
    acquired: int
    """Memorized after the later stage and not after the earlier one."""
    p_value: float
    """Exact McNemar test of acquired against forgotten."""


class SweepPoint(Plain):
    """One arm of a sweep."""

    arm: str
    label: str
    """Its setting."""
    estimate: Estimate


class Sweep(Plain):
    """The measure of a claim about a trend, by arm."""

    claim: str
    title: str
    setting: str
    """What differs among the arms."""
    unit: str
    points: list[SweepPoint]


class LadderRow(Plain):
    """What a level finds: of an arm after a stage, of a cohort; over all seeds."""

    arm: str
    stage: str
    cohort: str
    level: str
    memorized: int
    """Near copies of the exposed twin, and not of its control."""
    only: int
    """Of these, found at no other level."""
    guessed: int
    """Near copies of the control."""
    total: int


class LengthRow(Plain):
    """What was guessed, by how long the targets are; of cohorts that the model had not met, over all arms and seeds."""

    level: str
    shortest: int
    longest: int
    """Tokens of the targets."""
    guessed: int
    total: int


class SampledRow(Plain):
    """(n, p)-extraction at p = 0.5 (arXiv 2410.19482) beside greedy decoding, over all seeds."""

    arm: str
    stage: str
    cohort: str
    sampler: str
    samples: int
    """n."""
    exposed: int
    control: int
    total: int


class SurvivalRow(Plain):
    """Of what came out when a stage began, how much still did after so many steps (Kaplan–Meier), over all seeds."""

    arm: str
    stage: str
    cohort: str
    steps: list[int]
    survival: list[float]
    low: list[float]
    high: list[float]
    at_risk: list[int]


class DoseRow(Plain):
    """Near copies (not guessed) by how often an example was shown, over all seeds."""

    arm: str
    stage: str
    cohort: str
    times: list[int]
    memorized: list[int]
    totals: list[int]
    slope: Estimate | None
    """Of the logistic fit: log-odds for each doubling of the showings; None: nothing or everything came out."""
    half: Estimate | None
    """Showings after which half come out."""


class StudyReport(Plain):
    """A whole study."""

    schema_version: int = SCHEMA_VERSION
    name: str
    text: str
    command: str
    """That repeats it."""
    corpus: list[str]
    """One line for each corpus."""
    threshold: float
    confidence: float
    levels: list[str]
    seeds: list[int]
    arms: list[ArmRow]
    missing: list[str]
    """Runs that are not done yet, by name: what is said is said without them."""
    power: list[PowerRow]
    claims: list[ClaimRow]
    sweeps: list[Sweep]
    cells: list[CellRow]
    shifts: list[ShiftRow]
    kept: list[KeptRow]
    ladder: list[LadderRow]
    lengths: list[LengthRow]
    sampled: list[SampledRow]
    survival: list[SurvivalRow]
    doses: list[DoseRow]
    flips: tuple[int, int]
    """Verdicts that differed when probes were asked twice, and how many were."""
    versions: dict[str, str]
    seconds: float
    """That training and asking took, summed over workers."""
