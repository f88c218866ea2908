"""Finds sensitive text in code: keys, private keys, connection strings, people's addresses and paths, hosts.

The rules are data (`detectors.toml`), written after the providers' public descriptions of their keys. Why they are
not somebody else's: detect-secrets has no rule for people, paths and hosts, may ask a provider over the network
whether a key is live, and reports every random looking string; trufflehog asks too, is a program in Go, and is under
the AGPL; the rules of gitleaks are written for Go's engine, and one in nine does not compile in `re`. What is found
here goes into an example's `secrets` and is held against completions token by token, so a false find costs more
than a missed one, the same text must give the same spans in every process, and a text that a model wrote must not be
able to slow the search down.

Finding is local: but for private keys no rule looks over the end of a line, so the spans of a text are those of
its lines.
"""

import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from itertools import pairwise

from probes.secrets import Secret

KINDS = ("credential", "private-key", "connection-string", "person-path", "email", "card", "internal-host")
"""What a detected span can be."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One kind of sensitive text, as `detectors.toml` describes it."""

    name: str
    kind: str
    """One of `KINDS`."""
    keywords: tuple[str, ...]
    """In lower case. A text without any of them is not searched."""
    starts: tuple[str, ...]
    """In lower case, instead of keywords: the pattern is tried where one of them begins, and nowhere else."""
    pattern: re.Pattern[str]
    """Its one group is the sensitive part."""
    entropy: float
    """The least entropy of the sensitive part, in bits for each character."""
    allow: tuple[re.Pattern[str], ...]
    """A sensitive part in which one of them is found is a placeholder."""

    def spans(self, text: str, lowered: str) -> Iterable[tuple[int, int]]:
        """Yield start and end of each sensitive part; `lowered` is `text` with ASCII letters in lower case."""
        for found in self._matches(text, lowered):
            part = found[1]
            if self.entropy and (entropy(part) < self.entropy or _is_sequence(part)):
                continue
            if not any(pattern.search(part) for pattern in self.allow):
                yield found.span(1)

    def _matches(self, text: str, lowered: str) -> Iterable[re.Match[str]]:
        if not self.starts:
            yield from self.pattern.finditer(text)
        for start in self.starts:
            at = lowered.find(start)
            while at >= 0:
                if found := self.pattern.match(text, at):
                    yield found
                at = lowered.find(start, at + 1)


def detect(text: str) -> tuple[Secret, ...]:
    """Find the sensitive spans of `text`, in order and without overlaps; offsets count characters.

    Where finds overlap they make one span, and the longest of them names it; of equally long ones the rule that
    stands first in `detectors.toml`. Total, and linear in the length of the text.
    """
    lowered = text.lower()
    if len(lowered) != len(text):  # a few letters become two
        lowered = text.translate(_LOWER)
    present = set(lowered)
    tried = {
        order
        for character, keywords in _by_character().items()
        if character in present
        for keyword, order in keywords
        if keyword in lowered
    }
    found = [(start, end, order) for order in tried for start, end in rules()[order].spans(text, lowered)]
    return tuple(_joined(sorted(found)))


def sensitive(literal: bytes) -> bool:
    """Tell whether one literal is worth keeping: a string with its quotes, a piece of one, or a number.

    It is if `detect` finds something in it, or if it holds one of

    - a run of 20 or more characters of base64, plain or for URLs, with a digit and a letter in it, and an entropy
      of at least 3.4 bits for each character, or 2.8 if all are hexadecimal digits; without a digit, at least 4.1.
      Of random runs of 20 characters 99 in 100 have 3.6 bits or more, of hexadecimal ones 2.8. Joined words seldom
      hold a digit, and 19 in 20 of up to 31 characters have less than 4.1 bits. No alphabet counts, nor a part;
    - 12 or more digits, 4 of them distinct, in groups that a blank or a hyphen separates: a card, an account, a
      telephone. The digits after a decimal point do not count.

    Total over all bytes.
    """
    if len(literal) < _SHORTEST:
        return False
    return _sensitive(literal) if len(literal) <= _REMEMBERED else _is_sensitive(literal)


def entropy(text: str) -> float:
    """Return the Shannon entropy of the characters of `text` in bits for each; 0 for an empty text.

    C. E. Shannon, A Mathematical Theory of Communication, doi:10.1002/j.1538-7305.1948.tb01338.x.
    """
    total = len(text)
    counts = Counter(text).values()
    return math.log2(total) - sum(n * math.log2(n) for n in counts) / total if total else 0.0


