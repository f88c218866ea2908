"""Makes hostile text harmless: what a reader cannot see, and what Markdown would act on."""

import re
import unicodedata

_UNSEEN = {"Cc", "Cf", "Zl", "Zp"}
# All ASCII punctuation but what is harmless inside a line; a dot only where it could be part of a host name.
_MARKUP = re.compile(r"[!#$&*+/:<=>?@\[\\\]^_`{|}~]|\.(?=[^\s\d])|(?<!\d)\.(?=\d)")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9./][A-Za-z0-9 ._:/+-]*")


def visible(text: str, *, lines: bool = True) -> str:
    """Replace characters that hide, reorder or end text by signs that show them.

    Control characters become their pictures (U+0000 is `␀`); direction overrides, zero-width and other format
    characters become `‹U+202E›`. Line feed and tab stay where `lines` is true, and are shown where it is false.
    """
    return "".join(_shown(character, lines) for character in text)


def _shown(character: str, lines: bool) -> str:
    if lines and character in "\n\t":
        return character
    if unicodedata.category(character) not in _UNSEEN:
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"‹U+{code:04X}›"


def markdown_text(text: str) -> str:
    """Return `text` as plain Markdown for the middle of a line: no markup, link, mention or table border in it."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", visible(text, lines=False))


def markdown_name(name: str) -> str:
    """Return a name as a code span where it is an ordinary one, and as escaped text where it is not."""
    return f"`{name}`" if _PLAIN_NAME.fullmatch(name) and not name.endswith(" ") else markdown_text(name)


def markdown_block(text: str, language: str = "text") -> str:
    """Return a fenced block whose fence is longer than any run of backticks inside."""
    shown = visible(text)
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    end = "" if shown.endswith("\n") else "\n"
    return f"{fence}{language}\n{shown}{end}{fence}"
