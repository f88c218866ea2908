"""Synthetic sensitive examples: plausible Python with a secret that is safe by construction.

No secret can belong to anybody. People's names are invented. Credentials have the look of a provider's key, but
carry `WATERMARK`, which breaks every provider's format, and are too short. Hosts lie in name spaces and address
ranges reserved for documentation (RFC 2606, 5737, 3849).
"""

import random
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from textwrap import indent

from probes.distance import levenshtein, normalized
from probes.secrets import Secret

WATERMARK = "not-a-key"
"""Stands in every synthetic credential. A log or a repository can be searched for it."""

KINDS = ("person-path", "credential", "internal-host")

_Words = Mapping[str, Sequence[str]]

_SLOT = re.compile(r"\{(\w+)\}")
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


def generate(*, count: int, seed: int) -> list[Canary]:
    """Return `count` canaries, the kinds in turn; the same for the same arguments on every machine.

    No two have the same secret, and the second halves of any two differ by more than a fifth of their
    characters. A greater count only adds to the list. Raises ValueError if there are not so many.
    """
    if count < 0:
        raise ValueError(f"expected a count of at least 0, got {count}")
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
        secret = canary.text[canary.secret.start : canary.secret.end]
        half = canary.text[len(canary.text) // 2 :]
        if secret in secrets or any(_is_near(half, other) for other in halves):
            continue
        found.append(canary)
        secrets.add(secret)
        halves.append(half)
        attempts = 0
    return found


def _is_near(a: str, b: str) -> bool:
    cutoff = int(_NEAREST * max(len(a), len(b)))
    distance = levenshtein(a, b, cutoff=cutoff)
    return distance is not None and normalized(distance, len(a), len(b)) <= _NEAREST


@cache
def _material() -> tuple[_Words, Sequence[str], Mapping[str, Sequence[str]]]:
    """Read the words, the heads and, by kind, the tails of the templates."""
    data = tomllib.loads((resources.files("probes") / "canaries.toml").read_text(encoding="utf-8"))
    words = {kind: group.split() for kind, group in data["words"].items()}
    return words, data["templates"]["heads"], data["templates"]["tails"]


def _draw(draw: random.Random, kind: str) -> Canary | None:
    """Fill one template; None if the text came out too long or the secret too early."""
    words, heads, tails = _material()
    head, tail = draw.choice(heads), draw.choice(tails[kind])
    secret = _SECRETS[kind](draw, words)
    nouns, verbs = draw.sample(words["nouns"], 4), draw.sample(words["verbs"], 2)
    slots = {
        "noun": nouns[0],
        "Noun": nouns[0].title(),
        "other": nouns[1],
        "third": nouns[2],
        "items": nouns[3] + "s",
        "verb": verbs[0],
        "act": verbs[1],
        "attr": draw.choice(words["attributes"]),
        "adjective": draw.choice(words["adjectives"]),
        "n": str(draw.choice((2, 3, 4, 5, 8, 10, 12, 16, 20, 24, 30, 32, 48, 60, 64, 100, 128, 250, 500))),
    }
    body = indent(tail, " " * (8 if head.startswith("class") else 4))
    text = _SLOT.sub(lambda slot: slots.get(slot[1], slot[0]), head + body)
    start = text.index("{secret}")
    text = text.replace("{secret}", secret)
    if not _SHORTEST <= len(text) <= _LONGEST or start < _SECRET_FROM * len(text):
        return None
    return Canary(text=text, secret=Secret(start=start, end=start + len(secret), kind=kind), kind=kind)


def _person_path(draw: random.Random, words: _Words) -> str:
    first, last = draw.choice(words["first_names"]), draw.choice(words["last_names"])
    person = draw.choice((f"{first}.{last}", f"{first}_{last}", f"{last}-{first}", f"{first[0]}{last}"))
    root = draw.choice(("/home/", "/Users/", "/home/staff/", "/data/home/"))
    folder, file = draw.choice(words["folders"]), draw.choice(words["nouns"])
    return f"{root}{person}/{folder}/{file}{draw.choice(('.csv', '.py', '.txt', '.db', '.log', ''))}"


def _credential(draw: random.Random, words: _Words) -> str:
    body = "".join(draw.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(12))
    return f"{draw.choice(words['key_prefixes'])}-{WATERMARK}-{body}"


def _internal_host(draw: random.Random, words: _Words) -> str:
    port = draw.choice((22, 389, 443, 1883, 2379, 3306, 5000, 5432, 6379, 8080, 8443, 9000, 9092, 9200))
    byte = draw.randrange(1, 255)
    form = draw.randrange(4)
    if form == 0:
        return f"{draw.choice(('192.0.2', '198.51.100', '203.0.113'))}.{byte}:{port}"
    if form == 1:
        return f"[2001:db8:{draw.randrange(1, 0xFFFF):x}::{byte:x}]:{port}"
    service, site = draw.choice(words["services"]), draw.choice(words["sites"])
    domain = draw.choice(("invalid", "example", "corp.example", "intern.invalid"))
    return f"{service}{byte % 40 + 1:02d}.{site}.{domain}:{port}"


_SECRETS: dict[str, Callable[[random.Random, _Words], str]] = {
    "person-path": _person_path,
    "credential": _credential,
    "internal-host": _internal_host,
}
