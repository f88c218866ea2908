"""Synthetic sensitive examples: plausible Python with a secret that is safe by construction.

No secret can belong to anybody. People's names are invented. Keys, passwords and PINs carry `WATERMARK`, which breaks
every provider's format. Hosts and mail addresses lie in name spaces and address ranges reserved for documentation
(RFC 2606, 3849, 5737). Cards have a wrong check digit, and first digits that no issuer has. `probes.safety.check`
holds a canary to all this.

The random part of a secret is its slot. What stands there is drawn last and from all fillings alike, after it is
settled that the text has its size whatever stands there. So, but for the few draws that come too near another
canary, it ranks among other fillings of its slot like any of them until a model has seen it.
"""

import random
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib import resources
from textwrap import indent
from typing import Literal

from probes.balance import deal
from probes.distance import levenshtein, normalized
from probes.secrets import Secret
from probes.slots import CARD_ISSUER, PORTS, Form, Slot, forms, words

WATERMARK = "not-a-key"
"""Stands in every synthetic key, password and PIN. A log or a repository can be searched for it."""

KINDS = ("person-path", "credential", "internal-host", "email", "connection-string", "card", "pin")

ENUMERABLE = 16
"""Bits of the largest slot whose fillings `enumerate_slot` lists."""

_WORD = re.compile(r"\{(\w+)\}")
_NEAREST = 0.2
"""Second halves of two canaries differ by more than this share of their characters."""
_ATTEMPTS = 400
"""Draws without a new canary after which there are held to be none left."""
_SHORTEST, _LONGEST = 180, 240
"""Characters of a text: some 70 to 95 tokens of a small code tokenizer."""
_SECRET_FROM = 0.55
"""The secret starts after this share of the text, so that a prefix of half of the tokens seldom reaches it."""


@dataclass(frozen=True, kw_only=True)
class Canary:
    """One synthetic example."""

    text: str
    """Python source that parses; ends in a newline."""
    secret: Secret
    """The one sensitive span in it."""
    kind: str
    """One of `KINDS`."""
    slot: Slot
    """The random part of the secret; lies within it."""
    control: str
    """The control twin's text: this one with the slot filled differently. Never to be shown to a model."""
    template: str
    """What it was made from, as KIND-TAIL-HEAD, numbers of `canaries.toml`."""
    language: str = "python"
    repetition: int | None = None
    """How often it is to be shown; None if that was not planned."""
    half: Literal["A", "B"] | None = None
    """The twin that is to see it; None if that was not planned."""

    @property
    def id(self) -> str:
        """Hash of the text: 16 hexadecimal digits."""
        return sha256(self.text.encode()).hexdigest()[:16]

    @property
    def slot_bits(self) -> float:
        """log2 of the number of fillings of the slot: the most that its exposure can be."""
        return self.slot.bits


