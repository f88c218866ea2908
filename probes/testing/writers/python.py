"""Python."""

# ruff: noqa: D102  what the methods do is said in base.py

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from probes.testing.pieces import Piece, Role, Rules
from probes.testing.programs import (
    CONSTANT,
    Assign,
    Block,
    Call,
    Choice,
    Count,
    Do,
    Each,
    Expression,
    Function,
    If,
    Index,
    Leave,
    Let,
    Peculiar,
    Return,
    Special,
    Template,
)
from probes.testing.writers.base import RAW_STRINGS, SEVERAL_LINES, STRINGS, Writer

_TYPES = (
    ("int",),
    ("list", "[", "str", "]"),
    ("dict", "[", "str", ",", "int", "]"),
    ('"Box"',),
    ("int", "|", "None"),
)
_DOCSTRINGS = (
    '"Docs."',
    "'''It's (a doc.'''",
    '"""Several\n    lines: {x}\n    """',
    "r'# no \\d'",
    '"say \\"x\\""',
)
_BYTES = ("ok", "", "a b", "it's", "# no", "\\x00\\n", "{a}")
_PLAIN = Let | Assign | Do | Return | Leave


def _plain(prefix: str) -> Callable[[Writer, str], str]:
    return lambda writer, text: prefix + writer.quote(text, marks="\"'")


def _raw(prefix: str) -> Callable[[Writer, str], str]:
    def spell(writer: Writer, text: str) -> str:
        mark = writer.mark("\"'")
        if mark in text:  # it cannot be escaped
            mark = "'" if mark == '"' else '"'
        return prefix + mark + text + mark

    return spell


def _triple(writer: Writer, text: str) -> str:
    mark = writer.mark(('"""', "'''"))
    return mark + text + mark


