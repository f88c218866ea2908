"""C."""

# ruff: noqa: D102  what the methods do is said in base.py

from collections.abc import Sequence

from probes.testing.pieces import Gap, Role, Rules
from probes.testing.programs import (
    CONSTANT,
    Call,
    Closure,
    Count,
    Do,
    Each,
    Expression,
    Function,
    Let,
    Peculiar,
    Special,
)
from probes.testing.writers.base import STRINGS, Writer

_C_TYPES = (
    ("int",),
    ("const", "char", "*"),
    ("struct", "box", "*", "*"),
    ("unsigned", "long"),
    ("size_t",),
    ("double",),
)
TOUCHING = frozenset(
    {"=-", "*-", "+-", ":-", ">-", "%-", "=!", "&!", "|!", "=&", "=*", "|-", "&-", "**", "?-"}
)


def plain(writer: Writer, text: str) -> str:
    """Spell a string."""
    return writer.quote(text)


class C(Writer):
    """C17."""

    rules = Rules(
        touching=TOUCHING,
        quotable=frozenset({"return", "case", "sizeof", "else"}),
        suffixes=True,
        sticky_exponents=True,
    )
    types: Sequence[Sequence[str]] = _C_TYPES
    numbers = ("1", "0", "42u", "1000UL", "0x1F", "017", "3.14", "5.", ".5f", "1e10", "2E-5", "0x1p3", "0xE")
    strings = (
        (plain, STRINGS),
        (plain, STRINGS),
        (lambda writer, text: "L" + writer.quote(text), ("ok", "it's", "// no")),
        (lambda writer, text: "u8" + writer.quote(text), ("ok", "é")),
    )
    trailing = frozenset({"list", "record"})

    # Words

    def line(self, *words: str, function: bool = False) -> None:
        """Add a preprocessor's line; the second word is followed by its parameters if it is a `function`."""
        self.put("#", role=Role.LINE)
        for number, word in enumerate(words):
            if number == 2 and function:
                self.hold(Gap.GLUED)
            elif number < 3 or words[0] != "define":  # where the grammars know no line that goes on
                self.hold(Gap.INLINE)
            self.put(word)
        self.put("", role=Role.LINE_END)

    # Expressions

    def imported(self) -> None:
        self.put("config")

    def listing(self, items: Sequence[Expression]) -> None:
        self.words("( int [ ] ) {")
        if items:
            self.several(items, "list")
        else:
            self.put("0")
        self.put("}")

    def table(self, entries: Sequence[tuple[Expression, Expression]]) -> None:
        self.words("( int [ ] ) {")
        for number, (_, value) in enumerate(entries):
            self.put("[", str(number), "]", "=")
            self.expression(value)
            self.put(",")
        self.words("[ 9 ] = 1")
        self.comma("list")
        self.put("}")

    def record(self, fields: Sequence[tuple[str, Expression]]) -> None:
        self.words("( struct box ) {")
        for number, (name, value) in enumerate(fields):
            if number:
                self.put(",")
            self.put(".", name, "=")
            self.expression(value)
        if fields:
            self.comma("record")
        else:
            self.put("0")
        self.put("}")

    def closure(self, slot: int, body: Expression) -> None:
        self.put("&", "walk")

    def _pointer(self, it: Peculiar) -> None:
        self.words("* * config -> next")
        self.put("+")
        self.operand(it.operand)

    def _cast(self, it: Peculiar) -> None:
        self.put("(", *self.types[it.variant // 8 % 2], ")")
        self.operand(it.operand)

    def _sizeof(self, it: Peculiar) -> None:
        self.words("sizeof ( int ) >> 2 ^ ~ 3")
        self.put("|")
        self.operand(it.operand)

    def _address(self, it: Peculiar) -> None:
        self.put("walk", "(", "&", self.name(0), ",")
        self.expression(it.operand)
        self.put(")")

    def _macro(self, it: Peculiar) -> None:
        self.put("SQUARE", "(")
        self.expression(it.operand)
        self.put(")")

    def _adjacent(self, it: Peculiar) -> None:
        self.words('"a" "b\'c" [')
        self.expression(it.operand)
        self.put("]")

    peculiar = (_pointer, _cast, _sizeof, _address, _macro, _adjacent)

    # Statements

    def let(self, let: Let) -> None:
        kind = 0 if isinstance(let.value, Closure) else let.variant
        self.put(*self.types[kind % len(self.types)], self.name(let.slot), "=")
        self.expression(let.value)

    def each(self, each: Each) -> None:
        name = self.name(each.slot)
        self.put("for", "(", "struct", "box", "*", name, "=")
        self.expression(each.source)
        self.put(";", name, ";", name, "=", name, "->", "next", ")")
        self.block(each.body)

    def count(self, count: Count) -> None:
        name = self.name(count.slot)
        self.put("for", "(", "int", name, "=", "0", ";", name, "<")
        self.expression(count.limit)
        self.put(";", "++", name, ")")
        self.block(count.body)

    def _switch(self, it: Special) -> None:
        self.put("switch", "(")
        self.expression(it.value)
        self.put(")")
        self.put("{", role=Role.OPEN)
        self.words("case 1 : case 'b' :")
        self.block((Let(it.slot, it.value, 0), *it.body))
        self.words("default : break")
        self.end()
        self.put("}", role=Role.CLOSE)

    def _do(self, it: Special) -> None:
        name = self.name(it.slot)
        self.put("int", name, "[", "3", "]", "=", "{", "1", ",", "2")
        self.comma("list")
        self.put("}")
        self.end()
        self.put("do")
        self.block(it.body)
        self.put("while", "(", name, "[", "0", "]", "--", ">", "3", ")")
        self.end()

    def _conditional(self, it: Special) -> None:
        self.statement(Let(it.slot, it.value, 0))
        self.line("if", "defined", "(", "DEBUG", ")", "&&", "LEVEL", ">", "2")
        self.statement(Do(Call("compute", (it.value,), "")))
        self.line("else")
        for statement in it.body:
            self.statement(statement)
        self.line("endif")

    def _assigned(self, it: Special) -> None:
        name = self.name(it.slot)
        self.put("static", "volatile", "int", name, ",", "*", "other", "=", "&", name)
        self.end()
        self.words("* other =")
        self.expression(it.value)
        self.end()
        self.put("{", role=Role.OPEN)
        for statement in it.body:
            self.statement(statement)
        self.put("}", role=Role.CLOSE)

    specials = (_switch, _do, _conditional, _assigned)

    # Files

    def file(self) -> None:
        variant = self.program.variant
        for line in ("<stdio.h>", '"box.h"', "<sys/types.h>")[: self.program.imports]:
            self.line("include", line)
        self.line("define", CONSTANT, self.constant())
        if variant & 1:
            self.line(
                "define", "SQUARE", "(", "x", ")", "(", "(", "x", ")", "*", "(", "x", ")", ")", function=True
            )
        if variant & 2:
            self.line("ifdef", "DEBUG")
            self.line("define", "LEVEL", '"it\'s"', "'\\''")
            self.line("endif")
        self.types_of_file(variant)
        self.functions()

    def types_of_file(self, variant: int) -> None:
        """Add the file's own types."""
        if variant & 4:
            self.documented()
            self.words("typedef struct box")
            self.put("{", role=Role.OPEN)
            self.words("int size : 3")
            self.end()
            self.words("char * name [ 4 ]")
            self.end()
            self.put("}", role=Role.CLOSE)
            self.put("box_t")
            self.end()
        if variant & 8:
            self.words("enum kind { FIRST , SECOND = 2")
            self.comma("list")
            self.put("}")
            self.end()

    def function(self, function: Function) -> None:
        variant = function.variant
        self.documented()
        if variant & 1:
            self.put("static", "inline")
        self.put(*self.types[variant // 2 % 2], function.name, "(")
        self.parameters(function)
        self.put(")")
        self.block(function.body)

    def parameters(self, function: Function) -> None:
        """Add what stands between the brackets."""
        for slot in range(function.parameters):
            if slot:
                self.put(",")
            kind = self.types[(function.variant // 32 + slot) % len(self.types)]
            self.put(*kind, self.name(slot))
            if function.variant & 4 and slot == 0 and kind[-1] != "&":
                self.put("[", "]")
        if not function.parameters:
            self.put("void")
