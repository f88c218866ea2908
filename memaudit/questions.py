"""What the address of a page asks for, checked against what a ledger can answer."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, get_args
from urllib.parse import parse_qsl

from memaudit.errors import BadInput
from reports.catalogue import Choices, Out, Question, SecretOut, Sort
from reports.escape import visible

_LONGEST = 1000  # characters of a value that are shown or looked for
_T = TypeVar("_T")
_Name = TypeVar("_Name", bound=str)


def values_of(query: str, keys: Iterable[str]) -> dict[str, str]:
    """The values of a query string by key; empty ones, as a form sends them, are left out.

    Raises BadInput for other keys than `keys`, and for one that comes twice.
    """
    known, found = list(keys), {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise BadInput(f"expected only {', '.join(known)} in the address, got {_shown(key)}")
        if key in found:
            raise BadInput(f"{key}: expected one value, got several")
        found[key] = value
    return {key: value for key, value in found.items() if value}


def question(query: str, choices: Choices) -> Question:
    """The question that a query string asks. Raises BadInput where it names what there is not."""
    keys = [key for key in Question.model_fields if key != "descending"]
    given = values_of(query, [*keys, "order"])

    def read(key: str, reader: Callable[[str, str], _T]) -> _T | None:
        return reader(key, given[key]) if key in given else None

    def stage(key: str, value: str) -> str:
        return one_of(key, value, choices.stages)

    sort = read("sort", lambda key, value: one_of(key, value, get_args(Sort))) or "id"
    found = Question(
        stage=read("stage", stage),
        cohort=read("cohort", lambda key, value: one_of(key, value, choices.cohorts)),
        level=read("level", lambda key, value: one_of(key, value, choices.levels)) or choices.levels[0],
        least=read("least", _distance),
        most=read("most", _distance),
        out=read("out", lambda key, value: one_of(key, value, get_args(Out))),
        secret=read("secret", lambda key, value: one_of(key, value, get_args(SecretOut))),
        text=read("text", _text),
        times=read("times", lambda key, value: int(one_of(key, value, [f"{n}" for n in choices.times]))),
        sort=sort,
        # A form sends it along when another order is chosen.
        by=read("by", stage) if sort == "stage" else None,
        descending=read("order", lambda key, value: one_of(key, value, ("asc", "desc"))) == "desc",
        page=number("page", given.get("page", "1")),
    )
    if found.least is not None and found.most is not None and found.least > found.most:
        raise BadInput(f"least: expected at most {found.most:g}, as `most` says, got {found.least:g}")
    if found.sort == "stage" and found.by is None:
        raise BadInput("by: expected the stage whose distances sort, got none: set it, or another `sort`")
    return found


def one_of(key: str, value: str, known: Sequence[_Name]) -> _Name:
    """The one of the known names that the value is, or is shown as. Raises BadInput where it is none of them."""
    for name in known:
        # A form sends what its page shows.
        if value in (name, visible(name, lines=False)):
            return name
    if not known:
        raise BadInput(f"{key}: expected none, since there is none yet, got {_shown(value)}")
    raise BadInput(f"{key}: expected one of {', '.join(known)}, got {_shown(value)}")


def number(key: str, value: str) -> int:
    """A number from 0 on, of no more digits than a row has of any."""
    if not (value.isascii() and value.isdecimal() and len(value) <= 18):
        raise BadInput(f"{key}: expected a whole number from 0 on, got {_shown(value)}")
    return int(value)


def _distance(key: str, value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:  # nor NaN
        raise BadInput(f"{key}: expected a number from 0 to 1, got {_shown(value)}")
    return found


def _text(key: str, value: str) -> str:
    if len(value) > _LONGEST:
        raise BadInput(f"{key}: expected {_LONGEST} characters at most, got {len(value)}")
    return value


def _shown(value: str) -> str:
    return repr(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…")
