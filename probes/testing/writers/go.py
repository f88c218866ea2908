"""Go."""

# ruff: noqa: D102  what the methods do is said in base.py

from collections.abc import Sequence

from probes.testing.pieces import Role, Rules
from probes.testing.programs import (
    CONSTANT,
    Choice,
    Count,
    Each,
    Expression,
    Function,
    If,
    Let,
    Peculiar,
    Return,
    Special,
    Statement,
    While,
)
from probes.testing.writers.base import RAW_STRINGS, STRINGS, Writer

_TYPES = (
    ("int",),
    ("[", "]", "string"),
    ("map", "[", "string", "]", "[", "]", "int"),
    ("*", "Box"),
    ("func", "(", "int", ")", "error"),
    ("chan", "int"),
    ("List", "[", "List", "[", "int", "]", "]"),
)


_GOING_ON = frozenset(
    {
        *(
            "case",
            "chan",
            "const",
            "default",
            "defer",
            "else",
            "for",
            "func",
            "go",
            "if",
            "import",
            "interface",
        ),
        *("map", "package", "range", "select", "struct", "switch", "type", "var"),
    }
)


def _plain(writer: Writer, text: str) -> str:
    return writer.quote(text.replace("\\'", "'"))


def _raw(writer: Writer, text: str) -> str:
    return f"`{text}`"


