"""Where a training text stands, as the address that tools open files by."""

import re
from posixpath import normpath
from urllib.parse import quote

_ESCAPED = re.compile(r"\\(?:([\\nrt])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_CHARACTERS = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}


def address(source: str) -> str | None:
    """Return a source as a URI reference (RFC 3986): relative, or with the scheme `file` where its path is absolute.

    A source is a path in which what is not printable, and the backslash, is escaped with a backslash; the address is
    that of the file itself, so no character but `/` in it means anything. None where the path names no file below its
    root, as `../x` does.
    """
    path = normpath(_plain(source))
    if path in (b".", b"/", b"//") or path.split(b"/")[0] == b"..":
        return None
    if not path.startswith(b"/"):
        return quote(path, safe="/")
    # Two slashes at the beginning would make the next name a host.
    return f"file:///{quote(path.lstrip(b'/'), safe='/')}"


def _plain(source: str) -> bytes:
    """Undo the escapes."""
    found, end = b"", 0
    for escape in _ESCAPED.finditer(source):
        sign, byte, short, long = escape.groups()
        found += _bytes(source[end : escape.start()])
        if byte:
            found += bytes([int(byte, 16)])
        elif sign:
            found += _bytes(_CHARACTERS[sign])
        else:
            code = int(short or long, 16)
            found += _bytes(chr(code) if code <= 0x10FFFF else escape[0])
        end = escape.end()
    return found + _bytes(source[end:])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
