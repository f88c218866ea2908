"""TypeScript."""

# ruff: noqa: D102  what the methods do is said in base.py and javascript.py

from probes.testing.pieces import Role
from probes.testing.programs import Let, Local, Special, While
from probes.testing.writers.javascript import JavaScript

_TYPES = (
    ("number",),
    ("Array", "<", "Array", "<", "string", ">", ">"),
    ("Map", "<", "string", ",", "number", "[", "]", ">"),
    ("Box", "|", "null"),
    ("{", "size", ":", "number", "}"),
)


class TypeScript(JavaScript):
    """TypeScript."""

    typed = True

    def type_of(self, number: int) -> None:
        self.put(":")
        self._type(number)

    def _type(self, number: int) -> None:
        for word in _TYPES[number % len(_TYPES)]:
            if word in ("<", "["):
                self.hold()
            self.put(word)

    def type_arguments(self) -> None:
        self.put("<")
        self._type(0)
        self.put(",")
        self._type(1)
        self.put(">")

    def type_parameters(self) -> None:
        self.words("< T , K extends keyof T >")

    def _asserted(self, it: Special) -> None:
        self.statement(Let(it.slot, it.value, 4))
        self.put("let", "other", "=", self.name(it.slot))
        self.hold()
        self.put("as")
        self._type(it.variant % 4)
        self.end()
        self.put(self.name(it.slot))
        self.hold()
        self.words("! . size = 3")
        self.end()
        self.statement(While(Local(it.slot), it.body))

    specials = (*JavaScript.specials[:-1], _asserted)

    def types_of_file(self) -> None:
        self.put("interface")
        self.hold()
        self.words("Shape < T extends object >")
        self.put("{", role=Role.OPEN)
        self.words("size ? : number")
        self.end()
        self.words("total ( at : T")
        self.comma("parameters")
        self.words(") : void")
        self.end()
        self.put("}", role=Role.CLOSE)
        self.put("type")
        self.hold()
        self.put("Pair", "=", "[", "number", ",", "string", "]", "|", self.quote("ok", marks="\"'"))
        self.end()
        self.words("enum Kind { First , Second = 2")
        self.comma("record")
        self.put("}")
