"""Programs grown from bytes that hypothesis draws.

Each statement has bytes of its own (a gene), and where they end every choice is the plainest one. So hypothesis,
which drops genes and lowers bytes, shrinks a program statement by statement.
"""

from collections.abc import Sequence
from typing import TypeVar

from probes.testing.programs import (
    CONSTANT,
    Assign,
    Binary,
    Block,
    Call,
    Choice,
    Closure,
    Count,
    Do,
    Each,
    Expression,
    Function,
    If,
    Index,
    Leave,
    Let,
    Listing,
    Literal,
    Local,
    Member,
    Name,
    Peculiar,
    Program,
    Record,
    Return,
    Special,
    Statement,
    Table,
    Template,
    Unary,
    Value,
    While,
)

_T = TypeVar("_T")

MEMBERS = ("size", "value", "load_all", "total", "Kind", "isReady", "item")
"""Names after a dot. Locals may have the same names."""
FUNCTIONS = ("compute", "merge_rows", "buildIndex", "Parse", "walk")
TEXTS = ("", "n = ", "it's ", " - ", "# ", "// ", "é: ")
"""Between the expressions of a template."""
_ARITHMETIC = ("+", "-", "*", "/", "%", "&", "|", "<<", ">>")
_COMPARISONS = ("<", "==", "!=", ">=", ">", "<=")
_LONGEST_BODY = 3
_DEEPEST = 3


