"""What a policy said of an audit: plain data, versioned. The hall judges; the table, the XML and the Markdown show it.

It holds no text of an example and no completion. Names of stages, cohorts, directories and models are hostile.
"""

from typing import Literal

from reports.findings import Proportion
from reports.study import Plain

SCHEMA_VERSION = 1

Verdict = Literal["holds", "crossed", "not applied"]
"""Whether what was measured keeps to the bound everywhere, does not somewhere, or could not be set against it."""
Kind = Literal["upper", "lower", "count", "least", "test", "control"]
"""How a bound is judged: the upper or lower end of an interval, a count that may be reached or must be, an exact test,
or the kind of control."""


class Bound(Plain):
    """What a rule allows."""

    kind: Kind
    limit: float | None
    """A share where the kind is upper or lower, a number of examples where it is count or least, a p-value where it is
    test; None: of a control."""
    judged: str
    """What is set against the limit, such as `exact one-sided 95 % bound`."""


class Measurement(Plain):
    """What one rule found in one place."""

    stage: str | None
    """After this stage; None: after all that were looked at. Hostile."""
    before: str | None
    """The stage that it is set against; None: the rule looks at no change. Hostile."""
    cohort: str | None
    """Of this cohort's examples; None: of all. Hostile."""
    found: Proportion
    """What was counted, of how many, with the two-sided interval at 95 % that other pages show."""
    edge: float | None
    """The end of the interval that is judged; None: it is a count or a test that is."""
    gone: int | None
    """Of a test: how many changed the other way."""
    p_value: float | None
    """Of a test: two-sided, adjusted for the places of the rule (Holm)."""
    least: float | None
    """The bound that so small a sample could show at best, had nothing come out; None: it could show the rule's."""
    needs: int | None
    """Examples that the rule's bound needs at least, where these are too few to show it."""
    note: str | None
    """What else there is to know, in a sentence."""
    holds: bool


class RuleRow(Plain):
    """A rule, and what came of it."""

    name: str
    """Hostile."""
    rule: str
    """Its kind, such as memorized."""
    why: str
    """Why its bound is what it is; empty: the policy does not say. Hostile."""
    quantity: str
    """What is counted, for people."""
    bound: Bound
    verdict: Verdict
    passed: bool
    """It holds, or it could not be applied and the policy lets that pass."""
    measured: list[Measurement]
    """Each place that was looked at, worst first."""
    gaps: list[str]
    """Why the rule could not be applied, or not everywhere; a sentence each. Hostile."""


class Gate(Plain):
    """A run or an audit of a model, held against a policy."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["run", "audit"]
    place: str
    """Its directory. Hostile."""
    name: str
    """Of a run its name, of an audit the path or address of its model. Hostile."""
    seed: int | None
    """None: an audit of a model has none."""
    baseline: str | None
    """The directory that it is compared with. Hostile."""
    policy: str
    """The policy's name."""
    policy_digest: str
    """SHA-256 of every setting of the policy, hexadecimal."""
    text: str
    """What the policy is for. Hostile."""
    not_shown: list[str]
    """What holding it does not show, a sentence each. Hostile."""
    threshold: float
    """Normalised distance of the definition `near`."""
    command: str
    """That repeats it. Hostile."""
    checked: str
    """When, ISO 8601 in UTC: the only part in which two equal checks differ."""
    passed: bool
    rules: list[RuleRow]
    """In the policy's order."""
