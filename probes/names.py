"""What level `renamed` makes of a word."""

import unicodedata

SYMBOL = b"<name>"
"""Text of the token that stands for every name that can be bound; no word is spelled so."""


def is_spelled(word: bytes) -> bool:
    """Tell whether the word is no name of the program's: a `__dunder__`, or bytes that make no identifier."""
    if word.startswith(b"__") and word.endswith(b"__") and len(word) > 4:
        return True
    if word.isascii():
        return False
    text = word.decode("utf-8", errors="surrogateescape")
    return not text.replace("$", "_").removeprefix("'").isidentifier()


def normal_form(word: bytes) -> bytes:
    """Return the word in Unicode's normal form C, in which one letter is spelled in one way."""
    text = word.decode("utf-8", errors="surrogateescape")
    return unicodedata.normalize("NFC", text).encode("utf-8", errors="surrogateescape")
