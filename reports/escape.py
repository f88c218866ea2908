"""Makes hostile text harmless: what a reader cannot see, and what Markdown would act on."""

import re
import unicodedata

_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# What Unicode would have ignored when it is drawn (DerivedCoreProperties, Default_Ignorable_Code_Point) though it is a
# letter or a mark, and a letter of Braille without dots.
_IGNORED = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
# All ASCII punctuation but what is harmless inside a line; a dot only where it could be part of a host name.
_MARKUP = r"[!#$&*+/:<=>?@\[\\\]^_`{|}~]|\.(?=[^\s\d])|(?<!\d)\.(?=\d)"
# What GitHub and GitLab take for the name of a person, an issue and the like.
_REFERENCE = r'[!#%&@~](?:(?i:gh)-(?=\d)|(?=[\w"]))|(?<!\w)(?i:gh)-(?=\d)'
# What begins a list, a rule or indented code where the text begins a line.
_FIRST = r"\A(?: |-(?=[\s-]|\Z)|\d(?=\d{0,8}[.)](?:\s|\Z)))"
_ACTIVE = re.compile(rf"(?P<reference>{_REFERENCE})|{_MARKUP}|{_FIRST}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9./_@][A-Za-z0-9 ._:/+@#-]*")


def visible(text: str, *, lines: bool = True) -> str:
    """Replace characters that hide, reorder or end text by signs that show them.

    Control characters become their pictures (U+0000 is `␀`); direction overrides, zero-width and other format
    characters become `‹U+202E›`, and so do halves of surrogate pairs, which no file can hold. Line feed and tab stay
    where `lines` is true, and are shown where it is false.
    """
    return "".join(_shown(character, lines) for character in text)


def _shown(character: str, lines: bool) -> str:
    if " " <= character <= "~" or (lines and character in "\n\t"):
        return character
    if unicodedata.category(character) not in _UNSEEN and not _IGNORED.match(character):
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"‹U+{code:04X}›"


def markdown_text(text: str) -> str:
    """Return `text` as plain Markdown for a line or a part of one: no markup, link, mention or table border in it.

    Forges look for references in the finished page, where an escaped sign is a sign again; only what stands in code is
    left alone (https://github.com/github/cmark-gfm/issues/181). So such a sign becomes code.
    """
    return _ACTIVE.sub(_inert, visible(text, lines=False))


def _inert(found: re.Match[str]) -> str:
    return f"`{found[0]}`" if found["reference"] else f"&#{ord(found[0])};"


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
