"""Rust."""

# ruff: noqa: D102  what the methods do is said in base.py

from collections.abc import Callable, Sequence

from probes.testing.pieces import Role, Rules
from probes.testing.programs import (
    CONSTANT,
    Call,
    Choice,
    Closure,
    Count,
    Do,
    Each,
    Expression,
    Function,
    Let,
    Peculiar,
    Special,
    Template,
)
from probes.testing.writers.base import RAW_STRINGS, SEVERAL_LINES, STRINGS, Writer

_TYPES = (
    ("i32",),
    ("Vec", "<", "Vec", "<", "u8", ">", ">"),
    ("&", "'a", "str"),
    ("Option", "<", "Box", "<", "dyn", "Shape", ">", ">"),
    ("[", "u8", ";", "4", "]"),
    ("&", "mut", "Box"),
    ("(", "i32", ",", ")"),
)


def _plain(writer: Writer, text: str) -> str:
    return writer.quote(text)


def _raw(prefix: str, hashes: str) -> Callable[[Writer, str], str]:
    return lambda writer, text: f'{prefix}{hashes}"{text}"{hashes}'


class Rust(Writer):
    """Rust 2021."""

    rules = Rules(
        nested_comments=True,
        documents=("///", "/// "),
        suffixes=True,
        touching=frozenset(
            {"=-", "*-", "+-", ":-", ">-", "%-", "=!", "&!", "|!", "=&", "=*", ":&", ">>", "|&", "|*"}
        ),
    )
    numbers = (
        "1",
        "0",
        "42u8",
        "1_000",
        "0x1F",
        "0b101",
        "0o17",
        "3.14",
        "5.",
        "2.0f32",
        "1e10",
        "2E-5",
        "1usize",
    )
    strings = (
        (_plain, STRINGS),
        (_plain, STRINGS),
        (_raw("r", ""), tuple(text for text in RAW_STRINGS if '"' not in text)),
        (_raw("r", "#"), RAW_STRINGS),
        (lambda writer, text: "b" + writer.quote(text), ("ok", "", "it's", "// no", "/* no", "\\x00")),
        (_plain, SEVERAL_LINES),
        (_raw("r", "##"), ('a"#b', "ok", '"', "*/")),
        (_raw("br", "#"), ("ok", "\\d", '"')),
    )
    trailing = frozenset({"call", "list", "table", "record", "parameters", "imports"})
    parts_condition = False

    # Expressions

    def imported(self) -> None:
        self.put(("config", "fmt", "HashMap", "Ordered")[self.program.imports])

    def choice(self, choice: Choice) -> None:
        self.put("if")
        self.operand(choice.condition)
        self.put("{")
        self.expression(choice.yes)
        self.words("} else {")
        self.expression(choice.no)
        self.put("}")

    def listing(self, items: Sequence[Expression]) -> None:
        self.words("vec ! [")
        self.several(items, "list")
        self.put("]")

    def table(self, entries: Sequence[tuple[Expression, Expression]]) -> None:
        self.words("HashMap :: from ( [")
        for number, (key, value) in enumerate(entries):
            if number:
                self.put(",")
            self.put("(")
            self.expression(key)
            self.put(",")
            self.expression(value)
            self.comma("call")
            self.put(")")
        if entries:
            self.comma("list")
        self.put("]", ")")

    def record(self, fields: Sequence[tuple[str, Expression]]) -> None:
        self.put("Box", "{")
        self.entries(fields, ":", "record")
        self.put("}")

    def closure(self, slot: int, body: Expression) -> None:
        if slot % 2:
            self.put("move")
        self.put("|", self.name(slot))
        if slot % 3 == 1:
            self.put(":", *_TYPES[slot % 2])
        self.put("|")
        self.operand(body)

    def template(self, template: Template) -> None:
        parts = [part for part in template.parts if not isinstance(part, str)]
        self.put("format", "!", "(", '"' + "{} it's " * len(parts) + '"')
        for part in parts:
            self.put(",")
            self.expression(part)
        self.comma("call")
        self.put(")")

    def _cast(self, it: Peculiar) -> None:
        self.operand(it.operand)
        self.put("as", "u64")

    def _reference(self, it: Peculiar) -> None:
        self.put("&", "mut") if it.variant & 64 else self.put("&")
        self.operand(it.operand)

    def _question(self, it: Peculiar) -> None:
        self.words("walk :: < Vec < _ > > (")
        self.expression(it.operand)
        self.comma("call")
        self.put(")", "?")

    def _match(self, it: Peculiar) -> None:
        self.put("match")
        self.operand(it.operand)
        self.put("{", role=Role.OPEN)
        self.put(
            "Some",
            "(",
            self.name(it.slot),
            ")",
            "if",
            self.name(it.slot),
            ">",
            "3",
            "=>",
            self.name(it.slot),
            ",",
        )
        self.words("'a' ..= 'z' | '\\'' => 1 ,")
        self.words("_ => 0")
        self.comma("list")
        self.put("}", role=Role.CLOSE)

    def _range(self, it: Peculiar) -> None:
        self.words("items [ 1 ..")
        self.operand(it.operand)
        self.put("]")

    def _tuple(self, it: Peculiar) -> None:
        self.put("(")
        self.expression(it.operand)
        self.put(",", ")")

    peculiar = (_cast, _reference, _question, _match, _range, _tuple)

    # Statements

    def let(self, let: Let) -> None:
        self.put("let")
        if let.variant & 1:
            self.put("mut")
        self.put(self.name(let.slot))
        if let.variant % 3 == 1 and not isinstance(let.value, Closure):
            self.put(":", *_TYPES[let.variant // 3 % len(_TYPES)])
        self.put("=")
        self.expression(let.value)

    def each(self, each: Each) -> None:
        self.put("for", self.name(each.slot), "in")
        self.expression(each.source)
        self.block(each.body)

    def count(self, count: Count) -> None:
        if count.slot % 2:
            self.put("'outer", ":")
        self.put("for", self.name(count.slot), "in", "0", "..")
        self.expression(count.limit)
        self.block(count.body)

    def _if_let(self, it: Special) -> None:
        self.put(("if", "while")[it.variant // 64 % 2], "let", "Some", "(", self.name(it.slot))
        self.comma("call")
        self.put(")", "=")
        self.expression(it.value)
        self.block(it.body)

    def _matching(self, it: Special) -> None:
        self.put("match")
        self.expression(it.value)
        self.put("{", role=Role.OPEN)
        self.put("Kind", "::", "First", "{", "size", ":", self.name(it.slot), ",", "..", "}", "=>")
        self.block(it.body)
        self.comma("list")
        self.words("_ => ( )")
        self.comma("list")
        self.put("}", role=Role.CLOSE)

    def _loop(self, it: Special) -> None:
        self.words("'a : loop")
        self.block((Let(it.slot, it.value, 0), *it.body))

    def _unsafe(self, it: Special) -> None:
        self.put("println", "!", "(", '"{:?} {{}}"', ",")
        self.expression(it.value)
        self.comma("call")
        self.put(")")
        self.end()
        self.put("unsafe")
        self.block((Let(it.slot, it.value, 4), *it.body))

    def _inner(self, it: Special) -> None:
        self.put("fn", "inner", "<", "'b", ">", "(", self.name(it.slot), ":", "&", "'b", "str")
        self.comma("parameters")
        self.put(")")
        self.block((Do(Call("compute", (), "")), *it.body))

    specials = (_if_let, _matching, _loop, _unsafe, _inner)

    # Files

    def file(self) -> None:
        variant = self.program.variant
        imports = (
            ("use", "std", "::", "fmt"),
            ("use", "std", "::", "collections", "::", "{", "HashMap", ",", "BTreeMap", "as", "Ordered"),
            ("use", "crate", "::", "shapes", "::", "*"),
        )
        for line in imports[: self.program.imports]:
            self.put(*line)
            if "{" in line:
                self.comma("imports")
                self.put("}")
            self.end()
        self.put("const", CONSTANT, ":", "f64", "=", self.constant())
        self.end()
        if variant & 1:
            self.documented()
            self.words("# [ derive ( Debug , Clone")
            self.comma("call")
            self.words(") ] pub struct Box < 'a , T : Copy >")
            self.put("{", role=Role.OPEN)
            self.words("size : & 'a T ,")
            self.words("pub total : Vec < Option < T > >")
            self.comma("record")
            self.put("}", role=Role.CLOSE)
        if variant & 2:
            self.words("enum Kind { First { size : i32 } , Second ( u8 )")
            self.comma("record")
            self.put("}")
        if variant & 4:
            self.put("macro_rules!", "square")
            self.put("{", role=Role.OPEN)
            self.words("( $a : expr ) => { $a * $a }")
            self.end()
            self.put("}", role=Role.CLOSE)
        method = bool(variant & 128)
        if method:
            self.words("impl < 'a > Shape for Other < 'a >")
            self.put("{", role=Role.OPEN)
        self.functions()
        if method:
            self.put("}", role=Role.CLOSE)

    def function(self, function: Function) -> None:
        variant = function.variant
        method = bool(self.program.variant & 128)
        self.documented()
        if variant & 1:
            self.words("# [ inline ]")
        if variant & 2 and not method:
            self.words("pub ( crate )")
        self.put("fn", function.name)
        if variant & 4:
            self.words("< 'a , T : Clone + 'a >")
        self.put("(")
        if method:
            self.put("&", "self")
        for slot in range(function.parameters):
            if slot or method:
                self.put(",")
            self.put("mut") if variant & 8 else None
            self.put(self.name(slot), ":", *_TYPES[(variant // 32 + slot) % len(_TYPES)])
        if function.parameters or method:
            self.comma("parameters")
        self.put(")")
        if variant & 16:
            self.put("->", *_TYPES[variant // 64 % len(_TYPES)])
        if variant & 4 and variant & 32:
            self.words("where T : Copy")
            self.comma("parameters")
        self.block(function.body)
