"""Small programs of no language in particular: expressions, statements, functions."""

from dataclasses import dataclass
from typing import NamedTuple

CONSTANT = "LIMIT"
"""The name of every program's constant."""


# Expressions


class Local(NamedTuple):
    """A local or parameter. Which name it has is a matter of style."""

    slot: int


class Value(NamedTuple):
    """A literal, by its number in the program."""

    number: int


class Name(NamedTuple):
    """A name from outside: a constant of the file."""

    word: str


class Call(NamedTuple):
    """A call to a function of the file, to a built-in or, with a slot for its function, to a local."""

    function: "str | int"
    arguments: "tuple[Expression, ...]"
    keyword: str
    """The last argument is given by this name, where the language has such; empty for none."""


class Member(NamedTuple):
    """`owner.name`, or with arguments `owner.name(...)`. No owner stands for the first thing imported."""

    owner: "Expression | None"
    name: str
    arguments: "tuple[Expression, ...] | None"


class Index(NamedTuple):
    """`owner[key]`."""

    owner: Local
    key: "Expression"


class Binary(NamedTuple):
    """Two operands; the operator as Python spells it."""

    operator: str
    left: "Expression"
    right: "Expression"


class Unary(NamedTuple):
    """`-` or `not`."""

    operator: str
    operand: "Expression"


class Choice(NamedTuple):
    """One of two values, by a condition."""

    condition: "Expression"
    yes: "Expression"
    no: "Expression"


class Listing(NamedTuple):
    """A list, array or vector."""

    items: "tuple[Expression, ...]"


class Table(NamedTuple):
    """A mapping with entries, or what comes nearest."""

    entries: "tuple[tuple[Expression, Expression], ...]"


class Record(NamedTuple):
    """A structure with named fields."""

    fields: "tuple[tuple[str, Expression], ...]"


class Closure(NamedTuple):
    """A function of one parameter that is a value."""

    slot: int
    body: "Expression"


class Template(NamedTuple):
    """A string with expressions in it; texts at even places."""

    parts: "tuple[str | Expression, ...]"
    form: int


class Peculiar(NamedTuple):
    """An expression that only this language has, which may bind the slot in itself.

    Which one, is the variant modulo their number.
    """

    variant: int
    slot: int
    operand: "Expression"


Expression = (
    Local
    | Value
    | Name
    | Call
    | Member
    | Index
    | Binary
    | Unary
    | Choice
    | Listing
    | Table
    | Record
    | Closure
    | Template
    | Peculiar
)


# Statements


class Let(NamedTuple):
    """A new local."""

    slot: int
    value: Expression
    variant: int


class Assign(NamedTuple):
    """A new value for a local, or with an operator a changed one."""

    slot: int
    operator: str
    value: Expression


class Do(NamedTuple):
    """An expression for its effect."""

    value: Call | Member


class Return(NamedTuple):
    """Leave the function."""

    value: Expression | None


class Leave(NamedTuple):
    """`break` or `continue`."""

    word: str


class If(NamedTuple):
    """A condition with one or two blocks."""

    condition: Expression
    body: "Block"
    otherwise: "Block"
    inline: bool
    """Python: on one line, if the body is one plain statement."""


class While(NamedTuple):
    """A loop on a condition."""

    condition: Expression
    body: "Block"


class Each(NamedTuple):
    """A loop over the items of something."""

    slot: int
    source: Expression
    body: "Block"


class Count(NamedTuple):
    """A loop over numbers."""

    slot: int
    limit: Expression
    body: "Block"


class Special(NamedTuple):
    """A statement that only this language has. It binds the slot for its body."""

    variant: int
    slot: int
    value: Expression
    body: "Block"


Statement = Let | Assign | Do | Return | Leave | If | While | Each | Count | Special
Block = tuple[Statement, ...]


class Literal(NamedTuple):
    """A literal: its kind, and which of the language's forms and values it takes."""

    kind: str
    """`number`, `string` or `char`."""
    form: int
    value: int
    text: str | None = None
    """What a string or number holds instead of one of the usual values."""


class Function(NamedTuple):
    """A function or method."""

    name: str
    parameters: int
    """How many; they have the first slots."""
    variant: int
    body: Block


@dataclass(frozen=True, kw_only=True)
class Program:
    """A file: imports, a constant, perhaps a type, and functions."""

    imports: int
    variant: int
    constant: Value
    functions: tuple[Function, ...]
    literals: tuple[Literal, ...]