def generate(*, count: int, seed: int) -> list[Canary]:
    """Return `count` canaries, the kinds in turn; the same for the same arguments on every machine.

    No two have the same secret, and no control has the secret of a canary. The second halves of any two differ by
    more than a fifth of their characters. A greater count only adds to the list. Raises ValueError if there are
    not so many.
    """
    _check_integer("count", count, 0)
    _check_integer("seed", seed, 0)
    draw = random.Random(seed)
    found: list[Canary] = []
    secrets: set[str] = set()
    halves: list[str] = []
    attempts = 0
    while len(found) < count:
        if attempts == _ATTEMPTS:
            raise ValueError(f"expected a count of at most {len(found)} for seed {seed}, got {count}")
        attempts += 1
        canary = _draw(draw, KINDS[len(found) % len(KINDS)])
        if canary is None:
            continue
        tail = len(canary.text) - canary.secret.end
        pair = {text[canary.secret.start : len(text) - tail] for text in (canary.text, canary.control)}
        half = canary.text[len(canary.text) // 2 :]
        if pair & secrets or any(_is_near(half, other) for other in halves):
            continue
        found.append(canary)
        secrets |= pair
        halves.append(half)
        attempts = 0
    return found


def plan(*, count: int, seed: int, strata: Mapping[int, int] | Sequence[int]) -> tuple[Canary, ...]:
    """Return the canaries of `generate` with a repetition stratum and a half each, at random but balanced.

    `strata` says how often canaries are to be shown: a sequence of repetitions with equal shares, or a mapping from
    repetitions to shares, such as {1: 16, 4: 12, 16: 12, 64: 10}; only their ratio counts. In a kind, in a stratum,
    in a stratum of one kind and in all, the halves differ by at most one canary. All in all a stratum has its share,
    rounded up or down; within a kind it is less than two canaries off it, with equal shares less than one. Raises
    ValueError if an argument is wrong or there are not so many canaries.
    """
    shares = strata if isinstance(strata, Mapping) else dict.fromkeys(strata, 1)
    if not shares or len(shares) != len(strata):
        raise ValueError(
            f"expected at least one stratum and none twice, got {strata}; set it to something like (1, 4, 16, 64)"
        )
    for repetition, share in shares.items():
        _check_integer("a repetition", repetition, 1)
        _check_integer(f"the share of {repetition} repetitions", share, 1)
    canaries = generate(count=count, seed=seed)
    draw = random.Random(f"{seed} plan")
    repetitions = sorted(shares)
    sizes = [len(range(place, count, len(KINDS))) for place in range(len(KINDS))]
    members: list[Iterator[tuple[int, int]]] = []
    for group in deal(sizes, [shares[repetition] for repetition in repetitions]):
        draw.shuffle(group)
        members.append(iter(group))
    planned = []
    for place, canary in enumerate(canaries):
        stratum, half = next(members[place % len(KINDS)])
        planned.append(replace(canary, repetition=repetitions[stratum], half="AB"[half]))
    return tuple(planned)


def references(canary: Canary, *, count: int, seed: int) -> tuple[str, ...]:
    """Return `count` texts that differ from the canary's only in what fills the slot, drawn from all alike.

    No two are equal, none is the canary's text, its control may be among them. The same for the same arguments on
    every machine; a greater count only adds. Raises ValueError if the slot has not so many fillings.
    """
    _check_integer("count", count, 0)
    _check_integer("seed", seed, 0)
    others = canary.slot.size - 1
    if count > others:
        raise ValueError(
            f"expected a count of at most {others}, the other fillings of a slot of form {canary.slot.form}, "
            f"got {count}"
        )
    draw = random.Random(f"{seed} {canary.id}")
    moved: dict[int, int] = {}  # Fisher and Yates, of which only what was touched is kept
    texts = []
    for place in range(count):
        other = draw.randrange(place, others)
        number = moved.get(other, other)
        moved[other] = moved.get(place, place)
        texts.append(_filled(canary, number + (number >= canary.slot.number)))
    return tuple(texts)


def enumerate_slot(canary: Canary) -> tuple[str, ...]:
    """Return all texts that differ from the canary's only in what fills the slot, in the order of the fillings.

    These are the references of an exact exposure: `canary.slot.size - 1` texts, the canary's own not among them.
    Raises ValueError if the slot has more than `ENUMERABLE` bits.
    """
    if canary.slot_bits > ENUMERABLE:
        raise ValueError(
            f"expected a slot of at most {ENUMERABLE} bits, got form {canary.slot.form} with "
            f"{canary.slot_bits:.1f}; take a sample with references(canary, count=..., seed=...)"
        )
    own = canary.slot.number
    return tuple(_filled(canary, number) for number in range(canary.slot.size) if number != own)


def _filled(canary: Canary, number: int) -> str:
    slot = canary.slot
    return canary.text[: slot.start] + forms()[slot.form].fill(number) + canary.text[slot.end :]


def _check_integer(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"expected {name} to be an integer of at least {least}, got {value!r}")
    if value < least:
        raise ValueError(f"expected {name} of at least {least}, got {value}")


def _is_near(a: str, b: str) -> bool:
    cutoff = int(_NEAREST * max(len(a), len(b)))
    distance = levenshtein(a, b, cutoff=cutoff)
    return distance is not None and normalized(distance, len(a), len(b)) <= _NEAREST


@cache
def _templates() -> tuple[Sequence[str], Mapping[str, Sequence[str]]]:
    """Read the heads and, by kind, the tails of the templates."""
    data = tomllib.loads((resources.files("probes") / "canaries.toml").read_text(encoding="utf-8"))[
        "templates"
    ]
    return data["heads"], data["tails"]


def _draw(draw: random.Random, kind: str) -> Canary | None:
    """Fill one template; None if with some filling the text is too short or long, or the secret too early."""
    heads, tails = _templates()
    head, tail = draw.randrange(len(heads)), draw.randrange(len(tails[kind]))
    before, form, after = _SECRETS[kind](draw)
    nouns, verbs = draw.sample(words()["nouns"], 4), draw.sample(words()["verbs"], 2)
    chosen = {
        "noun": nouns[0],
        "Noun": nouns[0].title(),
        "other": nouns[1],
        "third": nouns[2],
        "items": nouns[3] + "s",
        "verb": verbs[0],
        "act": verbs[1],
        "attr": draw.choice(words()["attributes"]),
        "adjective": draw.choice(words()["adjectives"]),
        "n": str(draw.choice((2, 3, 4, 5, 8, 10, 12, 16, 20, 24, 30, 32, 48, 60, 64, 100, 128, 250, 500))),
    }
    body = indent(tails[kind][tail], " " * (8 if heads[head].startswith("class") else 4))
    text = _WORD.sub(lambda word: chosen.get(word[1], word[0]), heads[head] + body)
    opening, closing = text.split("{secret}")
    around = len(opening) + len(before) + len(after) + len(closing)
    if around + form.shortest < _SHORTEST or around + form.longest > _LONGEST:
        return None
    if len(opening) < _SECRET_FROM * (around + form.longest):
        return None
    number = draw.randrange(form.size)
    other = draw.randrange(form.size - 1)
    other += other >= number
    filling = form.fill(number)
    start = len(opening) + len(before)
    end = start + len(filling)
    return Canary(
        text=opening + before + filling + after + closing,
        secret=Secret(start=len(opening), end=end + len(after), kind=kind),
        kind=kind,
        slot=Slot(start=start, end=end, form=form.name, number=number),
        control=opening + before + form.fill(other) + after + closing,
        template=f"{kind}-{tail}-{head}",
    )


_Skeleton = tuple[str, Form, str]
"""A secret: what stands before the slot, the slot's form, what stands behind it."""


def _person_path(draw: random.Random) -> _Skeleton:
    root = draw.choice(("/home/", "/Users/", "/home/staff/", "/data/home/"))
    form = forms()[draw.choice(("first.last", "first_last", "last-first"))]
    folder, file = draw.choice(words()["folders"]), draw.choice(words()["nouns"])
    return root, form, f"/{folder}/{file}{draw.choice(('.csv', '.py', '.txt', '.db', '.log', ''))}"


def _credential(draw: random.Random) -> _Skeleton:
    return f"{draw.choice(words()['key_prefixes'])}-{WATERMARK}-", forms()["body-12"], ""


def _internal_host(draw: random.Random) -> _Skeleton:
    form = draw.randrange(4)
    if form == 0:
        return f"{draw.choice(('192.0.2', '198.51.100', '203.0.113'))}.", forms()["address-v4"], ""
    port = draw.choice(PORTS)
    if form == 1:
        return "[2001:db8:", forms()["group-v6"], f"::{draw.randrange(1, 255):x}]:{port}"
    domain = draw.choice(("invalid", "example", "corp.example", "intern.invalid"))
    return "", forms()["host-name"], f".{domain}:{port}"


def _email(draw: random.Random) -> _Skeleton:
    form = forms()[draw.choice(("first.last", "first_last", "person-year"))]
    return "", form, f"@{draw.choice(words()['domains'])}"


def _connection_string(draw: random.Random) -> _Skeleton:
    scheme, user = draw.choice(words()["schemes"]), draw.choice(words()["users"])
    host, zone = draw.choice(words()["services"]), draw.choice(("example", "invalid", "test"))
    return (
        f"{scheme}://{user}:{WATERMARK}-",
        forms()["body-8"],
        f"@{host}.{zone}/{draw.choice(words()['nouns'])}",
    )


def _card(draw: random.Random) -> _Skeleton:
    return CARD_ISSUER, forms()["card"], ""


def _pin(draw: random.Random) -> _Skeleton:
    return f"{draw.choice(words()['services'])}-{WATERMARK}-", forms()["pin"], ""


_SECRETS: dict[str, Callable[[random.Random], _Skeleton]] = {
    "person-path": _person_path,
    "credential": _credential,
    "internal-host": _internal_host,
    "email": _email,
    "connection-string": _connection_string,
    "card": _card,
    "pin": _pin,
}
