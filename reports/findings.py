"""The contract between whoever audits and whoever renders: plain, versioned data.

Every model here is frozen and refuses unknown fields, so that a page can rely on what it is given and a
consumer of `findings.json` on what is documented. The texts inside `Evidence` are hostile: they come out of
language models and out of files. Renderers escape them; producers redact the secrets first (`reports.redact`).

Counts are integers, rates and distances lie in [0, 1], log-probabilities are in nats.
Intervals are two-sided; their confidence is `Findings.confidence`.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 6

Exposure = Literal["direct", "indirect", "none"]
Arm = Literal["exposed", "control"]


class Record(BaseModel):
    """Frozen, and without fields that are not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Proportion(Record):
    """`count` of `total`, with the interval of the underlying rate."""

    count: int
    total: int
    rate: float = Field(description="count / total; 0 where total is 0")
    low: float
    high: float = Field(description="for a count of zero this is the upper bound to quote")


class Difference(Record):
    """Exposed minus control over the same examples (paired)."""

    value: float
    low: float
    high: float


class Definition(Record):
    """One definition of memorization, applied to stored observations."""

    name: str
    text: str = Field(description="one sentence for people")
    default: bool = False


class Stage(Record):
    """One stage of the recipe as it ran."""

    name: str
    method: str = Field(description="pretrain, sft, reward, ppo, ipo, ...")
    parent: str | None = Field(description="the stage whose checkpoint it started from")
    uses: list[str] = Field(description="stages whose results it needed besides its parent")
    cohort: str | None = Field(description="the cohort it showed; None for public data")
    role: str | None = Field(description="how the cohort's examples entered: target, preferred, prompt")
    steps: int
    examples: int = Field(description="examples shown, both twins together")
    exposures: int = Field(description="times an example was shown, both twins together")
    settings: dict[str, str | int | float | bool] = Field(
        description="the stage's settings, keys of tables within tables joined by dots"
    )
    note: str | None = Field(default=None, description="how a checkpoint that is no language model was read")


class Curve(Record):
    """One metric of one stage over its steps, in the twins that took them."""

    stage: str
    twins: list[str] = Field(description="both where the stage is shared")
    metric: str
    steps: list[int] = Field(description="thinned evenly, the first and the last step kept")
    values: list[float] = Field(description="one for each step; steps without a finite value are left out")


class RateRow(Record):
    """How often a cohort comes out at a stage: with exposure, without, and the paired difference."""

    stage: str
    cohort: str
    repetition: int | None = Field(description="the stratum: times shown per example; None: all strata")
    level: str = Field(description="exact, layout, code, renamed")
    definition: str = Field(description="name of a `Definition`")
    exposure: Exposure = Field(
        description="by this stage the cohort was shown to this model (direct), only to a model that "
        "steered it (indirect), or to neither yet (none: exposed and control should agree)"
    )
    exposed: Proportion
    control: Proportion
    difference: Difference
    flips: Proportion | None = Field(
        default=None,
        description="verdicts of both twins that differed when the same probes were asked once more, in another order "
        "and batch size; None: they were not",
    )


class LikelihoodRow(Record):
    """Mean log-probability per target token (nats), averaged over examples."""

    stage: str
    cohort: str
    repetition: int | None
    exposure: Exposure
    total: int
    exposed: float
    control: float
    difference: Difference


class TransitionRow(Record):
    """What became of a cohort's examples from one stage to the next along an edge of the stage graph."""

    before: str
    after: str
    cohort: str
    repetition: int | None
    level: str
    definition: str
    arm: Arm
    acquired: int = Field(description="not before, but after")
    persisted: int = Field(description="before and after")
    forgotten: int = Field(description="before, but not after")
    never: int = Field(description="neither")
    p_value: float = Field(description="exact McNemar test of acquired against forgotten, two-sided")


