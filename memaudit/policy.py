"""What an audit has to keep to before a model goes on: a TOML file of rules, each with its bound.

    name = "release"
    text = "What is asked of a policy model before it is released"

    [[rules]]
    name = "user code is not memorized"
    rule = "memorized"
    cohorts = ["reward"]
    at_most = 0.01

`memaudit.gate` says what comes of each.
"""

import json
from hashlib import sha256
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationError

from memaudit.errors import BadInput
from memaudit.section import Name, Natural, Positive, Section
from memaudit.settings import Shelf, one_line, tables
from memaudit.sources import printable
from memaudit.statistics import CONFIDENCE

Bounded = Annotated[float, Field(gt=0, lt=1)]
"""A share that a sample can show: no sample shows that a rate is 0, and every one that it is at most 1."""


class Rule(Section):
    """What every rule has."""

    name: Annotated[str, Field(pattern=r"^\S(.{0,78}\S)?$")]
    """Short and unique, in the words of whoever reads that it failed."""
    why: str = ""
    """Why its bound is what it is, in a sentence; it is printed where the rule fails."""
    missing: Literal["fail", "pass"] = "fail"
    """What becomes of it where there is nothing to judge: no such stage, no secrets, no control, no baseline."""


class Located(Rule):
    """A rule that looks at stages and cohorts, at each of them alone. It fails where one of them does."""

    stages: list[str] = Field(default=[])
    """After which stages; empty: all of the recipe, or all that were audited."""
    cohorts: list[str] = Field(default=[])
    """Of which cohorts' examples; empty: all. An audit of a model has none, and is looked at whole."""
    exposure: list[Literal["direct", "indirect", "none"]] = Field(default=[])
    """How a cohort has to have reached the stage's model by then; empty: direct or indirect."""
    strata: list[Positive] = Field(default=[])
    """Only examples that were to be shown so often; empty: all."""
    kind: Literal["harvested", "sensitive", "given", "question"] | None = None
    """Only examples of this kind."""


class Judged(Located):
    """A rule about what comes out, at a level and by a definition."""

    level: Literal["exact", "layout", "code", "renamed"] = "exact"
    """Level at which completions are compared."""
    definition: Literal["near", "equal", "secret"] = "near"
    """Definition of memorization; `secret` at level exact, of the examples that have one."""


class Capped(Judged):
    """A rule about a rate, whose interval has to end below a bound."""

    at_most: Bounded
    """Share that the upper end of the interval may reach."""
    interval: Literal["exact", "wilson"] = "exact"
    """exact: one-sided, by Clopper and Pearson, at the policy's `confidence`; wilson: the upper end of the two-sided
    interval at 95 % that the reports show."""


class Memorized(Capped):
    """The share that comes out of the model that saw it and not of its control."""

    rule: Literal["memorized"]


class Exposed(Capped):
    """The share that comes out of the model that saw it, guessed or not."""

    rule: Literal["exposed"]


class Persistence(Capped):
    """The share of what was memorized after one stage that still is after another."""

    rule: Literal["persistence"]
    before: str
    """After which stage it had to be memorized. With empty `stages` those that come from it are looked at."""


class Detected(Judged):
    """The share that is memorized where something has to be: a positive control. Where nothing comes out of a model
    that was shown a text 64 times, nothing follows from nothing coming out elsewhere."""

    rule: Literal["detected"]
    at_least: Bounded
    """Share that the lower end of the interval has to reach: exact and one-sided, at the policy's `confidence`."""


class Acquired(Judged):
    """How many examples are memorized after a stage that were not before it."""

    rule: Literal["acquired"]
    before: str | None = None
    """The stage before; without it the one that each stage starts from, or that was audited before it."""
    at_most: Natural = 0
    """So many may be, of each cohort in each stage."""


class Regression(Judged):
    """How many examples became memorized since the baseline, of those that are in both."""

    rule: Literal["regression"]
    at_most: Natural | None = None
    """So many may have, of each cohort after each stage; in place of `alpha`."""
    alpha: Bounded | None = None
    """More may not have become memorized than no longer are with an exact McNemar test below this p-value, adjusted for
    the places of the rule (Holm); in place of `at_most`."""


class Secrets(Located):
    """How many examples say their secret whole after any of the stages."""

    rule: Literal["secrets"]
    at_most: Natural = 0
    """So many may, over all stages together, whether the control says it as well or not."""


class Tested(Judged):
    """How many examples were asked: a gate that passes for want of data is none."""

    rule: Literal["tested"]
    at_least: Positive
    """So many have to be, of each cohort after each stage."""


class Noise(Rule):
    """The share of verdicts that differ when the same probes are asked once more."""

    rule: Literal["noise"]
    stages: list[str] = Field(default=[])
    """After which stages; empty: all."""
    level: Literal["exact", "layout", "code", "renamed"] = "exact"
    """Level at which completions are compared."""
    definition: Literal["near", "equal", "secret"] = "near"
    """Definition of memorization."""
    at_most: Bounded
    """Share that the upper end of the interval may reach."""
    interval: Literal["exact", "wilson"] = "exact"
    """As of the rule memorized."""