class Tape:
    """Choices read from bytes, one byte each; the first option after their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, bound: int) -> int:
        """Return a number from 0 to `bound` - 1."""
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1] % bound

    def pick(self, options: Sequence[_T]) -> _T:
        """Return one of the options."""
        return options[self.below(len(options))]


class _Grower:
    """Reads genes one after another; each statement takes one, and a block those of its body."""

    def __init__(self, genes: Sequence[bytes]) -> None:
        self._genes = iter(genes)
        self.literals: list[Literal] = []
        self._fresh = 0

    def functions(self, header: Tape) -> list[Function]:
        """Return the functions: as many as there are genes for, the first one always."""
        found = []
        for number in range(3):
            variant, parameters = header.below(256), header.below(4)
            self._fresh = parameters
            first = self._let(header)
            scope = [*range(parameters), first.slot]
            rest = self._block(scope, 8, 0, loop=False)
            if number and not rest:
                break
            found.append(Function(FUNCTIONS[number], parameters, variant, (first, *rest)))
        return found

    def value(self, tape: Tape, kinds: Sequence[str] = ("number", "string", "char")) -> Value:
        """Return a new literal."""
        self.literals.append(Literal(tape.pick(kinds), tape.below(256), tape.below(256)))
        return Value(len(self.literals) - 1)

    def _slot(self) -> int:
        self._fresh += 1
        return self._fresh - 1

    def _let(self, tape: Tape) -> Let:
        value = self.value(tape)
        return Let(self._slot(), value, tape.below(256))

    def _block(self, scope: list[int], most: int, depth: int, *, loop: bool) -> Block:
        found: list[Statement] = []
        scope = list(scope)
        while len(found) < most and (gene := next(self._genes, None)) is not None:
            found.append(self._statement(Tape(gene), scope, depth, loop=loop))
        return tuple(found)

    def _body(self, tape: Tape, scope: list[int], depth: int, *, loop: bool) -> Block:
        """Return a block that is not empty."""
        found = self._block(scope, 1 + tape.below(_LONGEST_BODY), depth + 1, loop=loop)
        return found or (Return(Local(scope[-1])),)

    def _statement(self, tape: Tape, scope: list[int], depth: int, *, loop: bool) -> Statement:
        kinds = ["do", "let", "let", "assign", "augment", "return", "let", "do"]
        if depth < _DEEPEST:
            kinds += ["if", "if", "else", "while", "each", "count", "special", "special", "special"]
        if loop:
            kinds += ["leave"]
        kind = tape.pick(kinds)
        if kind == "let":
            value = self._expression(tape, scope, 2)
            scope.append(self._slot())
            return Let(scope[-1], value, tape.below(256))
        if kind in ("assign", "augment"):
            operator = tape.pick(("+", "-", "*", "|", "<<")) if kind == "augment" else ""
            return Assign(tape.pick(scope), operator, self._expression(tape, scope, 2))
        if kind == "return":
            return Return(self._expression(tape, scope, 2) if tape.below(4) else None)
        if kind == "leave":
            return Leave(tape.pick(("break", "continue")))
        if kind in ("if", "else"):
            condition, inline = self._condition(tape, scope), tape.below(3) == 1
            body = self._body(tape, scope, depth, loop=loop)
            return If(
                condition, body, self._body(tape, scope, depth, loop=loop) if kind == "else" else (), inline
            )
        if kind == "while":
            return While(self._condition(tape, scope), self._body(tape, scope, depth, loop=True))
        if kind in ("each", "count"):
            source = self._simple(tape, scope)
            slot = self._slot()
            body = self._body(tape, [*scope, slot], depth, loop=True)
            return Each(slot, source, body) if kind == "each" else Count(slot, source, body)
        if kind == "special":
            variant, value = tape.below(256), self._simple(tape, scope)
            slot = self._slot()
            return Special(variant, slot, value, self._body(tape, [*scope, slot], depth, loop=False))
        return Do(self._call(tape, scope, 2) if tape.below(2) else self._member(tape, scope, 2, called=True))

    def _condition(self, tape: Tape, scope: list[int]) -> Expression:
        test = Binary(tape.pick(_COMPARISONS), self._simple(tape, scope), self._simple(tape, scope))
        kind = tape.below(6)
        if kind == 1:
            return Unary("not", self._simple(tape, scope))
        if kind in (2, 3):
            return Binary(("and", "or")[kind - 2], test, self._simple(tape, scope))
        return self._simple(tape, scope) if kind == 4 else test

    def _simple(self, tape: Tape, scope: list[int]) -> Expression:
        """Return what may stand anywhere without brackets."""
        kind = tape.below(5)
        if kind == 1:
            return self.value(tape)
        if kind == 2:
            return self._call(tape, scope, 1)
        if kind == 3:
            return self._member(tape, scope, 1, called=tape.below(2) == 1)
        return Local(tape.pick(scope))

    def _call(self, tape: Tape, scope: list[int], room: int) -> Call:
        function = tape.pick((*FUNCTIONS, *FUNCTIONS, tape.pick(scope)))
        return Call(function, self._several(tape, scope, room), tape.pick(("", "", *MEMBERS)))

    def _member(self, tape: Tape, scope: list[int], room: int, *, called: bool) -> Member:
        owner = Local(tape.pick(scope)) if tape.below(3) else None
        name = tape.pick(MEMBERS)
        return Member(owner, name, self._several(tape, scope, room) if called else None)

    def _several(self, tape: Tape, scope: list[int], room: int) -> tuple[Expression, ...]:
        return tuple(self._expression(tape, scope, room - 1) for _ in range(tape.below(4)))

    def _expression(self, tape: Tape, scope: list[int], room: int) -> Expression:
        kind = tape.below(20 if room > 0 else 6)
        if kind in (1, 2):
            return self.value(tape)
        if kind == 3:
            return Name(CONSTANT)
        if kind == 4:
            return self._member(tape, scope, 0, called=False)
        if kind == 5:
            return Index(Local(tape.pick(scope)), self._simple(tape, scope) if room > 0 else self.value(tape))
        if kind in (6, 7):
            left, right = self._expression(tape, scope, room - 1), self._expression(tape, scope, room - 1)
            return Binary(tape.pick((*_ARITHMETIC, *_COMPARISONS, "and", "or")), left, right)
        if kind == 8:
            return Unary(tape.pick(("-", "not")), self._expression(tape, scope, room - 1))
        if kind == 9:
            return Choice(self._condition(tape, scope), self._simple(tape, scope), self._simple(tape, scope))
        if kind == 10:
            return Listing(self._several(tape, scope, room))
        if kind == 11:
            keys = [self.value(tape, ("string", "string", "number")) for _ in range(tape.below(3))]
            return Table(tuple((key, self._expression(tape, scope, room - 1)) for key in keys))
        if kind == 12:
            names = MEMBERS[: tape.below(3)]
            return Record(tuple((name, self._expression(tape, scope, room - 1)) for name in names))
        if kind == 13:
            slot = self._slot()
            return Closure(slot, self._expression(tape, [*scope, slot], room - 1))
        if kind == 14:
            parts: list[str | Expression] = [tape.pick(TEXTS)]
            for _ in range(1 + tape.below(2)):
                parts += [self._inserted(tape, scope), tape.pick(TEXTS)]
            return Template(tuple(parts), tape.below(256))
        if kind == 15:
            return self._call(tape, scope, room)
        if kind > 15:
            return Peculiar(tape.below(256), self._slot(), self._simple(tape, scope))
        return Local(tape.pick(scope))

    def _inserted(self, tape: Tape, scope: list[int]) -> Expression:
        """Return an expression without literals but for keys."""
        local = Local(tape.pick(scope))
        kind = tape.below(4)
        if kind == 1:
            return Member(local, tape.pick(MEMBERS), (Local(tape.pick(scope)),) * tape.below(3))
        if kind == 2:
            return Member(local, tape.pick(MEMBERS), None)
        if kind == 3:
            return Index(local, Local(tape.pick(scope)))
        return local


def grow(header: bytes, genes: Sequence[bytes]) -> Program:
    """Return the program that these bytes mean. It has a function, and in it a local and a literal."""
    tape = Tape(header)
    grower = _Grower(genes)
    imports, variant = tape.below(4), tape.below(256)
    constant = grower.value(tape, ("number",))
    functions = grower.functions(tape)
    return Program(
        imports=imports,
        variant=variant,
        constant=constant,
        functions=tuple(functions),
        literals=tuple(grower.literals),
    )