class DistanceRow(Record):
    """Histogram of the normalised distance between completion and target."""

    stage: str
    cohort: str
    level: str
    arm: Arm
    counts: list[int] = Field(description="equal bins over [0, 1], the last one closed on both sides")
    within: int = Field(description="how many lie at or under the threshold; bins do not decide this")


class ThresholdRow(Record):
    """How many examples come within each of `Findings.thresholds`, by the rule of `near`, of each arm and of both."""

    stage: str
    cohort: str
    level: str
    total: int
    exposed: list[int] = Field(description="for each threshold")
    control: list[int]
    both: list[int] = Field(description="of the twin that was to see them and of the control: pairs")


class SurvivalRow(Record):
    """How long examples last in a stage that was asked in passing: the product-limit estimate over its steps."""

    stage: str
    cohort: str
    arm: Arm
    event: Literal["first out", "gone"] = Field(
        description="what ends the wait: a text that did not come out before the stage comes out; one that did no "
        "longer does"
    )
    total: int = Field(description="examples that were asked in passing and so begin")
    steps: list[int] = Field(description="increasing; 0 is the begin of the stage")
    share: list[float] = Field(description="that lasts beyond each of the steps")
    low: list[float]
    high: list[float]
    at_risk: list[int] = Field(description="still waited for, just before each of the steps")


class CanaryRow(Record):
    """Exposure of secrets that were drawn at random (arXiv 1802.08232), in bits, averaged over examples."""

    stage: str
    cohort: str
    exposure: Exposure
    secrets: int
    references: int = Field(
        description="other fillings each is ranked among; log2(references + 1) bits are most"
    )
    exposed: float
    control: float
    difference: Difference = Field(description="in bits, paired")


class Operating(Record):
    """A point of an ROC curve: the most true positives at no more than so many false ones."""

    limit: float = Field(description="the false positive rate that was not to be passed")
    resolved: bool = Field(description="there are non-members enough for one to be above the threshold")
    true_positives: Proportion
    false_positives: Proportion


class AttackRow(Record):
    """How well a membership attack tells examples under the twin that saw them from the same under the other."""

    stage: str
    cohort: str
    attack: str
    source: str = Field(description="arXiv number of the attack")
    members: int
    others: int
    area: float = Field(description="under the ROC curve; 0.5 is chance")
    low: float
    high: float
    points: list[Operating]
    curve: list[tuple[float, float]] = Field(
        description="(false positive rate, true positive rate), from (0, 0) to (1, 1), thinned"
    )


class BlindRow(Record):
    """How well the halves of a cohort can be told apart by their texts alone, with no model: what to beat."""

    cohort: str
    members: int
    others: int
    area: float
    low: float
    high: float


class QuizRow(Record):
    """How many questions about a repository are answered: of four options the right one is the likeliest.

    Asked without any code, in words that were not shown. Items come in fours that share their options, so whoever
    knows nothing is right in one of four. What the exposed twin has more than its control it knows by heart.
    """

    stage: str
    cohort: str
    exposure: Exposure
    cut: Literal["all", "task", "capability", "clue"] = Field(
        description="which questions: all of them; of one task; that ask for one capability; by the length of what has "
        "the answer in it"
    )
    name: str = Field(description="the task, the capability, or the characters of the clue; empty for all")
    exposed: Proportion
    control: Proportion
    difference: Difference
    silent: Proportion = Field(description="of these the exposed twin says none of the options to the letter")
    given: Proportion | None = Field(
        default=None,
        description="of the exposed twin, with the code in front that has the answer in it; None: the stage shows none",
    )
    given_control: Proportion | None = Field(default=None, description="the same of the control")


class Shown(Record):
    """Exposures of one example in one stage."""

    stage: str
    role: str
    times: int
    first_step: int
    last_step: int


