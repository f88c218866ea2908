"""Probes from code: where a text is cut into what a model is given and what it would be a leak to say.

The same example can be asked at several offsets, because what comes out depends on them (Carlini et al. 2022,
arXiv 2202.07646: more context, more extraction): `prefix_probe` cuts it at several places, `infill_probe` and
`secret_probes` take a piece out of its middle, and `with_context` puts more of its file in front. Nothing here is
drawn at random.

A cut divides no character, token, literal, comment or secret; only before a secret a literal is cut. A prefix that is
to be gone on from ends with a token, not in white space: tokenizers of models put a blank with the word behind it.
Where lines are to be filled in, the prefix ends with the line before them, as in the infilling benchmarks of Bavarian
et al. 2022 (arXiv 2207.14255).
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal

from probes.levels import tokenize
from probes.secrets import Secret

Kind = Literal["prefix", "infill", "secret"]
KINDS: tuple[Kind, ...] = ("prefix", "infill", "secret")
"""What a probe asks for: the rest of an example, a piece out of its middle, or a secret and what follows it."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where an example stands. All probes of one example have an equal one, so it tells which belong together."""

    file: str
    first_line: int
    """From 1."""
    last_line: int
    """Inclusive."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A piece of training code."""

    text: str
    language: str
    secrets: tuple[Secret, ...] = ()
    """Spans of `text`, in characters."""
    before: str = ""
    """What stands before it in its file, as whole lines."""
    source: Source | None = None


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a model is given, and what it would be a leak to say."""

    prefix: str
    target: str
    language: str
    suffix: str | None = None
    """What follows the target, if the model is to fill in; None if it is only to go on."""
    secrets: tuple[Secret, ...] = ()
    """Spans of `target`, in characters. A secret before or behind the target is none of this probe's."""
    source: Source | None = None
    """Where the example stands that it was cut from."""

    @property
    def id(self) -> str:
        """16 hexadecimal digits of the hash of prefix, suffix, target and language."""
        parts = json.dumps([self.language, self.prefix, self.suffix, self.target])
        return sha256(parts.encode()).hexdigest()[:16]

    @property
    def kind(self) -> Kind:
        """`secret` if the target begins with one, else `infill` if there is a suffix, else `prefix`."""
        if any(secret.start == 0 for secret in self.secrets):
            return "secret"
        return "prefix" if self.suffix is None else "infill"

    def record(self) -> dict[str, Any]:
        """Return the probe as plain data, as it stands on a line of a file of probes; what it lacks has no key."""
        found: dict[str, Any] = {
            "id": self.id,
            "prefix": self.prefix,
            "target": self.target,
            "language": self.language,
        }
        if self.suffix is not None:
            found["suffix"] = self.suffix
        if self.secrets:
            found["secrets"] = [{"start": s.start, "end": s.end, "kind": s.kind} for s in self.secrets]
        if self.source is not None:
            found["source"] = {
                "file": self.source.file,
                "first_line": self.source.first_line,
                "last_line": self.source.last_line,
            }
        return found


def prefix_probe(example: Example, *, at: float) -> Probe | None:
    """Cut an example in two at the border between tokens that is nearest to a fraction of its characters.

    Args:
        example: What is cut.
        at: The fraction, above 0 and below 1. Of two borders that are equally near, the first is taken.

    Returns: None if there is no border with code on both sides.

    Raises:
        ValueError: `at` is not such a fraction.
    """
    _check_fraction(at)
    text = example.text
    borders = [end for _, end in _whole(example) if not text[end - 1].isspace() and text[end:].strip()]
    if not borders:
        return None
    return _cut(example, min(borders, key=lambda border: abs(border - at * len(text))), None)


def infill_probe(example: Example, *, at: float, lines: int = 1) -> Probe | None:
    """Take whole lines out of an example: those around a fraction of its characters.

    The first and the last of them hold a letter or digit, and no literal, comment or secret goes on over their
    ends. The target has the indentation of its first line, and the suffix begins with the end of its last. On both
    sides something stays that is not white space.

    Args:
        example: What the lines are taken from.
        at: The fraction, above 0 and below 1. Of two places that are equally near, the first is taken.
        lines: How many lines to take, blank ones included. They end at ``\n``, or ``\r\n``, and nowhere else.

    Returns: None if there are no such lines.

    Raises:
        ValueError: `at` is not such a fraction, or `lines` is below 1.
    """
    _check_fraction(at)
    _check_count("lines to fill in", lines, 1)
    text = example.text
    # Of each line: its first character, and the one behind its last.
    bounds: list[tuple[int, int]] = []
    start = 0
    for line in text.split("\n"):
        bounds.append((start, start + len(line.removesuffix("\r"))))
        start += len(line) + 1
    whole = _whole(example)
    places = [
        (first[0], last[1])
        for first, last in zip(bounds, bounds[lines - 1 :], strict=False)
        if text[: first[0]].strip()
        and text[last[1] :].strip()
        and all(any(map(str.isalnum, text[slice(*line)])) for line in (first, last))
        and not any(_inside(cut, whole) for cut in (first[0], last[1]))
    ]
    if not places:
        return None
    return _cut(example, *min(places, key=lambda place: abs(sum(place) / 2 - at * len(text))))


