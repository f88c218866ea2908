"""C++."""

# ruff: noqa: D102  what the methods do is said in base.py

from collections.abc import Sequence

from probes.testing.pieces import Role, Rules
from probes.testing.programs import Call, Do, Each, Expression, Function, Peculiar, Return, Special
from probes.testing.writers.base import RAW_STRINGS, STRINGS
from probes.testing.writers.c import TOUCHING, C, plain

_CPP_TYPES = (
    ("int",),
    ("std", "::", "vector", "<", "std", "::", "vector", "<", "int", ">", ">"),
    ("auto", "&"),
    ("const", "std", "::", "string", "&"),
    ("Node", "*", "*"),
    ("auto",),
)


class Cpp(C):
    """C++20."""

    rules = Rules(
        touching=TOUCHING | {">>", ">&", ">*"},
        quotable=frozenset({"return", "case", "sizeof", "else", "throw"}),
        suffixes=True,
        sticky_exponents=True,
    )
    types = _CPP_TYPES
    numbers = (*C.numbers, "1'000", "0b101", "1'0")
    strings = (
        (plain, STRINGS),
        (plain, STRINGS),
        (lambda writer, text: f'R"({text})"', RAW_STRINGS),
        (lambda writer, text: f'R"x({text})x"', ('a)"b', "ok", '"', "*/", ")x")),
        (lambda writer, text: "L" + writer.quote(text), ("ok", "it's", "// no")),
        (lambda writer, text: writer.quote(text) + "s", ("ok", "a b")),
    )

    def listing(self, items: Sequence[Expression]) -> None:
        self.words("std :: vector < int > {")
        self.several(items, "list")
        self.put("}")

    def table(self, entries: Sequence[tuple[Expression, Expression]]) -> None:
        self.words("std :: map < std :: string , std :: vector < int > > {")
        for number, (key, value) in enumerate(entries):
            if number:
                self.put(",")
            self.put("{")
            self.expression(key)
            self.put(",")
            self.expression(value)
            self.put("}")
        if entries:
            self.comma("list")
        self.put("}")

    def record(self, fields: Sequence[tuple[str, Expression]]) -> None:
        self.put("Box", "{")
        for number, (name, value) in enumerate(fields):
            if number:
                self.put(",")
            self.put(".", name, "=")
            self.expression(value)
        if fields:
            self.comma("record")
        self.put("}")

    def closure(self, slot: int, body: Expression) -> None:
        self.put("[", ("&", "=")[slot % 2], "]", "(", "int", self.name(slot), ")")
        self.block((Return(body),))

    def _static_cast(self, it: Peculiar) -> None:
        self.words("static_cast < std :: vector < int > * > (")
        self.expression(it.operand)
        self.put(")")

    def _new(self, it: Peculiar) -> None:
        self.words("new Box (")
        self.expression(it.operand)
        self.put(")")

    def _spaceship(self, it: Peculiar) -> None:
        self.put("(")
        self.operand(it.operand)
        self.words("<=> 3 ) != nullptr or true")

    peculiar = (*C.peculiar, _static_cast, _new, _spaceship)

    def each(self, each: Each) -> None:
        self.put("for", "(", "const", "auto", "&", self.name(each.slot), ":")
        self.expression(each.source)
        self.put(")")
        self.block(each.body)

    def _try(self, it: Special) -> None:
        self.put("try")
        self.block((Do(Call("compute", (it.value,), "")),))
        self.put("catch", "(", "const", "std", "::", "exception", "&", self.name(it.slot), ")")
        self.block(it.body)

    def _bound(self, it: Special) -> None:
        self.put("auto", "&", "&", "[", self.name(it.slot), ",", "rest", "]", "=")
        self.expression(it.value)
        self.end()
        self.words("if constexpr ( sizeof ( int ) > 2 )")
        self.block(it.body)

    specials = (*C.specials, _try, _bound)

    def types_of_file(self, variant: int) -> None:
        if variant & 4:
            self.words("using namespace std")
            self.end()
        if variant & 8:
            self.documented()
            self.words("template < typename T , int N = 3 > class Box : public Base")
            self.put("{", role=Role.OPEN)
            self.words("public : explicit Box ( int size ) : size_ ( size ) { }")
            self.words("virtual ~ Box ( ) = default")
            self.end()
            self.words("std :: map < T , std :: vector < T > > size_ { 1")
            self.comma("list")
            self.put("}")
            self.end()
            self.put("}", role=Role.CLOSE)
            self.end()
        if variant & 16:
            self.words("enum class Kind : int { First , Second = 2")
            self.comma("list")
            self.put("}")
            self.end()

    def function(self, function: Function) -> None:
        variant = function.variant
        self.documented()
        if variant & 8:
            self.words("template < typename T >")
        if variant & 16:
            self.words("[[ nodiscard ]]")
        if variant & 1:
            self.put("static", "constexpr")
        self.put(*self.types[variant // 2 % 2], function.name, "(")
        self.parameters(function)
        self.put(")")
        if variant & 64:
            self.put("noexcept")
        self.block(function.body)

    def parameters(self, function: Function) -> None:
        if function.parameters:
            super().parameters(function)