class Python(Writer):
    """Python 3.11 and newer."""

    rules = Rules(
        line_comment="#",
        block_comments=False,
        lines=True,
        separator_needed=False,
        touching=frozenset({"=-", "*-", "+-", ":-", "--", "|-", "&-", "<-", ">-", "%-"}),
        quotable=frozenset({"return", "in", "is", "and", "not", "else", "if", "assert", "case", "with"}),
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
        "1.",
        ".5",
        "1e10",
        "2E-5",
        "2j",
        "7",
    )
    strings = (
        (_plain(""), STRINGS),
        (_plain(""), STRINGS),
        (_triple, SEVERAL_LINES),
        (_raw("r"), RAW_STRINGS),
        (_plain("b"), _BYTES),
        (_plain(""), STRINGS),
        (_triple, ("ok", "# no", "it's", "a, b")),
        (_plain("u"), STRINGS),
        (_raw("rb"), ("ok", "\\d+", "# no")),
        (_raw("R"), RAW_STRINGS),
        (_plain("B"), _BYTES),
        (_plain("f"), ("ok", "# no", "{{a}}", "it's")),
    )
    operators: ClassVar[Mapping[str, str]] = {}
    trailing = frozenset({"call", "list", "table", "parameters", "imports"})
    templates = True
    docstrings = True
    parts_condition = False

    # Expressions

    def call(self, call: Call) -> None:
        if not (call.keyword and call.arguments):
            super().call(call)
            return
        self.put(call.function if isinstance(call.function, str) else self.name(call.function), "(")
        for argument in call.arguments[:-1]:
            self.expression(argument)
            self.put(",")
        self.put(call.keyword, "=")
        self.expression(call.arguments[-1])
        self.comma("call")
        self.put(")")

    def imported(self) -> None:
        self.put(("config", "os", "js", "od")[self.program.imports])

    def choice(self, choice: Choice) -> None:
        self.operand(choice.yes)
        self.put("if")
        self.operand(choice.condition)
        self.put("else")
        self.operand(choice.no)

    def table(self, entries: Sequence[tuple[Expression, Expression]]) -> None:
        self.put("{")
        self.entries(entries, ":", "table")
        self.put("}")

    def record(self, fields: Sequence[tuple[str, Expression]]) -> None:
        self.put("Box", "(")
        self.entries(fields, "=", "call")
        self.put(")")

    def closure(self, slot: int, body: Expression) -> None:
        self.put("lambda", self.name(slot), ":")
        self.expression(body)

    def template(self, template: Template) -> None:
        form = template.form
        mark = self.mark("\"'") if form % 3 else self.mark(('"""', "'''"))
        inner = "'" if mark[0] == '"' else '"'
        text = "f" + mark
        for part in template.parts:
            if isinstance(part, str):
                text += part.replace("'", "\\'") if mark == "'" else part
                continue
            self.put(text + "{")
            self._inline = True  # before Python 3.12 neither line breaks nor comments may stand in it
            if isinstance(part, Index) and form & 1:
                self.put(self.name(part.owner.slot), "[", f"{inner}key{inner}", "]")
            else:
                self.expression(part)
            text = ("}", "!r}", ":>8}", "!s:<4}")[form // 8 % 4]
            form //= 2
        self.put(text + mark)
        self._inline = False

    def _for_in(self, slot: int, source: Expression) -> None:
        self.put("for", self.name(slot), "in")
        self.expression(source)

    def _list_of(self, it: Peculiar) -> None:
        self.put("[", self.name(it.slot), "*", "2")
        self._for_in(it.slot, it.operand)
        self.put("if", self.name(it.slot), "is", "not", "None", "]")

    def _dict_of(self, it: Peculiar) -> None:
        self.put("{", "**", self.name(0), "}", "|") if it.variant & 64 else None
        self.put("{", self.name(it.slot), ":", "str", "(", self.name(it.slot), ")")
        self._for_in(it.slot, it.operand)
        self.put("}")

    def _sum_of(self, it: Peculiar) -> None:
        self.put("sum", "(", self.name(it.slot), ".", "size")
        self._for_in(it.slot, it.operand)
        self.put(")")

    def _walrus(self, it: Peculiar) -> None:
        self.put("(", self.name(it.slot), ":=")
        self.expression(it.operand)
        self.put(")")

    def _tuple(self, it: Peculiar) -> None:
        self.put("(")
        self.expression(it.operand)
        self.put(",")
        if it.variant & 64:
            self.put(CONSTANT, role=Role.TOKEN)
            self.comma("call")
        self.put(")")

    def _set(self, it: Peculiar) -> None:
        self.put("{")
        self.several((it.operand, it.operand), "list")
        self.put("}")

    def _slice(self, it: Peculiar) -> None:
        self.put("items", "[")
        self.expression(it.operand)
        self.words(": - 1 ]")

    def _starred(self, it: Peculiar) -> None:
        self.words("compute ( *")
        self.operand(it.operand)
        self.words(", ** options")
        self.comma("call")
        self.put(")")

    def _adjacent(self, it: Peculiar) -> None:
        self.put("(", self.quote("a", marks="\"'"), self.quote("b'c", marks="\"'"), ")", "[")
        self.expression(it.operand)
        self.put("]")

    def _power(self, it: Peculiar) -> None:
        self.operand(it.operand)
        self.words("** 2 // 3 not in ( ... , None")
        self.comma("list")
        self.put(")")

    peculiar = (
        _list_of, _dict_of, _sum_of, _walrus, _tuple, _set, _slice, _starred, _adjacent, _power
    )  # fmt: skip

    # Statements

    def block(self, body: Block, *, opener: str = ":", closer: str = "", documented: str = "") -> None:
        self.put(opener, role=Role.OPEN)
        if documented:
            self.put(documented, role=Role.DOCSTRING)
            self.end()
        for number, statement in enumerate(body):
            following = body[number + 1] if number + 1 < len(body) else None
            joins = (
                isinstance(statement, Let) and statement.variant % 5 == 1 and isinstance(following, _PLAIN)
            )
            self.statement(statement)
            if joins:  # on one line
                self.pieces[-1] = Piece(";")
        self.put(closer, role=Role.CLOSE)

    def branch(self, branch: If, *, word: str = "if") -> None:
        self.put(word)
        self.condition(branch.condition)
        only = branch.body[0]
        if branch.inline and isinstance(only, _PLAIN) and len(branch.body) == 1:
            self.put(":")
            self.statement(only)
        else:
            self.block(branch.body)
        if len(branch.otherwise) == 1 and isinstance(branch.otherwise[0], If):
            self.branch(branch.otherwise[0], word="elif")
        elif branch.otherwise:
            self.put("else")
            self.block(branch.otherwise)

    def let(self, let: Let) -> None:
        self.local(let.slot)
        if let.variant % 4 == 1:
            self.put(":", *_TYPES[let.variant // 4 % len(_TYPES)])
        self.put("=")
        self.expression(let.value)

    def each(self, each: Each) -> None:
        self._for_in(each.slot, each.source)
        self.block(each.body)

    def count(self, count: Count) -> None:
        self.put("for", self.name(count.slot), "in", "range", "(")
        self.expression(count.limit)
        self.comma("call")
        self.put(")")
        self.block(count.body)

    def _with(self, it: Special) -> None:
        self.words("with open (")
        self.expression(it.value)
        self.comma("call")
        self.put(")", "as", self.name(it.slot))
        self.block(it.body)

    def _try(self, it: Special) -> None:
        self.put("try")
        self.block((Do(Call("compute", (it.value,), "")),))
        self.words("except ( KeyError , ValueError")
        self.comma("call")
        self.put(")", "as", self.name(it.slot))
        self.block(it.body)
        if it.variant & 64:
            self.put("finally")
            self.block((Do(Call("walk", (), "")),))

    def _match(self, it: Special) -> None:
        self.put("match")
        self.operand(it.value)
        self.put(":", role=Role.OPEN)
        self.put("case", "[", self.name(it.slot), ",", "*", "_")
        self.comma("list")
        self.put("]")
        self.block(it.body)
        self.words("case _ : pass")
        self.end()
        self.put("", role=Role.CLOSE)

    def _nested(self, it: Special) -> None:
        self.put("@", "cached")
        self.end("")
        self.put("async") if it.variant & 64 else None
        self.put("def", "inner", "(", self.name(it.slot), "=")
        self.expression(it.value)
        self.comma("parameters")
        self.put(")")
        self.block(it.body, documented=_DOCSTRINGS[it.variant % len(_DOCSTRINGS)])

    def _raising(self, it: Special) -> None:
        self.put("assert")
        self.expression(it.value)
        self.put(",", self.quote("no, 'that'", marks="\"'"))
        self.end()
        self.put("for", self.name(it.slot), ",", "_", "in", "items")
        self.block(it.body)
        self.put("else")
        self.put(":", role=Role.OPEN)
        self.words("raise ValueError ( ) from None")
        self.end()
        self.put("", role=Role.CLOSE)

    specials = (_with, _try, _match, _nested, _raising)

    # Files

    def file(self) -> None:
        variant = self.program.variant
        self.put(_DOCSTRINGS[variant % len(_DOCSTRINGS)], role=Role.DOCSTRING)
        self.end()
        imports = (
            ("import", "os", ",", "sys", "as", "s"),
            ("import", "json", ".", "decoder", "as", "js"),
            ("from", "collections", "import", "(", "deque", ",", "OrderedDict", "as", "od"),
        )
        for line in imports[: self.program.imports]:
            self.put(*line)
            if "(" in line:
                self.comma("imports")
                self.put(")")
            self.end()
        self.put(CONSTANT, "=", self.constant())
        self.end()
        if variant & 128:
            self.words("class Box ( Base , metaclass = Meta")
            self.comma("call")
            self.put(")", ":", role=Role.TOKEN)
            self.pieces[-1] = self.pieces[-1]._replace(role=Role.OPEN)
            self.put(_DOCSTRINGS[variant // 8 % len(_DOCSTRINGS)], role=Role.DOCSTRING)
            self.end()
        for function in self.program.functions:
            self.function(function, method=variant >= 128)
        if variant & 128:
            self.put("", role=Role.CLOSE)

    def function(self, function: Function, *, method: bool = False) -> None:
        variant = function.variant
        if variant & 1:
            self.put("@", "app", ".", "route", "(", self.quote("/a", marks="\"'"))
            self.comma("call")
            self.put(")")
            self.end("")
        self.put("async") if variant & 2 else None
        self.put("def", function.name, "(")
        if method:
            self.put("self")
        for slot in range(function.parameters):
            if slot or method:
                self.put(",")
            if slot and slot == function.parameters - 1 and variant & 4:
                self.put(("*", "**")[variant // 8 % 2])
                self.local(slot)
                continue
            self.local(slot)
            if variant & 16:
                self.put(":", *_TYPES[(variant // 32 + slot) % len(_TYPES)])
            if variant & 8:
                self.put("=", "None")
        if function.parameters or method:
            self.comma("parameters")
        self.put(")")
        if variant & 32:
            self.put("->", *_TYPES[variant // 64 % len(_TYPES)])
        self.block(function.body, documented=_DOCSTRINGS[variant % len(_DOCSTRINGS)])