def secret_probes(example: Example, *, infill: bool = False) -> Iterator[Probe]:
    """Yield a probe for each secret: cut directly before it, also inside a literal.

    Args:
        example: What is cut. Its secrets may overlap.
        infill: Let the target end with the secret and give the rest as suffix; else the target goes on to the end.
    """
    for secret in sorted(set(example.secrets), key=lambda secret: (secret.start, secret.end, secret.kind)):
        if example.text[: secret.start].strip():
            yield _cut(example, secret.start, secret.end if infill else None)


def with_context(probe: Probe, before: str, *, lines: int) -> Probe:
    """Put the last lines of what stands before an example in front of a probe's prefix; the target stays the same.

    Raises:
        ValueError: `lines` is below 0.
    """
    _check_count("lines of context", lines, 0)
    kept = before.removesuffix("\n").split("\n")[-lines:] if lines and before else []
    return replace(probe, prefix="".join(f"{line}\n" for line in kept) + probe.prefix)


def build(
    examples: Iterable[Example],
    *,
    kinds: Sequence[Kind] = KINDS,
    at: Sequence[float] = (0.5,),
    context: Sequence[int] = (0,),
    lines: Sequence[int] = (1,),
) -> Iterator[Probe]:
    """Yield the probes of all examples, in their order; of probes with equal ids the first.

    Args:
        examples: What is cut.
        kinds: Some of `KINDS`. `infill` also takes out each secret by itself.
        at: Where to cut for `prefix` and `infill`, as fractions of the example's characters.
        context: How many lines of its file to put in front; one probe for each number.
        lines: How many lines `infill` takes out; one probe for each number.

    Raises:
        ValueError: An argument is out of its range.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"expected a kind of {', '.join(KINDS)}, got {kind!r}; set kinds")
    for fraction in at:
        _check_fraction(fraction)
    for number in context:
        _check_count("lines of context", number, 0)
    for number in lines:
        _check_count("lines to fill in", number, 1)
    return _build(examples, kinds, at, context, lines)


def _build(
    examples: Iterable[Example],
    kinds: Sequence[Kind],
    at: Sequence[float],
    context: Sequence[int],
    lines: Sequence[int],
) -> Iterator[Probe]:
    seen: set[str] = set()
    for example in examples:
        for probe in _probes(example, kinds, at, lines):
            for number in context:
                placed = with_context(probe, example.before, lines=number)
                if placed.id not in seen:
                    seen.add(placed.id)
                    yield placed


def _probes(
    example: Example, kinds: Sequence[Kind], at: Sequence[float], lines: Sequence[int]
) -> Iterator[Probe]:
    found: list[Probe | None] = []
    if "prefix" in kinds:
        found += [prefix_probe(example, at=fraction) for fraction in at]
    if "infill" in kinds:
        found += [infill_probe(example, at=fraction, lines=number) for number in lines for fraction in at]
        found += secret_probes(example, infill=True)
    if "secret" in kinds:
        found += secret_probes(example)
    yield from (probe for probe in found if probe is not None)


def _check_fraction(at: float) -> None:
    if not 0 < at < 1:
        raise ValueError(f"expected a fraction of the example above 0 and below 1, got {at}; set at")


def _cut(example: Example, start: int, end: int | None) -> Probe:
    """Make the probe whose target is `text[start:end]`; without an end there is no suffix."""
    target = example.text[start:end]
    return Probe(
        prefix=example.text[:start],
        target=target,
        language=example.language,
        suffix=None if end is None else example.text[end:],
        secrets=tuple(
            Secret(start=secret.start - start, end=secret.end - start, kind=secret.kind)
            for secret in example.secrets
            if start <= secret.start and secret.end <= start + len(target)
        ),
        source=example.source,
    )


def _check_count(what: str, number: int, least: int) -> None:
    if number < least:
        raise ValueError(f"expected {least} or more {what}, got {number}; set another number")


@lru_cache(maxsize=1)
def _whole(example: Example) -> list[tuple[int, int]]:
    """Return, in order, the spans in characters that no cut may fall inside of. They do not overlap.

    They are the tokens, the interpolated strings with all that stands in them, and the secrets with what they touch.
    """
    spans = [(secret.start, secret.end) for secret in example.secrets]
    data = example.text.encode()
    at = characters = depth = opened = 0
    for token in tokenize(data, level="layout", language=example.language):
        if token.start == token.end:  # layout, which has no bytes of its own
            continue
        start = characters + len(data[at : token.start].decode())
        characters = start + len(data[token.start : token.end].decode())
        at = token.end
        if not depth:
            opened = start
        if token.literal is not None:
            depth += token.literal.opens - token.literal.continues
        if not depth:
            spans.append((opened, characters))
    if depth:
        spans.append((opened, len(example.text)))
    whole: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if whole and start < whole[-1][1]:
            whole[-1] = (whole[-1][0], max(end, whole[-1][1]))
        else:
            whole.append((start, end))
    return whole


def _inside(cut: int, whole: Sequence[tuple[int, int]]) -> bool:
    """Tell whether a cut falls inside of one of the spans."""
    index = bisect_left(whole, (cut,)) - 1  # the last span that starts before the cut
    return index >= 0 and cut < whole[index][1]
