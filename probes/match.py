"""Matching two texts, or a completion with its target, at every level."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from probes.distance import levenshtein, normalized
from probes.languages import lexer
from probes.levels import LEVELS, characters, check_levels, tokenize_all
from probes.tokens import Token


@dataclass(frozen=True, kw_only=True)
class Match:
    """The comparison of two texts at a level, in characters at `exact` and in tokens at all others."""

    level: str
    distance: int
    """Levenshtein distance."""
    target_length: int
    completion_length: int
    """Length of what was compared, after the cut if there was one."""
    lexer: str
    """What read the texts: the language's own lexer, by the language's name, or `generic`."""
    at_least: bool = False
    """The completion is known in part: whatever follows, neither `distance` nor `normalized` is less."""

    @property
    def equal(self) -> bool:
        """The two are the same at this level."""
        return self.distance == 0 and not self.at_least

    @property
    def normalized(self) -> float:
        """Distance relative to the greater length, in [0, 1]; see `distance.normalized`."""
        return normalized(self.distance, self.target_length, self.completion_length)


def compare(
    a: bytes,
    b: bytes,
    *,
    language: str = "python",
    levels: Sequence[str] = LEVELS,
    prompt: bytes = b"",
    secrets: Sequence[bytes] = (),
) -> dict[str, Match]:
    """Compare two texts as wholes, each read as what follows `prompt`; symmetrical.

    Equality at a level implies equality at all that follow. `secrets` are never taken away on either side.
    """
    of_a = _units(a, prompt, language, tuple(secrets), tuple(levels))
    of_b = of_a if a == b else _units(b, prompt, language, tuple(secrets), tuple(levels))
    return {level: _match(level, of_a[level], of_b[level], language) for level in levels}


def compare_completion(
    target: bytes,
    completion: bytes,
    *,
    prompt: bytes,
    language: str = "python",
    levels: Sequence[str] = LEVELS,
    secrets: Sequence[bytes] = (),
) -> dict[str, Match]:
    """Compare a completion that was decoded up to a budget, and so usually runs past the target, with it.

    At `exact` the completion is cut to the target's number of characters. At the other levels two cuts are
    tried, and the smaller distance counts, on a tie the first:

    1. The text cut to the target's characters. Where the target ends inside a literal this is the only cut
       that can agree with it: the completion goes on to the literal's end, and as a token it differs.
    2. The tokens cut to the target's number. A completion with wider spaces or one comment more would lose
       its end to the cut by characters, although only its form differs.

    Equality at a level implies equality at all that follow: the cut that makes the texts equal leaves the same
    tokens to start from, and a level is a function of the tokens of the one before. A completion that is
    shorter than the target is not cut. One that is laid out otherwise *and* meets a target that ends inside a
    literal is not equal by either cut. A level that takes all of the target away (a target inside a docstring
    at `code`) says nothing about it; its match is that of the level before.
    """
    check_levels(levels)
    known = target_units(target, prompt, language, tuple(secrets))
    text = characters(completion)
    length = len(known["exact"])
    cut = text[:length].encode("utf-8", errors="surrogateescape")
    match = _match("exact", known["exact"], text[:length], language)
    found = {"exact": match}
    by_characters: dict[str, Sequence[Hashable]] = {}
    by_tokens: dict[str, Sequence[Hashable]] = {}
    for level in LEVELS[1:]:
        aim = known[level]
        if match.equal:
            match = replace(match, level=level, target_length=len(aim), completion_length=len(aim))
        elif not aim:
            match = replace(match, level=level)
        else:
            by_characters = by_characters or _units(cut, prompt, language, tuple(secrets), LEVELS[1:])
            match = _match(level, aim, by_characters[level], language)
            if len(text) > length and not match.equal:
                by_tokens = by_tokens or _units(completion, prompt, language, tuple(secrets), LEVELS[1:])
                other = _match(level, aim, by_tokens[level][: len(aim)], language)
                match = min(match, other, key=lambda m: m.distance)
        found[level] = match
    return {level: found[level] for level in levels}


def _match(level: str, target: Sequence[Hashable], completion: Sequence[Hashable], language: str) -> Match:
    distance = levenshtein(target, completion)
    assert distance is not None  # there is no cutoff
    return Match(
        level=level,
        distance=distance,
        target_length=len(target),
        completion_length=len(completion),
        lexer=lexer(language),
    )


def _units(
    text: bytes, prompt: bytes, language: str, secrets: tuple[bytes, ...], levels: Sequence[str]
) -> dict[str, Sequence[Hashable]]:
    """Return what is compared at each level: characters, or tokens without their place."""
    units: dict[str, Sequence[Hashable]] = {"exact": characters(text)}
    tokens = tokenize_all(
        text,
        language=language,
        prompt=prompt,
        secrets=secrets,
        levels=[level for level in levels if level != "exact"],
    )
    for level, found in tokens.items():
        units[level] = [_compared(token) for token in found]
    return units


def _compared(token: Token) -> tuple[bytes, str]:
    return token[:2]


@lru_cache(maxsize=4096)
def target_units(
    target: bytes, prompt: bytes, language: str, secrets: tuple[bytes, ...]
) -> dict[str, Sequence[Hashable]]:
    """Units of a target, which is compared once for each checkpoint."""
    return _units(target, prompt, language, secrets, LEVELS)