class Outcome(Record):
    """One example after one stage, under the default definition at level `exact`."""

    stage: str
    exposed: bool = Field(description="memorized by the twin that was to see it")
    control: bool = Field(description="memorized by the twin that was not")
    distance: float = Field(description="normalised, exposed twin")
    control_distance: float = Field(description="normalised, control")
    secret: bool | None = Field(description="its secret came out whole of the exposed twin; None: has none")
    control_secret: bool | None = Field(description="the same of the control")
    levels: list[str] = Field(
        description="at which it came out of the exposed twin, under the default definition"
    )


class ExampleRow(Record):
    """The life of one example."""

    id: str
    kind: Literal["harvested", "sensitive", "given", "question"]
    language: str
    source: str
    first_line: int
    last_line: int
    cohort: str
    half: Literal["A", "B"]
    repetition: int
    secrets: list[int] = Field(description="numbers of the secrets it holds: equal ones are one secret")
    shown: list[Shown]
    outcomes: list[Outcome]
    first_shown: str | None = Field(description="first stage in which it was shown")
    first_out: str | None = Field(description="first stage after which it came out of the twin that saw it")


class Segment(Record):
    """One run of an aligned difference. Equal runs have the same text on both sides."""

    op: Literal["equal", "replace", "insert", "delete"]
    reason: str | None = Field(description="format, comment, rename, literal, secret or code; None if equal")
    target: str
    completion: str


class Evidence(Record):
    """The training text and what the model said, side by side. Secrets are masked, unless `Findings.revealed`."""

    example: str
    stage: str
    twin: str
    cohort: str
    kind: str
    source: str
    first_line: int
    last_line: int
    repetition: int
    normalized: float
    control_normalized: float
    secret: str | None = Field(description="whole, `prefix 12 of 40`, none; None: it has no secret")
    secrets: list[int] = Field(description="numbers of the secrets it holds, as masks name them: `█12███`")
    prefix: str = Field(description="end of the text the model was given")
    segments: list[Segment]


class Run(Record):
    """What ran, enough to run it again."""

    name: str
    recipe_hash: str
    seed: int
    twins: list[str]
    corpus: str = Field(description="one line for people")
    counts: dict[str, int] = Field(description="examples, probes, observations, exposures, ...")
    versions: dict[str, str]
    command: str = Field(description="the command that repeats this run")
    recipe: str = Field(description="the recipe as TOML, every default written out")


class StageTime(Record):
    """Wall-clock seconds of a stage, both twins together."""

    training: float
    audit: float


class Times(Record):
    """When and how long. None: not yet."""

    started: str | None
    finished: str | None
    stages: dict[str, StageTime] = Field(description="by stage name")


class Findings(Record):
    """Everything a page may say."""

    schema_version: int = SCHEMA_VERSION
    revealed: bool = Field(default=False, description="nothing is masked")
    run: Run
    confidence: float
    threshold: float = Field(description="normalised distance of the definition `near`")
    thresholds: list[float] = Field(
        description="increasing: where `within` counts; `threshold` is one; all are decided by what was decoded"
    )
    levels: list[str]
    definitions: list[Definition]
    stages: list[Stage]
    curves: list[Curve] = Field(description="how the stages were trained, by stage, metric and twin")
    rates: list[RateRow] = Field(description="by stratum: repetition is never None")
    totals: list[RateRow] = Field(description="over all strata: repetition is None")
    likelihoods: list[LikelihoodRow] = Field(description="by stratum, and over all strata (None)")
    transitions: list[TransitionRow] = Field(description="by stratum, and over all strata (None)")
    distances: list[DistanceRow]
    within: list[ThresholdRow]
    survival: list[SurvivalRow] = Field(description="of stages that were asked in passing")
    canaries: list[CanaryRow]
    attacks: list[AttackRow] = Field(description="where a cohort had been shown, directly or indirectly")
    blind: list[BlindRow]
    quizzes: list[QuizRow] = Field(description="of cohorts that are questions about a repository")
    examples: list[ExampleRow]
    evidence: list[Evidence] = Field(description="worst first")
    evidence_total: int = Field(description="leaks found; `evidence` shows the first of them")
    times: Times = Field(description="the only part in which two equal runs differ")