class Go(Writer):
    """Go with type parameters."""

    rules = Rules(
        separator_needed=False,
        ends_itself=(")", "]", "}", "++", "--"),
        continues_itself=_GOING_ON,
        touching=frozenset({"=-", "*-", "+-", ":-", "|-", ">-", "%-", "=!", "&!", "|!", "=&", "=*", "=<"}),
        quotable=frozenset({"return", "case", "import", "range"}),
    )
    numbers = (
        "1",
        "0",
        "42",
        "1_000",
        "0x1F",
        "0b101",
        "0o17",
        "3.14",
        "5.",
        ".5",
        "1e10",
        "2E-5",
        "2i",
        "0x1p-2",
    )
    strings = (
        (_plain, STRINGS),
        (_plain, STRINGS),
        (_raw, RAW_STRINGS),
        (_raw, ("a\n  b", "// no\n", 'it\'s\n"x"', "a\n\tb\n")),
        (_plain, STRINGS),
    )
    trailing = frozenset({"call", "list", "table", "record", "parameters"})
    parts_condition = False

    # Expressions

    def imported(self) -> None:
        self.put(("config", "fmt", "js", "od")[self.program.imports])

    def choice(self, choice: Choice) -> None:
        self.words("func ( ) int")
        self.block((If(choice.condition, (Return(choice.yes),), (), False), Return(choice.no)))
        self.put("(", ")")

    def listing(self, items: Sequence[Expression]) -> None:
        self.words("[ ] int {")
        self.several(items, "list")
        self.put("}")

    def table(self, entries: Sequence[tuple[Expression, Expression]]) -> None:
        self.words("map [ string ] int {")
        self.entries(entries, ":", "table")
        self.put("}")

    def record(self, fields: Sequence[tuple[str, Expression]]) -> None:
        self.words("& Box {")
        self.entries(fields, ":", "record")
        self.put("}")

    def closure(self, slot: int, body: Expression) -> None:
        self.put("func", "(", self.name(slot), "int")
        self.comma("parameters")
        self.put(")", "int")
        self.block((Return(body),))

    def _keyed(self, it: Peculiar) -> None:
        self.put("map", "[", "int", "]", "int", "{", self.name(0), ":")
        self.expression(it.operand)
        self.comma("table")
        self.put("}")

    def _receive(self, it: Peculiar) -> None:
        self.put("<-")
        self.operand(it.operand)

    def _slice(self, it: Peculiar) -> None:
        self.put("items", "[")
        self.expression(it.operand)
        self.put(":", "]")

    def _assert(self, it: Peculiar) -> None:
        self.operand(it.operand)
        self.words(". ( * Box )")

    def _spread(self, it: Peculiar) -> None:
        self.words("append ( items ,")
        self.operand(it.operand)
        self.put("...")
        self.comma("call")
        self.put(")")

    def _generic(self, it: Peculiar) -> None:
        self.words("Pair [ int , [ ] string ] { { 1 } ,")
        self.expression(it.operand)
        self.comma("list")
        self.put("}")

    def _without(self, it: Peculiar) -> None:
        self.operand(it.operand)
        self.put("&^", "2")

    peculiar = (_keyed, _receive, _slice, _assert, _spread, _generic, _without)

    # Statements

    def after_block(self) -> None:
        self.end()

    def let(self, let: Let) -> None:
        if let.variant % 3 == 1:
            self.put("var", self.name(let.slot), *_TYPES[let.variant // 3 % len(_TYPES)], "=")
        elif let.variant % 3 == 2:
            self.put(self.name(let.slot), ",", "_", ":=")
        else:
            self.put(self.name(let.slot), ":=")
        self.expression(let.value)

    def statement(self, statement: Statement) -> None:
        if isinstance(statement, While):
            self.put("for")
            self.condition(statement.condition)
            self.block(statement.body)
            self.end()
        else:
            super().statement(statement)

    def each(self, each: Each) -> None:
        self.put("for", "_", ",", self.name(each.slot), ":=", "range")
        self.expression(each.source)
        self.block(each.body)

    def count(self, count: Count) -> None:
        name = self.name(count.slot)
        self.put("for", name, ":=", "0", ";", name, "<")
        self.expression(count.limit)
        self.put(";", name, "++")
        self.block(count.body)

    def _switch(self, it: Special) -> None:
        self.put("switch", self.name(it.slot), ":=")
        self.expression(it.value)
        self.put(";", self.name(it.slot))
        self.put("{", role=Role.OPEN)
        self.words("case 1 , 'a' :")
        for statement in it.body:
            self.statement(statement)
        self.put("default", ":")
        self.words('panic ( "no"')
        self.comma("call")
        self.put(")")
        self.end()
        self.put("}", role=Role.CLOSE)
        self.end()

    def _if_with(self, it: Special) -> None:
        self.put("if", "_", ",", self.name(it.slot), ":=")
        self.expression(it.value)
        self.put(";", self.name(it.slot), "!=", "nil")
        self.block(it.body)
        self.end()

    def _defer(self, it: Special) -> None:
        self.put(("defer", "go")[it.variant // 64 % 2], "func", "(", self.name(it.slot), "...", "int")
        self.comma("parameters")
        self.put(")")
        self.block(it.body)
        self.put("(")
        self.expression(it.value)
        self.comma("call")
        self.put(")")
        self.end()

    def _select(self, it: Special) -> None:
        self.put("select")
        self.put("{", role=Role.OPEN)
        self.put("case", self.name(it.slot), ":=", "<-", "events", ":")
        for statement in it.body:
            self.statement(statement)
        self.words("case events <- 1 :")
        self.words("events <- 2")
        self.end()
        self.put("}", role=Role.CLOSE)
        self.end()

    def _types(self, it: Special) -> None:
        self.put("switch", self.name(it.slot), ":=")
        self.operand(it.value)
        self.words(". ( type )")
        self.put("{", role=Role.OPEN)
        self.words("case * Box , nil :")
        for statement in it.body:
            self.statement(statement)
        self.put("}", role=Role.CLOSE)
        self.end()

    specials = (_switch, _if_with, _defer, _select, _types)

    # Files

    def file(self) -> None:
        variant = self.program.variant
        self.put("package", "box")
        self.end()
        if self.program.imports:
            self.put("import")
            self.put("(", role=Role.OPEN)
            for line in ('"fmt"', 'js "encoding/json"', 'od "example.org/a-b"')[: self.program.imports]:
                self.put(*line.split())
                self.end()
            self.put(")", role=Role.CLOSE)
            self.end()
        self.put("const", CONSTANT, "=", self.constant())
        self.end()
        if variant & 1:
            self.documented()
            self.words("type Box struct")
            self.put("{", role=Role.OPEN)
            self.words('size , total int `json:"size"`')
            self.end()
            self.put("*", "Base")
            self.end()
            self.put("}", role=Role.CLOSE)
            self.end()
        if variant & 2:
            self.words("type Shape interface")
            self.put("{", role=Role.OPEN)
            self.words("walk ( at int ) ( int , error )")
            self.end()
            self.put("}", role=Role.CLOSE)
            self.end()
        self.functions()

    def function(self, function: Function) -> None:
        variant = function.variant
        self.documented()
        self.put("func")
        if variant & 1:
            self.put("(", "box", "*", "Box", ")", function.name)
        else:
            self.put(function.name)
            if variant & 2:
                self.words("[ T any , K ~ int | string ]")
        self.put("(")
        for slot in range(function.parameters):
            if slot:
                self.put(",")
            self.local(slot)
            if slot and slot == function.parameters - 1 and variant & 4:
                self.put("...")
            self.put(*_TYPES[(variant // 32 + slot) % len(_TYPES)])
        if function.parameters:
            self.comma("parameters")
        self.put(")")
        if variant & 8:
            self.words("( int , error")
            self.comma("parameters")
            self.put(")")
        elif variant & 16:
            self.put("error")
        self.block(function.body)
        self.end()
