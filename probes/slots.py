"""The random part of a synthetic secret: what may stand in it, how many fillings there are, and each by its number.

A form of slot is a sequence of parts, and a filling takes one alternative of each. No two fillings of a form are
equal, so that its size is exact, and with it the bits that a filling is worth.
"""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""The 32 characters of a random body: without l, o, 0 and 1, which are read for one another."""
PORTS = (22, 389, 443, 1883, 2379, 3306, 5000, 5432, 6379, 8080, 8443, 9000, 9092, 9200)
"""The ports of a host in a slot."""
CARD_ISSUER = "9999"
"""First digits of every card: ISO/IEC 7812 leaves 9 with a country's number to that country, and ISO 3166 gives
999 to none. So no issuer has such cards."""

_DIGITS = "0123456789"


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form of slot."""

    name: str
    parts: tuple[Sequence[str], ...]
    """The alternatives for each part, in the order of the text."""
    card: bool = False
    """The last part is not text, but what is added to the right check digit, modulo 10, to make it wrong."""

    @property
    def size(self) -> int:
        """How many fillings there are."""
        return math.prod(map(len, self.parts))

    @property
    def bits(self) -> float:
        """log2 of the size."""
        return math.log2(self.size)

    @property
    def shortest(self) -> int:
        """Characters of the shortest filling."""
        return sum(min(map(len, part)) for part in self.parts)

    @property
    def longest(self) -> int:
        """Characters of the longest filling."""
        return sum(max(map(len, part)) for part in self.parts)

    def fill(self, number: int) -> str:
        """Return one filling. They are numbered from 0, and the last part changes first.

        Raises ValueError if there is no filling of that number.
        """
        if not 0 <= number < self.size:
            raise ValueError(f"expected a number of at least 0 and below {self.size}, got {number}")
        chosen = []
        for part in reversed(self.parts):
            number, place = divmod(number, len(part))
            chosen.append(part[place])
        chosen.reverse()
        if self.card:
            wrong = (check_digit(CARD_ISSUER + "".join(chosen[:-1])) + int(chosen[-1])) % 10
            chosen[-1] = str(wrong)
        return "".join(chosen)

    def holds(self, text: str) -> bool:
        """Tell whether the text is one of the fillings."""
        parts = (*self.parts[:-1], _DIGITS) if self.card else self.parts
        pattern = "".join(f"(?:{'|'.join(map(re.escape, part))})" for part in parts)
        if not re.fullmatch(pattern, text):
            return False
        return not self.card or int(text[-1]) != check_digit(CARD_ISSUER + text[:-1])


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A slot in a text, and what stands in it."""

    start: int
    """Offset of its first character in the text."""
    end: int
    """Offset after its last character."""
    form: str
    """One of `forms()`."""
    number: int
    """Which filling it is."""

    @property
    def size(self) -> int:
        """How many fillings the slot has, this one among them."""
        return forms()[self.form].size

    @property
    def bits(self) -> float:
        """log2 of the size."""
        return forms()[self.form].bits


def check_digit(digits: str) -> int:
    """Return the digit that completes a payment card's number (Luhn's formula, ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * 2 if place % 2 == 0 else int(digit)
        total += doubled // 10 + doubled % 10
    return -total % 10


@cache
def words() -> Mapping[str, Sequence[str]]:
    """Read the words that synthetic examples are made of, by group."""
    data = tomllib.loads((resources.files("probes") / "vocabulary.toml").read_text(encoding="utf-8"))
    return {group: tuple(text.split()) for group, text in data.items()}


@cache
def forms() -> Mapping[str, Form]:
    """Return the forms by name.

    | form | fillings | how many |
    |---|---|---|
    | `first.last`, `first_last`, `last-first` | an invented person | 26 * 25 = 650 |
    | `person-year` | `first.last` and two digits from 70 to 99 | 26 * 25 * 30 = 19,500 |
    | `body-12`, `body-8` | characters of `ALPHABET` | 32^12, 32^8 |
    | `host-name` | a service, 01 to 40, a dot and a site | 16 * 40 * 16 = 10,240 |
    | `address-v4` | the last byte, 1 to 254, and one of `PORTS` | 254 * 14 = 3,556 |
    | `group-v6` | four hexadecimal digits, the first not 0 | 15 * 16^3 = 61,440 |
    | `card` | eleven digits, and a check digit that is wrong | 9 * 10^11 |
    | `pin` | four digits | 10,000 |
    """
    first, last = words()["first_names"], words()["last_names"]
    hexadecimal = _DIGITS + "abcdef"
    numbers = tuple(f"{number:02d}" for number in range(1, 41))
    found = (
        Form(name="first.last", parts=(first, ".", last)),
        Form(name="first_last", parts=(first, "_", last)),
        Form(name="last-first", parts=(last, "-", first)),
        Form(name="person-year", parts=(first, ".", last, "789", _DIGITS)),
        Form(name="body-12", parts=(ALPHABET,) * 12),
        Form(name="body-8", parts=(ALPHABET,) * 8),
        Form(name="host-name", parts=(words()["services"], numbers, ".", words()["sites"])),
        Form(
            name="address-v4",
            parts=(tuple(map(str, range(1, 255))), ":", tuple(map(str, PORTS))),
        ),
        Form(name="group-v6", parts=(hexadecimal[1:], hexadecimal, hexadecimal, hexadecimal)),
        Form(name="card", parts=(*(_DIGITS,) * 11, _DIGITS[1:]), card=True),
        Form(name="pin", parts=(_DIGITS,) * 4),
    )
    return {form.name: form for form in found}
