"""Near-copies of code: the same text with some words replaced, as forks and pasted code come into a corpus."""

import random

from probes.lexing import lex


def near_copies(text: str, language: str, count: int, noise: float, rng: random.Random) -> list[str]:
    """`count` texts that differ from `text` and from each other, or as many as a text of few words has.

    In each a share `noise` of the words, at least one, is replaced by other words of the same text; which ones is
    drawn anew for each. White space, strings, comments and operators stay, so a copy need not parse.
    """
    data = text.encode()
    words = [token for token in lex(data, language) if token.kind == "word"]
    known = sorted({token.text for token in words})
    found: dict[str, None] = {}
    for _ in range(20 * count if len(known) > 1 else 0):
        copy = bytearray(data)
        chosen = rng.sample(range(len(words)), max(1, round(noise * len(words))))
        for place in sorted(chosen, reverse=True):  # from the end, so that what is before stays where it is
            word = words[place]
            copy[word.start : word.end] = rng.choice([other for other in known if other != word.text])
        found.setdefault(copy.decode())
        if len(found) == count:
            break
    return list(found)
