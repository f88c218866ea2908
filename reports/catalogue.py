"""The contract of the pages that list every example of a ledger and show one: plain data, made for each page anew.

As in `reports.findings` every text is hostile, and secrets are masked before they get here. Distances are normalised.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from reports.findings import Arm, Record, Segment, Shown

Out = Literal["yes", "no", "only"]
SecretOut = Literal["whole", "kept"]
Sort = Literal["id", "source", "cohort", "times", "nearest", "stage"]


class Question(Record):
    """What is asked of the list: which examples, in which order, and which page of them.

    What is asked of completions is asked of one stage, the same for all conditions: the one named, or any; `no` and
    `kept` of all stages where none is named.
    """

    stage: str | None = Field(default=None, description="None: any")
    cohort: str | None = None
    level: str = Field(description="at which texts are compared, and whose distances are shown")
    least: float | None = Field(
        default=None, description="distance of the exposed twin's completion, from here"
    )
    most: float | None = Field(default=None, description="to here")
    out: Out | None = Field(
        default=None, description="came out of the exposed twin; did not; did, and not of the control"
    )
    secret: SecretOut | None = Field(
        default=None,
        description="the example's secret came out whole of the exposed twin; it has one that did not",
    )
    text: str | None = Field(
        default=None, description="in the source or in the id; ASCII letters in either case"
    )
    times: int | None = Field(default=None, description="how often it is to be shown")
    sort: Sort = "id"
    by: str | None = Field(default=None, description="the stage whose distances sort, where `sort` is stage")
    descending: bool = False
    page: int = 1

    def query(self, **changes: object) -> dict[str, str]:
        """Return the question, with other values for some of its fields, by the keys of an address."""
        asked = self.model_copy(update=changes)
        values = {name: getattr(asked, name) for name in type(self).model_fields if name != "descending"}
        values["order"] = "desc" if asked.descending else None
        values |= {"sort": None} if asked.sort == "id" else {}
        values |= {"page": None} if asked.page == 1 else {}
        return {name: f"{value}" for name, value in values.items() if value is not None}


class Choices(Record):
    """What a question may name."""

    stages: list[str] = Field(description="in the order in which they ran")
    cohorts: list[str]
    levels: list[str] = Field(description="the first is asked for where none is named")
    times: list[int]


class Heard(Record):
    """How one checkpoint answered a probe."""

    distance: float
    at_least: bool = Field(description="the completion was not decoded to its end: a lower bound")
    out: bool = Field(description="it came out, by the rule of `near`")
    secret: bool | None = Field(description="the example's secret came out whole; None: it has none")


class Pair(Record):
    """The same of the twin that was to see the example, or the audited model, and of its control."""

    exposed: Heard | None = Field(description="None: not asked")
    control: Heard | None


class Row(Record):
    """One example of the list."""

    id: str
    source: str
    first_line: int
    last_line: int
    kind: str
    cohort: str | None
    times: int | None
    heard: list[Pair] = Field(description="after each of the stages of `Choices`")


class Subject(Record):
    """Whose ledger it is."""

    name: str
    audited: bool = Field(description="a model that was audited: its own training is not known")
    finished: bool = Field(description="nothing is being added")
    threshold: float = Field(description="normalised distance up to which a completion came out")
    report: bool = Field(description="there is a report beside the list")


class Listing(Record):
    """One page of the list."""

    subject: Subject
    choices: Choices
    question: Question
    total: int = Field(description="examples there are")
    found: int = Field(description="of them, by the question")
    first: int = Field(description="place of the page's first row among those found, from 1")
    pages: int = Field(description="1 at least")
    rows: list[Row]


class Moment(Record):
    """An example at one checkpoint of a stage."""

    stage: str
    step: int
    final: bool = Field(description="what the stage made; else it was asked in passing")
    heard: Pair = Field(description="at the level of the page")
    levels: list[str] = Field(description="at which it came out of the exposed twin")


class Answer(Record):
    """What one checkpoint said, beside what it was to say."""

    stage: str
    step: int
    arm: Arm
    secret: str | None = Field(description="whole, `prefix 12 of 40`, none; None: it has no secret")
    prefix: str = Field(description="end of the text the model was given")
    segments: list[Segment]


class Life(Record):
    """The page of one example."""

    subject: Subject
    id: str
    kind: str
    language: str
    source: str
    first_line: int
    last_line: int
    cohort: str | None
    half: str | None = Field(description="the twin that was to see it")
    times: int | None
    secrets: list[int] = Field(description="numbers of the secrets it holds, as masks name them: `█12███`")
    shown: list[Shown]
    levels: list[str]
    level: str = Field(description="whose distances are shown")
    moments: list[Moment]
    answer: Answer | None = Field(description="None: nothing was asked yet")

    def query(self, **changes: object) -> Mapping[str, str]:
        """Return the address of this page by its keys, with others put in."""
        answer = self.answer
        values = {"id": self.id, "level": self.level}
        if answer is not None:
            values |= {"stage": answer.stage, "step": f"{answer.step}", "arm": answer.arm}
        return values | {name: f"{value}" for name, value in changes.items()}
