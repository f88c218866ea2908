"""What the writers of all languages share: names, literals, and the grammar most of them agree on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from probes.testing.pieces import Gap, Piece, Role, Rules, Style
from probes.testing.programs import (
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

NAMES = (
    "v", "row", "x", "total", "acc", "lhs", "rhs", "_tmp", "fooBar", "naïve", "Index", "item", "n", "f", "b", "L",
    "value", "größe", "K2", "r", "node_3", "数", "__q", "size", "isReady",
)  # fmt: skip
"""Names for locals: no keyword or built-in of any language. Some are members' names too, or a string's prefix."""
STRINGS = (
    "ok", "", "a b", "it's", 'say "x"', "a,b;", "// no", "/* no", "*/ no", "# no", "{a}", "${a}", "%d\\n", "a\\\\",
    "é日", "( [ {", ") ] }", "`x`", "\\t.", "name: value", "NEWLINE", "'''", "->", "x = 1",
)  # fmt: skip
"""Contents of strings as source code has them, but for quotes, which are escaped where they have to be."""
RAW_STRINGS = ("ok", "\\d+", "a\\b", "it's", 'say "x"', "{a}", "// no", "# no", "", "/* no", "${a}")
"""Contents of strings without escapes. None ends in a backslash."""
SEVERAL_LINES = ("a\n  b", "\n", "x\n// no\ny", "it's\n# no", "a\n\tb\n")
CHARS = ("a", "0", " ", "\\n", "\\'", '"', "\\\\", "/", "#", "(", ";", "{")


class Writer(ABC):
    """Writes a program as pieces. A subclass is a language."""

    rules: ClassVar[Rules]
    numbers: ClassVar[Sequence[str]]
    strings: ClassVar[Sequence[tuple[Callable[..., str], Sequence[str]]]]
    """Forms of strings: what spells a content, and the contents it takes."""
    names: ClassVar[Sequence[str]] = NAMES
    operators: ClassVar[Mapping[str, str]] = {"and": "&&", "or": "||", "not": "!"}
    """Spellings that are not Python's."""
    peculiar: ClassVar[Sequence[Callable[..., None]]]
    specials: ClassVar[Sequence[Callable[..., None]]]
    trailing: ClassVar[frozenset[str]] = frozenset()
    """Brackets that a comma may stand before: of a `call`, a `list`, a `table`, a `record`, `parameters`, `imports`."""
    templates: ClassVar[bool] = False
    """Strings can have expressions in them."""
    docstrings: ClassVar[bool] = False
    parts_condition: ClassVar[bool] = True
    """The condition of a statement stands in round brackets."""

    def __init__(self, program: Program, style: Style) -> None:
        self.program = program
        self.style = style
        self.pieces: list[Piece] = []
        self.literals: dict[int, str] = {}
        """Literals that were written, by number, as source code."""
        self._held: Gap | None = None
        self._inline = False
        self._named = self._names()
        self._quoted = 0

    def write(self) -> list[Piece]:
        """Return the pieces of the whole file."""
        self.file()
        return self.pieces

    # Words

    def put(self, *texts: str, role: Role = Role.TOKEN) -> None:
        """Add tokens, all of one role."""
        for text in texts:
            self.pieces.append(Piece(text, Gap.INLINE if self._inline else self._held or Gap.FREE, role))
            self._held = None

    def words(self, texts: str) -> None:
        """Add tokens that are written with blanks between them."""
        self.put(*texts.split())

    def hold(self, gap: Gap = Gap.UNBROKEN) -> None:
        """Set what may stand before the next token."""
        self._held = gap

    def end(self, separator: str = ";") -> None:
        """End a statement."""
        self.put(separator, role=Role.END)

    def documented(self) -> None:
        """Let comments that document stand before the next token."""
        self.put("", role=Role.DOCUMENTED)

    def local(self, slot: int) -> None:
        """Add a local's name."""
        self.put(self.name(slot))

    def name(self, slot: int) -> str:
        """Return a local's name."""
        if slot == 0 and self.style.name is not None:
            return self.style.name
        names = self._named
        return names[slot] if slot < len(names) else f"{names[slot % len(names)]}_{slot // len(names)}"

    def _names(self) -> list[str]:
        """Shuffle the names as the style says. A zero leaves one in its place."""
        names = list(self.names)
        tape = self.style.names
        for place in range(len(names) - 1):
            other = place + tape[place % len(tape)] % (len(names) - place)
            names[place], names[other] = names[other], names[place]
        return names

    def mark(self, marks: Sequence[str]) -> str:
        """Return the quotes that the style chooses."""
        self._quoted += 1
        return marks[self.style.quotes[self._quoted % len(self.style.quotes)] % len(marks)]

    def quote(self, text: str, *, marks: str = '"') -> str:
        """Return the content in quotes, with those quotes escaped in it."""
        mark = self.mark(marks)
        return mark + text.replace(mark, "\\" + mark) + mark

    # Literals

    def literal(self, number: int) -> str:
        """Return the literal of this number as source code."""
        self.literals[number] = self._spell(self.program.literals[number])
        return self.literals[number]

    def _spell(self, literal: Literal) -> str:
        if literal.kind == "number":
            return literal.text or self.numbers[literal.value % len(self.numbers)]
        if literal.kind == "string":
            return self.string(literal)
        return self.char(literal)

    def string(self, literal: Literal) -> str:
        """Return a string as source code, in one of the forms that the language has."""
        form, contents = self.strings[literal.form % len(self.strings)]
        return form(self, contents[literal.value % len(contents)] if literal.text is None else literal.text)

    def char(self, literal: Literal) -> str:
        """Return a character; in languages that have none a string of one character."""
        return f"'{CHARS[literal.value % len(CHARS)]}'"

    # Expressions

    def operator(self, word: str) -> None:
        """Add an operator."""
        self.put(self.operators.get(word, word))

    def expression(self, expression: Expression) -> None:
        """Add an expression."""
        match expression:
            case Local(slot):
                self.local(slot)
            case Value(number):
                self.put(self.literal(number))
            case Name(word):
                self.put(word)
            case Call():
                self.call(expression)
            case Member():
                self.member(expression)
            case Index(owner, key):
                self.local(owner.slot)
                self.put("[")
                self.expression(key)
                self.put("]")
            case Binary(operator, left, right):
                self.operand(left)
                self.operator(operator)
                self.operand(right)
            case Unary(operator, operand):
                self.operator(operator)
                self.operand(operand)
            case Choice():
                self.choice(expression)
            case Listing(items):
                self.listing(items)
            case Table(entries):
                self.table(entries)
            case Record(fields):
                self.record(fields)
            case Closure(slot, body):
                self.closure(slot, body)
            case Template():
                self.template(expression)
            case Peculiar(variant):
                self.peculiar[variant % len(self.peculiar)](self, expression)

    def operand(self, expression: Expression) -> None:
        """Add an expression, in brackets if operators beside it could take it apart."""
        bare = isinstance(expression, Local | Value | Name | Call | Member | Index)
        if bare:
            self.expression(expression)
        else:
            self.put("(")
            self.expression(expression)
            self.put(")")

    def several(self, items: Sequence[Expression], kind: str) -> None:
        """Add expressions with commas between them."""
        for number, item in enumerate(items):
            if number:
                self.put(",")
            self.expression(item)
        if items:
            self.comma(kind)

    def entries(
        self, entries: Sequence[tuple[str | Expression, Expression]], between: str, kind: str
    ) -> None:
        """Add names or expressions, each with its value behind a colon or the like, with commas between them."""
        for number, (key, value) in enumerate(entries):
            if number:
                self.put(",")
            if isinstance(key, str):
                self.put(key)
            else:
                self.expression(key)
            self.put(between)
            self.expression(value)
        if entries:
            self.comma(kind)

    def comma(self, kind: str) -> None:
        """Mark where a comma may stand before the closing bracket."""
        if kind in self.trailing:
            self.put(",", role=Role.COMMA)

    def call(self, call: Call) -> None:
        """Add a call of a function or of a local."""
        self.put(call.function if isinstance(call.function, str) else self.name(call.function))
        self.put("(")
        self.several(call.arguments, "call")
        self.put(")")

    def member(self, member: Member) -> None:
        """Add a member of a local or of what is imported."""
        if member.owner is None:
            self.imported()
        else:
            self.expression(member.owner)
        self.put(".", member.name)
        if member.arguments is not None:
            self.put("(")
            self.several(member.arguments, "call")
            self.put(")")

    @abstractmethod
    def imported(self) -> None:
        """Add the name under which something was imported."""

    def choice(self, choice: Choice) -> None:
        """Add a condition with two values."""
        self.operand(choice.condition)
        self.put("?")
        self.operand(choice.yes)
        self.put(":")
        self.operand(choice.no)

    def listing(self, items: Sequence[Expression]) -> None:
        """Add a list."""
        self.put("[")
        self.several(items, "list")
        self.put("]")

    @abstractmethod
    def table(self, entries: Sequence[tuple[Expression, Expression]]) -> None:
        """Add a mapping."""

    @abstractmethod
    def record(self, fields: Sequence[tuple[str, Expression]]) -> None:
        """Add a structure."""

    @abstractmethod
    def closure(self, slot: int, body: Expression) -> None:
        """Add a function of one parameter."""

    def template(self, template: Template) -> None:
        """Add the expressions of a template as a list; what has templates does better."""
        self.listing([part for part in template.parts if not isinstance(part, str)])

    # Statements

    def block(self, body: Block, *, opener: str = "{", closer: str = "}") -> None:
        """Add statements in brackets."""
        self.put(opener, role=Role.OPEN)
        for statement in body:
            self.statement(statement)
        self.put(closer, role=Role.CLOSE)

    def condition(self, condition: Expression) -> None:
        """Add the condition of a statement."""
        if self.parts_condition:
            self.put("(")
        self.expression(condition)
        if self.parts_condition:
            self.put(")")

    def statement(self, statement: Statement) -> None:
        """Add a statement."""
        match statement:
            case Let():
                self.let(statement)
                self.end()
            case Assign(slot, operator, value):
                self.local(slot)
                self.put(f"{operator}=")
                self.expression(value)
                self.end()
            case Do(value):
                self.expression(value)
                self.end()
            case Return(value):
                self.put("return")
                if value is not None:
                    self.hold()
                    self.expression(value)
                self.end()
            case Leave(word):
                self.put(word)
                self.end()
            case If():
                self.branch(statement)
                self.after_block()
            case While(condition, body):
                self.put("while")
                self.condition(condition)
                self.block(body)
                self.after_block()
            case Each():
                self.each(statement)
                self.after_block()
            case Count():
                self.count(statement)
                self.after_block()
            case Special(variant):
                self.specials[variant % len(self.specials)](self, statement)

    def after_block(self) -> None:  # noqa: B027  most languages add nothing
        """End a statement that ends in a block."""

    def branch(self, branch: If) -> None:
        """Add a condition with its blocks."""
        self.put("if")
        self.condition(branch.condition)
        self.block(branch.body)
        if branch.otherwise:
            self.put("else")
            if isinstance(branch.otherwise[0], If) and len(branch.otherwise) == 1:
                self.branch(branch.otherwise[0])
            else:
                self.block(branch.otherwise)

    @abstractmethod
    def let(self, let: Let) -> None:
        """Add the declaration of a local with its value."""

    @abstractmethod
    def each(self, each: Each) -> None:
        """Add a loop over items."""

    @abstractmethod
    def count(self, count: Count) -> None:
        """Add a loop over numbers."""

    # Files

    @abstractmethod
    def file(self) -> None:
        """Add everything."""

    def functions(self) -> None:
        """Add all functions."""
        for function in self.program.functions:
            self.function(function)

    @abstractmethod
    def function(self, function: Function) -> None:
        """Add a function."""

    def constant(self) -> str:
        """Return the value of the constant as source code."""
        return self.literal(self.program.constant.number)
