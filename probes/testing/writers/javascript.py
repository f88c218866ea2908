"""JavaScript."""

# ruff: noqa: D102  what the methods do is said in base.py

from collections.abc import Mapping, Sequence
from typing import ClassVar

from probes.testing.pieces import Piece, Role, Rules
from probes.testing.programs import (
    CONSTANT,
    Call,
    Count,
    Do,
    Each,
    Expression,
    Function,
    Let,
    Literal,
    Local,
    Peculiar,
    Return,
    Special,
    Template,
    While,
)
from probes.testing.writers.base import CHARS, NAMES, SEVERAL_LINES, STRINGS, Writer

_REGEXES = ("/a+b/g", "/[/'\"]/", "/\\/\\*/i", "/(x|y){2}/", "/`/")


def _quoted(writer: Writer, text: str) -> str:
    return writer.quote(text, marks="\"'")


def _backquoted(writer: Writer, text: str) -> str:
    return f"`{text}`"


class JavaScript(Writer):
    """JavaScript, as a module."""

    typed: ClassVar[bool] = False
    """Parameters have to stand in brackets, because types follow them."""
    templates = True
    rules = Rules(
        separator_needed=False,
        hazards=(
            "(",
            "[",
            "`",
            "/",
            "+",
            "-",
            "*",
            ",",
            ".",
            "<",
            "%",
            "=",
            "&",
            "|",
            "?",
            "in ",
            "instanceof",
        ),
        touching=frozenset({"=-", "*-", "+-", ":-", "|-", "&-", ">-", "%-", "=!", "&!", "|!", "?-", ">>"}),
        quotable=frozenset(
            {"return", "typeof", "case", "else", "in", "of", "from", "import", "throw", "new"}
        ),
    )
    names = (*NAMES, "$el", "_$")
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
        "10n",
        "0xE",
    )
    strings = (
        (_quoted, STRINGS),
        (_quoted, STRINGS),
        (_backquoted, ("ok", "it's", 'say "x"', "// no", "a\\`b", "$a {b}", "", "\\${a}")),
        (_quoted, CHARS[:3]),
        (_backquoted, SEVERAL_LINES),
    )
    operators: ClassVar[Mapping[str, str]] = {"and": "&&", "or": "||", "not": "!", "==": "===", "!=": "!=="}
    trailing = frozenset({"call", "list", "table", "record", "parameters", "imports"})

    def char(self, literal: Literal) -> str:
        return self.string(literal)

    # Expressions

    def imported(self) -> None:
        self.put(("console", "fs", "js", "od")[self.program.imports])

    def table(self, entries: Sequence[tuple[Expression, Expression]]) -> None:
        self.put("{")
        for number, (key, value) in enumerate(entries):
            if number:
                self.put(",")
            held = len(self.pieces)
            self.expression(key)
            if self.pieces[held].text.startswith("`"):  # it has to be computed
                self.pieces.insert(held, Piece("["))
                self.put("]")
            self.put(":")
            self.expression(value)
        if entries:
            self.comma("table")
        self.put("}")

    def record(self, fields: Sequence[tuple[str, Expression]]) -> None:
        self.put("{")
        self.entries(fields, ":", "record")
        self.put("}")

    def closure(self, slot: int, body: Expression) -> None:
        if slot % 2 or self.typed:
            self.put("(")
            self.local(slot)
            self.type_of(slot)
            self.comma("parameters")
            self.put(")")
        else:
            self.local(slot)
        self.hold()
        self.put("=>")
        if slot % 3 == 0:
            self.put("{", role=Role.OPEN)
            self.statement(Return(body))
            self.put("}", role=Role.CLOSE)
        else:
            self.operand(body)

    def template(self, template: Template) -> None:
        text = "`"
        for part in template.parts:
            if isinstance(part, str):
                text += part
                continue
            self.put(text + "${")
            self.expression(part)
            text = "}"
        self.put(text + "`")

    def type_of(self, number: int) -> None:
        """Add a colon and a type."""

    def type_arguments(self) -> None:
        """Add the types that a call is given."""

    def type_parameters(self) -> None:
        """Add the types that a function is given."""

    def types_of_file(self) -> None:
        """Add the file's own types."""

    def _regex(self, it: Peculiar) -> None:
        self.put(_REGEXES[it.variant // 8 % len(_REGEXES)], ".", "test", "(")
        self.expression(it.operand)
        self.comma("call")
        self.put(")")

    def _new(self, it: Peculiar) -> None:
        self.put("new", "Map")
        self.type_arguments()
        self.put("(", "[")
        self.expression(it.operand)
        self.comma("list")
        self.put("]", ")")

    def _spread(self, it: Peculiar) -> None:
        self.put("{", "...")
        self.operand(it.operand)
        self.put(",", self.quote("a-b", marks="\"'"), ":", "[", "...", "rest")
        self.comma("list")
        self.put("]")
        self.comma("record")
        self.put("}")

    def _optional(self, it: Peculiar) -> None:
        self.words("config ?. size ??")
        self.operand(it.operand)

    def _typeof(self, it: Peculiar) -> None:
        self.put("typeof")
        self.operand(it.operand)
        self.put("===", self.quote("number", marks="\"'"))

    def _function(self, it: Peculiar) -> None:
        self.put("(", "function", "*", "(", self.name(it.slot))
        self.comma("parameters")
        self.put(")")
        self.put("{", role=Role.OPEN)
        self.put("yield")
        self.hold()
        self.put(self.name(it.slot))
        self.end()
        self.put("}", role=Role.CLOSE)
        self.put(")", "(")
        self.expression(it.operand)
        self.put(")")

    def _tagged(self, it: Peculiar) -> None:
        self.words("String . raw `a\\d${")
        self.expression(it.operand)
        self.put("}`")

    def _power(self, it: Peculiar) -> None:
        self.operand(it.operand)
        self.words("** 2 >>> 1 != null")

    peculiar = (_regex, _new, _spread, _optional, _typeof, _function, _tagged, _power)

    # Statements

    def let(self, let: Let) -> None:
        self.put(("let", "const", "var")[let.variant % 3], self.name(let.slot))
        if let.variant // 4 % 3 == 1:
            self.type_of(let.variant // 16)
        self.put("=")
        self.expression(let.value)

    def each(self, each: Each) -> None:
        self.put(
            "for",
            "(",
            ("const", "let")[each.slot % 2],
            self.name(each.slot),
            ("of", "in")[each.slot // 2 % 2],
        )
        self.expression(each.source)
        self.put(")")
        self.block(each.body)

    def count(self, count: Count) -> None:
        name = self.name(count.slot)
        self.put("for", "(", "let", name, "=", "0", ";", name, "<")
        self.expression(count.limit)
        self.put(";", name)
        self.hold()
        self.put("++", ")")
        self.block(count.body)

    def _try(self, it: Special) -> None:
        self.put("try")
        self.block((Do(Call("compute", (it.value,), "")),))
        self.put("catch", "(", self.name(it.slot), ")")
        self.block(it.body)
        if it.variant & 64:
            self.put("finally")
            self.block((Do(Call("walk", (), "")),))

    def _switch(self, it: Special) -> None:
        self.put("switch", "(")
        self.expression(it.value)
        self.put(")")
        self.put("{", role=Role.OPEN)
        self.put("case", self.quote("a", marks="\"'"), ":")
        self.put("{", role=Role.OPEN)
        self.statement(Let(it.slot, it.value, 1))
        for statement in it.body:
            self.statement(statement)
        self.put("}", role=Role.CLOSE)
        self.words("default : throw")
        self.hold()
        self.words("Error ( )")
        self.end()
        self.put("}", role=Role.CLOSE)

    def _swap(self, it: Special) -> None:
        name = self.name(it.slot)
        self.put("const", "[", name)
        self.comma("list")
        self.words("] = [")
        self.expression(it.value)
        self.put("]")
        self.end()
        self.put("[", name, ",", "items", "[", "0", "]")
        self.comma("list")
        self.put("]", "=", "[", "items", "[", "0", "]", ",", name, "]")
        self.end()
        for statement in it.body:
            self.statement(statement)

    def _at_once(self, it: Special) -> None:
        self.put("(")
        self.put("async") if it.variant & 64 else None
        self.hold()
        self.put("(", self.name(it.slot))
        self.type_of(it.slot)
        self.put(")")
        self.hold()
        self.put("=>")
        self.block(it.body)
        self.put(")", "(")
        self.expression(it.value)
        self.put(")")
        self.end()

    def _do(self, it: Special) -> None:
        name = self.name(it.slot)
        self.put("let", "{", "value", ":", name, "=", "1")
        self.comma("record")
        self.put("}", "=")
        self.expression(it.value)
        self.end()
        self.put("do")
        self.block(it.body)
        self.put("while", "(", name)
        self.hold()
        self.words("-- < 3 )")
        self.end()

    def _loop(self, it: Special) -> None:
        self.statement(Let(it.slot, it.value, 4))
        self.statement(While(Local(it.slot), it.body))

    specials = (_try, _switch, _swap, _at_once, _do, _loop)

    # Files

    def file(self) -> None:
        variant = self.program.variant
        imports = (
            ("import", "*", "as", "fs", "from"),
            ("import", "js", "from"),
            ("import", "{", "deque", ",", "OrderedMap", "as", "od"),
        )
        for line in imports[: self.program.imports]:
            self.put(*line)
            if "{" in line:
                self.comma("imports")
                self.put("}", "from")
            self.put(self.quote("./a-b", marks="\"'"))
            self.end()
        self.put("const", CONSTANT)
        if variant & 2:
            self.type_of(0)
        self.put("=", self.constant())
        self.end()
        if variant & 4:
            self.types_of_file()
        method = bool(variant & 128)
        if method:
            self.words("class Box extends Base")
            self.put("{", role=Role.OPEN)
            self.put("size")
            self.type_of(variant)
            self.put("=", "1")
            self.end()
        for function in self.program.functions:
            self.function(function, method=method)
        if method:
            self.put("}", role=Role.CLOSE)

    def function(self, function: Function, *, method: bool = False) -> None:
        variant = function.variant
        self.documented()
        if method:
            if variant & 2:
                self.put("static")
                self.hold()
        else:
            self.put("export") if variant & 1 else None
        if variant & 4:
            self.put("async")
            self.hold()
        if not method:
            self.put("function")
        self.put(function.name)
        if variant & 8:
            self.type_parameters()
        self.hold()  # tree-sitter's grammar would take a method for a field
        self.put("(")
        rest = False
        for slot in range(function.parameters):
            if slot:
                self.put(",")
            rest = bool(slot and slot == function.parameters - 1 and variant & 16)
            if rest:
                self.put("...")
            self.local(slot)
            if variant & 32 and not rest:
                self.type_of(slot + variant // 64)
            if variant & 64 and not rest:
                self.put("=", "1")
        if function.parameters and not rest:
            self.comma("parameters")
        self.put(")")
        if variant & 32:
            self.type_of(variant // 64)
        self.block(function.body)
