"""One style of quotes, in languages where single and double ones mean the same."""

import re

from probes.tokens import Token

_QUOTES = re.compile(rb"\\([\s\S])|\"")


def with_double_quotes(token: Token) -> bytes:
    r"""Return the string with its prefix in lower case and in double quotes, `"` escaped and `'` not.

    An unfinished string stays as it is, and so do the quotes of a raw one in single quotes that holds a double
    quote or has fields: nothing in it can be escaped. What has other quotes is no such string: a template, a
    regular expression.
    """
    literal = token.literal
    if literal is None or not literal.closed or literal.quote[:1] not in (b"'", b'"'):
        return token.text
    quote = literal.quote
    if quote == b'"' and not literal.prefix and b"\\" not in token.text:
        return token.text
    prefix = literal.prefix.lower().replace(b"u", b"")
    raw = b"r" in prefix
    mark = len(quote)
    start = 0 if literal.continues else len(literal.prefix) + mark
    stop = len(token.text) - (0 if literal.opens else mark)
    body = token.text[start:stop]
    if not raw:
        body = _QUOTES.sub(_escape, body)
    if not (raw and (literal.opens or literal.continues or b'"' in body)):
        quote = b'"' * mark
    head = b"" if literal.continues else bytes(sorted(prefix)) + quote
    return head + body + (b"" if literal.opens else quote)


def _escape(found: re.Match[bytes]) -> bytes:
    if found[1] is None:
        return b'\\"'
    return b"'" if found[1] == b"'" else found[0]