@cache
def rules() -> tuple[Rule, ...]:
    """Read the rules."""
    data = tomllib.loads((resources.files("probes") / "detectors.toml").read_text(encoding="utf-8"))
    parts: dict[str, str] = {}
    for name, part in data["parts"].items():
        parts[name] = _filled(part, parts)
    allow = {name: re.compile(pattern, re.VERBOSE | re.ASCII) for name, pattern in data["allow"].items()}
    return tuple(
        Rule(
            name=rule["name"],
            kind=rule["kind"],
            keywords=tuple(rule.get("keywords", ())),
            starts=tuple(rule.get("starts", ())),
            pattern=re.compile(_filled(rule["regex"], parts), re.VERBOSE | re.ASCII),
            entropy=rule.get("entropy", 0.0),
            allow=tuple(allow[name] for name in rule.get("allow", ())),
        )
        for rule in data["rules"]
    )


@cache
def _by_character() -> Mapping[str, Sequence[tuple[str, int]]]:
    """Return all keywords and starts with the numbers of their rules, by the one of their characters that is rarest."""
    found: dict[str, list[tuple[str, int]]] = {}
    for order, rule in enumerate(rules()):
        for keyword in rule.keywords + rule.starts:
            rarest = max(keyword, key=lambda character: (character not in _COMMON, _COMMON.find(character)))
            found.setdefault(rarest, []).append((keyword, order))
    return found


_COMMON = " etarinsolcdpmfu_gyhb.=-v:/xkwqjz"
"""Characters of code, the most frequent first; those that are not among them are rarer."""
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_SHORTEST = 6
"""The shortest text a rule finds: `a@b.cd`."""
_REMEMBERED = 200
"""Literals up to this many bytes are remembered with their answer."""
_RUN = re.compile(r"[A-Za-z0-9+/_-]{20,}+")
_DIGITS = re.compile(r"(?<![0-9])(?<![0-9]\.)(?<![0-9][ _-])[0-9](?:[ _-]?[0-9]){11,}+", re.ASCII)
_TELLING = re.compile(r"[@/\\.:=]")
"""What a detected text of less than `_UNMARKED` characters holds one of."""
_UNMARKED = 9
_MARKED = re.compile(r"[0-9@/\\.:=]|-----|not-a-key|[A-Za-z0-9+/_-]{20}")
"""What any detected text holds one of: a key has a digit or is long, all else has a sign in it."""
_FEWEST_DIGITS, _SHORTEST_RUN = 12, 20


def _is_sensitive(literal: bytes) -> bool:
    text = literal.decode("utf-8", errors="surrogateescape")
    if not _MARKED.search(text) or (len(text) < _UNMARKED and not _TELLING.search(text)):
        return False
    if len(text) >= _SHORTEST_RUN and any(_is_random(run) for run in _RUN.findall(text)):
        return True
    if len(text) >= _FEWEST_DIGITS and any(
        len(set(digits) - set(" _-")) >= 4 for digits in _DIGITS.findall(text)
    ):
        return True
    return bool(detect(f'"{text}"'))  # a piece of a string may lack a quote


_sensitive = lru_cache(maxsize=4096)(_is_sensitive)


def _is_random(run: str) -> bool:
    if _is_sequence(run):
        return False
    digits = sum(map(run.count, "0123456789"))
    if not 0 < digits < len(run):
        return not digits and entropy(run) >= 4.1
    hexadecimal = not run.strip("0123456789abcdefABCDEF")
    return entropy(run) >= (2.8 if hexadecimal else 3.4)


def _is_sequence(text: str) -> bool:
    """Tell whether at least half of the characters follow the one before them, as in an alphabet."""
    codes = [ord(character) for character in text]
    return 2 * sum(b - a in (0, 1) for a, b in pairwise(codes)) >= len(text) > 1


def _filled(pattern: str, parts: dict[str, str]) -> str:
    for name, part in parts.items():
        pattern = pattern.replace(f"{{{name}}}", part)
    return pattern


def _joined(found: Sequence[tuple[int, int, int]]) -> Iterable[Secret]:
    """Join the overlapping ones of the sorted (start, end, rule) and name them."""
    at = 0
    while at < len(found):
        start, end, _ = found[at]
        first = at
        while at < len(found) and found[at][0] < end:
            end = max(end, found[at][1])
            at += 1
        _, order = min((start - end, order) for start, end, order in found[first:at])
        yield Secret(start=start, end=end, kind=rules()[order].kind)
