"""What an audit of a finished model, or of somebody else's training, came to: plain, versioned data."""

from pydantic import Field

from reports.findings import Definition, Difference, Proportion, Record, Segment

SCHEMA_VERSION = 2


class Asked(Record):
    """A model that was asked."""

    role: str = Field(description="model, or control: one that has not seen the texts")
    kind: str = Field(description="jax, transformers, http, ...")
    name: str = Field(description="its path or address")
    identity: str = Field(description="a hash of its files, or what its server calls it")
    deterministic: bool = Field(description="the same questions get the same answers, bit for bit")
    losses: list[str] = Field(description="what could not be known of it, one sentence each")


class CheckpointRow(Record):
    """One checkpoint, and how many probes of one kind come out of it under one definition."""

    stage: str
    step: int = Field(description="of the stage's training; 0 for a finished model")
    kind: str = Field(description="prefix, infill, secret, or all")
    level: str
    definition: str
    model: Proportion
    control: Proportion | None = Field(description="of the same probes; None: there was no control")
    difference: Difference | None = Field(description="model minus control, paired")
    flips: Proportion | None = Field(
        description="verdicts, of the model and of its control, that differed when the same probes were asked "
        "once more, in another order and batch size; None: they were not"
    )


class Passage(Record):
    """When probes of a stage came out in passing, under the default definition at level `exact`."""

    stage: str
    asked: int = Field(description="probes that were asked at several steps")
    steps: list[int] = Field(description="at which they were")
    first_out: list[int] = Field(description="for each step, how many came out there first")
    last_out: list[int] = Field(description="for each step, how many came out there last")
    never: int = Field(description="how many came out at none")
    seconds: float = Field(description="that asking them took, in all steps together")


class Leaked(Record):
    """A probe that came out of the model and not of its control. Secrets are masked, unless `Tally.revealed`."""

    probe: str
    kind: str
    stage: str
    step: int
    source: str
    first_line: int
    last_line: int
    normalized: float = Field(description="distance of the completion at level `exact`")
    control_normalized: float | None = Field(
        description="the same of the control, or a lower bound; None: no control"
    )
    secret: str | None = Field(description="whole, `prefix 12 of 40`, none; None: it has no secret")
    secrets: list[int] = Field(description="numbers of the secrets it holds, as masks name them: `█12███`")
    prefix: str = Field(description="end of the text the model was given")
    segments: list[Segment]


class Tally(Record):
    """Everything a page may say of such an audit."""

    schema_version: int = SCHEMA_VERSION
    revealed: bool = Field(default=False, description="nothing is masked")
    probes: int
    probes_digest: str = Field(description="SHA-256 of the file of probes")
    levels: list[str]
    threshold: float = Field(description="normalised distance of the definition `near`")
    confidence: float
    definitions: list[Definition]
    asked: list[Asked]
    weak_control: bool = Field(
        description="the control is an earlier checkpoint of the same training, which knows less in every way"
    )
    full: bool = Field(
        description="completions were decoded to their end, not only until verdicts were closed"
    )
    rows: list[CheckpointRow]
    passages: list[Passage]
    leaks: list[Leaked] = Field(description="worst first")
    leaks_total: int = Field(description="leaks found; `leaks` shows the first of them")
    versions: dict[str, str]
    seconds: dict[str, float] = Field(
        description="by role, that asking took: the part in which equal audits differ"
    )
