"""Java."""

# ruff: noqa: D102  what the methods do is said in base.py

from collections.abc import Sequence

from probes.testing.pieces import Role, Rules
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
    Return,
    Special,
)
from probes.testing.writers.base import NAMES, STRINGS, Writer

_TYPES = (
    ("int",),
    ("List", "<", "List", "<", "String", ">", ">"),
    ("Map", "<", "String", ",", "int", "[", "]", ">"),
    ("var",),
    ("double", "[", "]"),
    ("java", ".", "util", ".", "Set", "<", "?", "extends", "Box", ">"),
)


def _plain(writer: Writer, text: str) -> str:
    return writer.quote(text)


def _block(writer: Writer, text: str) -> str:
    return f'"""\n{text}"""'


class Java(Writer):
    """Java 17."""

    rules = Rules(
        touching=frozenset({"=-", "*-", "+-", ":-", "|-", "&-", ">-", "%-", "=!", "&!", "|!", "?-", ">>"}),
        quotable=frozenset({"return", "case", "throw", "assert"}),
    )
    names = (*NAMES, "$el")
    numbers = (
        "1",
        "0",
        "42L",
        "1_000",
        "0x1F",
        "0b101",
        "017",
        "3.14",
        "5.",
        ".5f",
        "1e10",
        "2E-5d",
        "0x1p3",
        "0xE",
    )
    strings = (
        (_plain, STRINGS),
        (_plain, STRINGS),
        (_block, ("ok", "  it's\n  // no\n", 'say "x"\n', "a\n\\t/* b */\n")),
        (_plain, STRINGS),
    )
    trailing = frozenset({"list"})

    # Expressions

    def call(self, call: Call) -> None:
        if isinstance(call.function, int):  # a function that is a value has a method
            self.local(call.function)
            self.words(". apply (")
            self.several(call.arguments, "call")
            self.put(")")
        else:
            super().call(call)

    def imported(self) -> None:
        self.put(*(("Math",), ("List",), ("Map",), ("System", ".", "out"))[self.program.imports])

    def listing(self, items: Sequence[Expression]) -> None:
        self.words("new int [ ] {")
        self.several(items, "list")
        self.put("}")

    def table(self, entries: Sequence[tuple[Expression, Expression]]) -> None:
        self.words("Map . of (")
        self.several([each for entry in entries for each in entry], "call")
        self.put(")")

    def record(self, fields: Sequence[tuple[str, Expression]]) -> None:
        self.words("new Box < > (")
        self.several([value for _, value in fields], "call")
        self.put(")")

    def closure(self, slot: int, body: Expression) -> None:
        if slot % 3 == 1:
            self.put("(", "int", self.name(slot), ")", "->")
        else:
            self.put(self.name(slot), "->")
        if slot % 2:
            self.block((Return(body),))
        else:
            self.operand(body)

    def _cast(self, it: Peculiar) -> None:
        self.words("( int )")
        self.operand(it.operand)
        self.put(">>>", "2")

    def _instance(self, it: Peculiar) -> None:
        self.operand(it.operand)
        self.put("instanceof", "String", self.name(it.slot))

    def _reference(self, it: Peculiar) -> None:
        self.words("walk ( Box :: load_all ,")
        self.expression(it.operand)
        self.put(")")

    def _anonymous(self, it: Peculiar) -> None:
        self.words("new Runnable ( )")
        self.put("{", role=Role.OPEN)
        self.words("@ Override public void run ( )")
        self.block((Do(Call("compute", (it.operand,), "")),))
        self.put("}", role=Role.CLOSE)

    def _switching(self, it: Peculiar) -> None:
        self.put("switch", "(")
        self.expression(it.operand)
        self.put(")")
        self.put("{", role=Role.OPEN)
        self.words("case 1 , 2 -> 'a'")
        self.end()
        self.words("default -> 'b'")
        self.end()
        self.put("}", role=Role.CLOSE)

    peculiar = (_cast, _instance, _reference, _anonymous, _switching)

    # Statements

    def let(self, let: Let) -> None:
        if let.variant & 64:
            self.put("final")
        kind = 3 if isinstance(let.value, Closure) else let.variant
        self.put(*_TYPES[kind % len(_TYPES)], self.name(let.slot), "=")
        self.expression(let.value)

    def each(self, each: Each) -> None:
        self.put("for", "(", *_TYPES[each.slot % len(_TYPES)], self.name(each.slot), ":")
        self.expression(each.source)
        self.put(")")
        self.block(each.body)

    def count(self, count: Count) -> None:
        name = self.name(count.slot)
        self.put("for", "(", "int", name, "=", "0", ";", name, "<")
        self.expression(count.limit)
        self.put(";", name, "++", ")")
        self.block(count.body)

    def _try(self, it: Special) -> None:
        self.put("try")
        if it.variant & 64:
            self.words("( var in = open (")
            self.expression(it.value)
            self.put(")", ")")
        self.block((Do(Call("compute", (it.value,), "")),))
        self.put("catch", "(", "IOException", "|", "Error", self.name(it.slot), ")")
        self.block(it.body)
        if it.variant & 128:
            self.put("finally")
            self.block((Do(Call("walk", (), "")),))

    def _switch(self, it: Special) -> None:
        self.put("switch", "(")
        self.expression(it.value)
        self.put(")")
        self.put("{", role=Role.OPEN)
        self.words("case 1 :")
        self.put("{", role=Role.OPEN)
        self.statement(Let(it.slot, it.value, 0))
        for statement in it.body:
            self.statement(statement)
        self.put("}", role=Role.CLOSE)
        self.words('default : throw new Error ( "no" )')
        self.end()
        self.put("}", role=Role.CLOSE)

    def _synchronized(self, it: Special) -> None:
        self.put("assert")
        self.expression(it.value)
        self.put(":", '"that\'s it"')
        self.end()
        self.words("synchronized ( this )")
        self.put("{", role=Role.OPEN)
        self.statement(Let(it.slot, it.value, 3))
        for statement in it.body:
            self.statement(statement)
        self.put("}", role=Role.CLOSE)

    def _do(self, it: Special) -> None:
        name = self.name(it.slot)
        self.put("int", "[", "]", name, "=", "{", "1", ",", "2")
        self.comma("list")
        self.put("}")
        self.end()
        self.put("do")
        self.block(it.body)
        self.put("while", "(", name, "[", "0", "]", "--", ">", "3", ")")
        self.end()

    specials = (_try, _switch, _synchronized, _do)

    # Files

    def file(self) -> None:
        variant = self.program.variant
        if variant & 1:
            self.words("package org . example")
            self.end()
        imports = (
            ("import", "java", ".", "util", ".", "List"),
            ("import", "java", ".", "util", ".", "*"),
            ("import", "static", "java", ".", "lang", ".", "Math", ".", "abs"),
        )
        for line in imports[: self.program.imports]:
            self.put(*line)
            self.end()
        if variant & 4:
            self.words("enum Kind { FIRST , SECOND ( 2 )")
            self.comma("list")
            self.put("}")
        if variant & 8:
            self.words("record Pair < T > ( int size , T total ) { }")
        self.documented()
        if variant & 16:
            self.words('@ SuppressWarnings ( { "unchecked" , "raw"')
            self.comma("list")
            self.put("}", ")")
        self.words("public class Box < T extends Comparable < T > > extends Base")
        self.put("{", role=Role.OPEN)
        self.put("static", "final", "int", CONSTANT, "=", self.constant())
        self.end()
        self.functions()
        self.put("}", role=Role.CLOSE)

    def function(self, function: Function) -> None:
        variant = function.variant
        self.documented()
        if variant & 1:
            self.words('@ Named ( value = "a" )')
        self.put(("public", "private", "protected")[variant % 3])
        if variant & 2:
            self.put("static")
        if variant & 4:
            self.words("< K >")
        self.put(*("void",) if variant & 8 else _TYPES[variant % 3], function.name, "(")
        for slot in range(function.parameters):
            if slot:
                self.put(",")
            self.put("final") if variant & 16 else None
            self.put(*_TYPES[(variant // 32 + slot) % 3])
            if slot and slot == function.parameters - 1 and variant & 64:
                self.put("...")
            self.local(slot)
        self.put(")")
        if variant & 128:
            self.words("throws IOException , Error")
        self.block(function.body)
