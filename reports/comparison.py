"""What a page may say of two audits side by side: plain data, versioned. The hall fills it in; the pages show it.

It holds no text of an example and no completion. Differences are B minus A: above zero, B memorized more.
"""

from typing import Literal

from reports.findings import Definition, Difference, Exposure, Proportion
from reports.study import Plain

SCHEMA_VERSION = 1

Control = Literal["twin", "model", "beginning", "none"]


class Side(Plain):
    """One of the two."""

    place: str
    """Its directory, as it was given. Hostile."""
    name: str
    """Of a run its name, of an audit the path or address of its model. Hostile."""
    seed: int | None
    """None: an audit of a model has none."""
    corpus: str | None
    """Where the examples come from, for people; None: from a file of probes. Hostile."""
    examples: int
    """That are asked for."""
    stages: list[str]
    """That are done, in their order."""
    missing: list[str]
    """Stages of its recipe that are not done in both twins."""
    unanswered: int
    """Questions after the compared stages that have no answer, as an audit that was stopped leaves some."""
    control: Control
    """What an example's verdict is set against: the twin that was not to see it, another model, what the training began
    with (which is weak: it knows less in every way), or nothing."""
    flips: Proportion | None
    """Verdicts after the compared stages that differed when the same probes were asked once more, in another order and
    batch size; None: they were not."""


class StagePair(Plain):
    """A stage of A and the stage of B that it is compared with."""

    a: str
    """Its name in A. Hostile, as that in B."""
    b: str
    """Its name in B."""


class PopulationRow(Plain):
    """A cohort's examples: which of them are in both."""

    cohort: str | None
    """None: an audit of a model has no cohorts."""
    both: int
    """In both, with the same text and in the same half: these are paired."""
    crossed: int
    """In both, but in other halves: the twin that was to see it in A is the one that was not in B. These are left out
    of what is paired."""
    only_a: int
    """In this cohort of A alone."""
    only_b: int
    """In this cohort of B alone."""
    otherwise_often: int
    """Of `both`: to be shown another number of times. They are paired; the number may be what makes a difference."""
    recut: int
    """Of `both`: cut into prefix and target at another place, so that another question was asked. They are paired."""


class Pairs(Plain):
    """What is memorized of the examples that are in both: each is its own partner."""

    both: int
    """Memorized in A and in B."""
    only_a: int
    """Memorized in A and no longer in B."""
    only_b: int
    """Became memorized: in B, and not in A."""
    neither: int
    """Memorized in none of the two."""
    difference: Difference
    """B minus A, a share, with Newcombe's interval for paired rates."""
    p_value: float | None
    """Exact McNemar test of `only_b` against `only_a`, two-sided; None: it was not tested."""
    p_adjusted: float | None
    """Holm's, over all rows that were tested."""
    untested: Literal["same checkpoint", "too few"] | None
    """Why it was not tested: one checkpoint stands on both sides and there is no chance in it, or there are fewer pairs
    than could show anything, whatever came of them."""


class Row(Plain):
    """A cohort after a stage."""

    stage: StagePair
    """After which it was counted."""
    cohort: str | None
    """None: all probes of an audit. Hostile."""
    exposure_a: Exposure | None
    """How A had been shown the cohort by then; None: not known, as of an audited model."""
    exposure_b: Exposure | None
    """How B had been."""
    a: Proportion
    """Memorized, of all the cohort's examples that A was asked for, whether they are in B or not."""
    b: Proportion
    """The same of B."""
    paired: Pairs | None
    """None: no example is in both."""
    unpaired: Difference | None
    """B minus A over all examples of each, as if they had nothing to do with each other (Newcombe's interval for
    independent rates); None: all are paired. Where some are in both, it is wider than it would have to be."""


class Change(Plain):
    """An example that is memorized in one of the two and not in the other."""

    example: str
    """Its id. Hostile."""
    kind: str
    """harvested, sensitive or given."""
    cohort: str | None
    """None: an audit of a model has no cohorts. Hostile."""
    source: str
    """Its file. Hostile."""
    first_line: int
    """From 1."""
    last_line: int
    """Inclusive."""
    stages: list[StagePair]
    """After which it changed in this way."""
    stage: StagePair
    """The one of these after which it came out nearest; distances and secret are those after it."""
    distance_a: float
    """Normalised, of A's completion at the level of the comparison."""
    at_least_a: bool
    """A's completion was decoded no further than its verdict needed, and its distance is a lower bound."""
    distance_b: float
    """The same of B's."""
    at_least_b: bool
    """B's distance is a lower bound."""
    guessed_a: bool
    """A's control says it as well: what comes out of A may then be near and still not memorized."""
    guessed_b: bool
    """B's control says it as well."""
    secret_a: bool | None
    """Its secret came out whole in A; None: it has none."""
    secret_b: bool | None
    """The same of B."""
    times_a: int | None
    """How often it was to be shown in A; None: not known."""
    times_b: int | None
    """The same of B."""


class Setting(Plain):
    """A setting, or a version, that differs."""

    key: str
    """Of tables within tables joined by dots; a stage is called by its name in A, with `/` and that in B where they
    differ. Hostile."""
    a: str | None
    """In JSON; a version as it is; None: not there. Hostile."""
    b: str | None
    """The same of B."""


class Comparison(Plain):
    """Two runs, or two audits of models, side by side."""

    schema_version: int = SCHEMA_VERSION
    """Of this contract."""
    kind: Literal["run", "audit"]
    """What both are."""
    command: str
    """That repeats it. Hostile."""
    a: Side
    """The one that is compared with."""
    b: Side
    """The one that is compared."""
    pairing: Literal["strict", "partial", "none"]
    """Strict: the same seed and the same examples, or the same probes; partial: some examples are in both; none: no
    example is."""
    confidence: float
    """Of all intervals, two-sided."""
    level: str
    """At which completions are compared."""
    definition: Definition
    """Of memorization."""
    threshold: float
    """Normalised distance of the definition `near`: the smaller one where the two had different ones, so that both are
    judged alike."""
    counterfactual: bool
    """Memorized: it comes out, and not of the control. False: one of the two has no control, and what comes out may
    have been guessed."""
    stages: list[StagePair]
    """That are compared."""
    population: list[PopulationRow]
    """By cohort."""
    rows: list[Row]
    """By stage, then by cohort."""
    became: list[Change]
    """Memorized in B and not in A, worst first: whole secrets of B, then its nearest copies, then what A was farthest
    from. Of cohorts that A or B had been shown, be it indirectly."""
    became_total: int
    """`became` has the first of them."""
    gone: list[Change]
    """Memorized in A and no longer in B, worst first in A."""
    gone_total: int
    """`gone` has the first of them."""
    settings: list[Setting]
    """That differ, by key: of the recipes, or of how the models were asked."""
    versions: list[Setting]
    """Of what ran, where they differ."""