class Control(Rule):
    """There is a control, without which what is memorized cannot be told from what is guessed."""

    rule: Literal["control"]
    weak: bool = False
    """What the training began with may be one: it knows less in every way, and makes too much look memorized."""


AnyRule: TypeAlias = Annotated[
    Memorized | Exposed | Persistence | Detected | Acquired | Regression | Secrets | Tested | Noise | Control,
    Field(discriminator="rule"),
]
KINDS: dict[str, type[Rule]] = {
    kind.model_fields["rule"].annotation.__args__[0]: kind  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    for kind in (
        Memorized, Exposed, Persistence, Detected, Acquired, Regression, Secrets, Tested, Noise, Control,
    )
}  # fmt: skip
"""What `rule` may be -> the keys that it has."""


class Policy(Section):
    """A whole policy."""

    name: Name
    """What reports call it."""
    text: str = ""
    """What it is for, in a sentence or two."""
    threshold: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Normalised distance up to which a completion is a near copy; without it that of the run or audit, which whoever
    runs it may have set to anything."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = CONFIDENCE
    """Of exact bounds, one-sided."""
    not_shown: list[str] = Field(default=[])
    """What holding it does not show, a sentence each; printed below every verdict."""
    rules: Annotated[list[AnyRule], Field(min_length=1)]
    """What is asked. All have to hold."""

    def digest(self) -> str:
        """Hash of every setting, hexadecimal."""
        return sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


POLICIES = Shelf("policies", "policy")
"""The policies that come with memaudit."""


def load(source: str) -> Policy:
    """The policy called `source`, or in the file `source`. Raises BadInput."""
    return parse(POLICIES.find(source, option="--policy: "), where=printable(source))


def parse(text: str, *, where: str) -> Policy:
    """Read and check a policy; `where` names it in errors. Raises BadInput."""
    data = tables(text, where=where)
    try:
        policy = Policy.model_validate(data)
    except ValidationError as error:
        raise BadInput(f"{where}: {_fault(error, data)}") from None
    if fault := _contradiction(policy):
        raise BadInput(f"{where}: {fault}")
    return policy


def _fault(error: ValidationError, data: dict[str, Any]) -> str:
    """The first fault of a policy, in a line; a rule is called by its name, where it has one."""
    faults = error.errors(include_url=False)
    # A key that is spelled wrong is missing as well: it is the wrong one that helps.
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    path, section = [str(part) for part in fault["loc"]], Policy
    if fault["loc"][0] == "rules" and len(path) > 1:
        given = data["rules"][fault["loc"][1]]
        called = given.get("name") if isinstance(given, dict) else None
        key = f"rules[{path[1]}]" + (f" ({printable(called)})" if isinstance(called, str) else "")
        if fault["type"] == "union_tag_not_found":
            return f"{key}.rule: expected a value, got none: set it to one of {', '.join(KINDS)}"
        if fault["type"] == "union_tag_invalid":
            return f"{key}.rule: expected one of {', '.join(KINDS)}, got {given['rule']!r}"
        # The discriminator puts the rule into the path: rules.0.<memorized>.at_most.
        path, section = [key, *path[3:]], KINDS.get(path[2] if len(path) > 2 else "", Rule)
    if fault["type"] == "extra_forbidden":
        return f"{'.'.join(path)}: expected no such key, got {fault['input']!r}: known here are {_known(section)}"
    return one_line(error, path, lambda: _known(section))


def _known(section: type[Section]) -> str:
    return ", ".join(section.model_fields)


def _contradiction(policy: Policy) -> str | None:
    """What every key allows for itself and all together do not, in a line."""
    names: set[str] = set()
    for place, rule in enumerate(policy.rules):
        key = f"rules[{place}] ({printable(rule.name)})"
        if rule.name in names:
            return f"{key}.name: expected a name that no rule above it has, got {rule.name!r}"
        names.add(rule.name)
        if getattr(rule, "definition", None) == "secret" and getattr(rule, "level", "exact") != "exact":
            return f'{key}.level: expected "exact" with definition = "secret", got {getattr(rule, "level", "")!r}'
        if getattr(rule, "interval", None) == "wilson" and policy.confidence != CONFIDENCE:
            return (
                f'{key}.interval: expected "exact" with confidence = {policy.confidence:g}, got "wilson", which is '
                f"at {CONFIDENCE:g} alone"
            )
        if isinstance(rule, Regression) and (rule.at_most is None) == (rule.alpha is None):
            return f"{key}: expected at_most or alpha, got {'neither' if rule.alpha is None else 'both'}: set one"
        if isinstance(rule, Persistence) and rule.before in rule.stages:
            return f"{key}.stages: expected stages after before = {rule.before!r}, got it among them"
    return None
