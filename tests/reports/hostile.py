"""Texts that would do something if a document did not treat them as text, by what they are aimed at.

What can run sets `window.owned`; what can load asks a port of this machine at which nobody listens.
"""

import re
from collections.abc import Iterator
from itertools import count, islice
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

RUN = "window.owned=1"
ELSEWHERE = "http://127.0.0.1:9/x"

_HTML = [
    f"<script>{RUN}</script>",
    f"<ScRiPt>{RUN}</sCrIpT>",
    f"<script >{RUN}</script >",
    f"<script/x>{RUN}</script>",
    f"<script src={ELSEWHERE}></script>",
    f"<script type=module>{RUN}</script>",
    f"<<script>{RUN}//<</script>",
    f"<scr<script>ipt>{RUN}</scr</script>ipt>",
    f"<img src=x onerror={RUN}>",
    f"<img src=x onerror='{RUN}'",
    f'<img src="{ELSEWHERE}">',
    f"<img/src/onerror={RUN}>",
    f"<IMG SRC=x ONERROR={RUN}>",
    f"<image src=x onerror={RUN}>",
    f"<body onload={RUN}>",
    f"<body onpageshow={RUN}>",
    f"<iframe src=javascript:{RUN}></iframe>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'>",
    f"<iframe onload={RUN}></iframe>",
    f"<object data={ELSEWHERE}></object>",
    f"<embed src={ELSEWHERE}>",
    f"<input autofocus onfocus={RUN}>",
    f"<select autofocus onfocus={RUN}>",
    f"<textarea autofocus onfocus={RUN}>",
    f"<button autofocus onfocus={RUN}>x</button>",
    f"<details open ontoggle={RUN}>",
    f"<video><source onerror={RUN}></video>",
    f"<audio src=x onerror={RUN}>",
    f"<marquee onstart={RUN}>",
    f"<div onmouseover={RUN} style='position:fixed;inset:0'>x</div>",
    f"<a href=javascript:{RUN} id=x>click</a>",
    f"<form action=javascript:{RUN}><input type=submit></form>",
    f"<base href={ELSEWHERE}>",
    f"<link rel=stylesheet href={ELSEWHERE}>",
    f"<meta http-equiv=refresh content='0;url={ELSEWHERE}'>",
    "<meta http-equiv=Content-Security-Policy content=\"script-src 'unsafe-inline'\">",
    f"<template><script>{RUN}</script></template>",
    f"<noscript><p title='</noscript><img src=x onerror={RUN}>'>",
    f"<style>@import '{ELSEWHERE}';</style>",
    f"<xss onclick={RUN} tabindex=1 id=y></xss>",
    "</title><h1>taken over</h1>",
    f"</style><script>{RUN}</script>",
    f"</textarea><script>{RUN}</script>",
    f"</pre></code></details><script>{RUN}</script>",
    "</table></section></main></body></html><h1>after</h1>",
    f"</option></select><script>{RUN}</script>",
    f"<!--><script>{RUN}</script>-->",
    f"--><script>{RUN}</script>",
    f"<![CDATA[<script>{RUN}</script>]]>",
    "<plaintext>",
    "<xmp>",
    "<frameset>",
    f"&lt;script&gt;{RUN}&lt;/script&gt;",
    f"&#60;script&#62;{RUN}&#60;/script&#62;",
    f"&#x3c;img src=x onerror={RUN}&#x3e;",
    f"+ADw-script+AD4-{RUN}+ADw-/script+AD4-",
    f"\u2039script\u203a{RUN}\u2039/script\u203a",
    f"\uff1cscript\uff1e{RUN}\uff1c/script\uff1e",
]
_ATTRIBUTES = [
    f'" onfocus="{RUN}" autofocus="',
    f"' onfocus='{RUN}' autofocus='",
    f'" onmouseover={RUN} x="',
    f"` onfocus={RUN} autofocus `",
    f'"><script>{RUN}</script>',
    f"'><script>{RUN}</script>",
    f'" style="background:url({ELSEWHERE})" x="',
    f'x" onanimationstart="{RUN}" style="animation:spin 1s',
    f'" formaction="javascript:{RUN}" x="',
    '" id="main" x="',
    '" hidden x="',
    f'"/><img src=x onerror={RUN}>',
    f'" onfocus=\\"{RUN}\\" autofocus=\\"',
    f"\nonfocus={RUN}\nautofocus\n",
]
_SVG = [
    f"<svg onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
    f"<svg><set onbegin={RUN} attributeName=x>",
    f"<svg><a xlink:href='javascript:{RUN}'><text y=20>x</text></a></svg>",
    f"<svg><foreignObject><iframe onload={RUN}></iframe></foreignObject></svg>",
    f"<svg><image href={ELSEWHERE} onerror={RUN}></svg>",
    f"<svg><use href='data:image/svg+xml,<svg id=x onload={RUN}>#x'></svg>",
    f"<svg><style><img src=x onerror={RUN}></style></svg>",
    f"</svg><script>{RUN}</script>",
    f"</desc></svg><img src=x onerror={RUN}>",
    f"<math><mtext><mglyph><style><img src=x onerror={RUN}></style></mglyph></mtext></math>",
    f"<math href=javascript:{RUN}>x</math>",
    f"<math><annotation-xml encoding=text/html><script>{RUN}</script></annotation-xml></math>",
]
_ADDRESSES = [
    f"javascript:{RUN}", f"JaVaScRiPt:{RUN}", f"java\tscript:{RUN}", f"\x01javascript:{RUN}",
    f"vbscript:{RUN}", f"data:text/html,<script>{RUN}</script>",
    "data:text/html;base64,PHNjcmlwdD53aW5kb3cub3duZWQ9MTwvc2NyaXB0Pg==", f"//127.0.0.1:9/x?{RUN}",
    "file:///etc/passwd", "../../../../etc/passwd", "..\\..\\windows\\system32", "/absolute/path.py",
    "C:\\windows\\path.py", "\\\\server\\share\\x.py", "a/../../b.py", "a//b/./c.py",
    "%2e%2e%2f%2e%2e%2fetc", "path with spaces/and#hash?query=1&x=%00", "name:with:colons.py:12",
    "mailto:someone@example.com", "#evidence", f"blob:{ELSEWHERE}", "https://user:password@127.0.0.1:9/",
]  # fmt: skip
_CSS = [
    f"</style><style>body{{background:url({ELSEWHERE})}}",
    "*{display:none!important}",
    f"background:url({ELSEWHERE})",
    f"expression({RUN})",
    f"@import url({ELSEWHERE});",
    f"x:\\65xpression({RUN})",
    "position:fixed;inset:0;z-index:9999",
    f"-moz-binding:url({ELSEWHERE})",
    f"}}body{{background:url({ELSEWHERE})}}/*",
]
_SCRIPT = [
    "</script>", "</ScRiPt >", f"</script><script>{RUN}</script>", "<!--<script>", "<!-- <script> -->",
    "]]>", f"\u2028{RUN}\u2029", f'";{RUN};//', f"';{RUN};//", f"`;{RUN};//", f"${{{RUN}}}", f'\\";{RUN};//',
    f"\\u003cscript\\u003e{RUN}", '{"__proto__": {"owned": 1}}',
    "NaN", "Infinity", "null", "-0", "1e999",
]  # fmt: skip
_TEMPLATES = [
    "{{7*7}}", "{{ config }}", "{% raw %}", "{% include 'x' %}", "{# comment", "{{ ''.__class__.__mro__ }}",
    "${7*7}", "#{7*7}", "<%= 7*7 %>", "%{x}", "%s %d %n", "{0.__class__}", "$1 \\1 $& \\g<0>",
    "{{constructor.constructor('window.owned=1')()}}",
]  # fmt: skip
_MARKDOWN = [
    "# heading",
    "\n# heading\n",
    "setext\n===",
    f"[link]({ELSEWHERE})",
    f"[link](javascript:{RUN})",
    f"![image]({ELSEWHERE})",
    f"[ref]: {ELSEWHERE}",
    f"<{ELSEWHERE}>",
    ELSEWHERE,
    "www.example.com",
    "someone@example.com",
    "@someone",
    "#123",
    "org/repo#1",
    "```\nfence",
    "~~~\nfence",
    "``` ~~~ ````",
    "`code`",
    "``a`b``",
    "| a | b |\n| --- | --- |",
    "a | b",
    "\\| a",
    "- item",
    "1. item",
    "> quote",
    "***",
    "---",
    "**bold** __bold__ *it* _it_",
    "~~gone~~",
    "- [ ] task",
    "[^1]",
    "[^1]: note",
    "$x$ $$y$$",
    "\\(x\\) \\[y\\]",
    "$\\href{javascript:window.owned=1}{x}$",
    "    indented code",
    ":smile:",
    "<details><summary>x</summary>",
    "line one\nline two  \nline three\\\nline four",
    "> " * 120 + "deep",
    "- " * 120 + "deep",
    "[" * 200 + "deep" + "](x)" * 200,
    "*" * 301,
    "@org/team @@someone &#64;someone",
    "GH-1 gh-2 @GH-3",
    '!1 ~bug %1.0 &2 #"three"',
    "ref\n[ref]: javascript:window.owned=1 'title'",
    "* * *\n+ item",
]
_TERMINAL = [
    "\x1b[31mred\x1b[0m", "\x1b[2J\x1b[H", "\x1b]0;title\x07",
    f"\x1b]8;;{ELSEWHERE}\x1b\\link\x1b]8;;\x1b\\", "\x1b]52;c;b3duZWQ=\x07", "\x1b[?1049h", "\x1b[6n",
    "\x1b[8m hidden \x1b[0m", "\x1bP$q\x1b\\", "\x1b[1A\x1b[2K", "\x9b31m", "\x9d0;title\x9c",
    "\r overwritten", "back\b\b\b\bspace", "bell\x07", "\x0c\x0b",
    "[red]rich[/red] [link=http://127.0.0.1:9]x[/link]", "[/]",
]  # fmt: skip
_SHEETS = [
    "=cmd|' /C calc'!A0",
    f'=HYPERLINK("{ELSEWHERE}","x")',
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    '"=1+1"',
    "'=1+1",
    f'=IMPORTXML("{ELSEWHERE}","//a")',
    "a,b;c\td",
]
_UNSEEN = [
    "\u202edesrever\u202c", "\u2066isolated\u2069", "\u2067\u2067\u2067", "\u200bzero\u200bwidth",
    "\ufeffbom", "\u00ad soft", "\x00nul", "a\x00b", "\x7fdel", "\x80\x81\x9f", "\u2028line\u2029paragraph",
    "\u0085next", "e\u0301" * 8, "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f" * 4,
    "\u05d0\u05d1\u05d2 \u0627\u0628\u062a", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U000e0041\U000e0042", "\ufff9anchor\ufffa", "\u3164\uffa0\u115f hangul", "v\ufe0f\U000e0100\u034f",
    "\u2800braille\u180e", "\uffff", "\U0001ffff", " ", "\n", "\t\t\t", "",
]  # fmt: skip
_XML = [
    '<?xml version="1.0"?>', "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>", "&a; &xxe;",
    "]]></system-out>", "</testcase></testsuite>", "<!-- -- -->", "&amp;amp;", "&#0; &#x1b;",
]  # fmt: skip
_YAML = [
    "---\nowned: true\n---", "!!python/object/apply:os.system ['true']", "key: value", "- a\n- b", "&a [*a]",
    "yes", "'single' \"double\"", "{a: b}", "# comment", "|\n  block",
]  # fmt: skip
_PLOTS = [
    "<b>bold</b>",
    '<a href="//x.x">x</a>',
    "<i>it</i><sup>2</sup>",
    "one<br>two",
    "&lt;b&gt; &amp; &#60;",
    "%{x} %{y:.2f} %{text}",
    f"<a href='{ELSEWHERE}'>x</a>",
    f"<a href='javascript:{RUN}'>x</a>",
    "<b>bold</b><br><i>it</i><sup>2</sup>",
    "<span style='font-size:900px'>big</span>",
    "<extra>x</extra>",
    "%{customdata} %{x:.2f}",
    "$\\frac{1}{0}$",
]
_LARGE = [
    "x" * 3000, "word " * 400, "<b>" * 300, "(" * 500, "\u3042" * 500, "-" * 400, "a/" * 300, "█" * 200,
    "█12█████",
]  # fmt: skip
_PROTOTYPE = [
    "constructor", "__proto__", "toString", "valueOf", "hasOwnProperty", "isPrototypeOf", "toLocaleString",
    "propertyIsEnumerable", "__defineGetter__", "__lookupSetter__", "then", "length", "prototype",
]  # fmt: skip

CORPUS: dict[str, list[str]] = {
    "html": _HTML,
    "attributes": _ATTRIBUTES,
    "svg": _SVG,
    "addresses": _ADDRESSES,
    "css": _CSS,
    "script": _SCRIPT,
    "templates": _TEMPLATES,
    "markdown": _MARKDOWN,
    "terminal": _TERMINAL,
    "sheets": _SHEETS,
    "unseen": _UNSEEN,
    "xml": _XML,
    "yaml": _YAML,
    "plots": _PLOTS,
    "prototype": _PROTOTYPE,
    "large": _LARGE,
}
"""By what they are aimed at."""
STRINGS = [text for texts in CORPUS.values() for text in texts]


def infested(record: Any, texts: Iterator[str], *, keep: frozenset[str] = frozenset()) -> Any:
    """Return a record whose every free text is another: the next of `texts`, and for equal texts the same one.

    What is free is read off the types, so a field that is new is hostile by itself; `keep` names fields that only a
    program writes, as `Record.field`. Values of `Literal` fields stay.
    """
    known: dict[str, str] = {}

    def swap(value: Any, kind: Any) -> Any:
        if isinstance(value, BaseModel):
            record = type(value)
            return record.model_validate(
                {
                    name: getattr(value, name)
                    if f"{record.__name__}.{name}" in keep
                    else swap(getattr(value, name), field.annotation)
                    for name, field in record.model_fields.items()
                }
            )
        if isinstance(value, str):
            if Literal in {get_origin(part) for part in (kind, *get_args(kind))}:
                return value
            if value not in known:
                known[value] = next(texts, value)
            return known[value]
        parts = [part for part in (kind, *get_args(kind)) if get_origin(part) in (list, tuple, dict)]
        inner = get_args(parts[0]) if parts else ()
        if isinstance(value, list | tuple):
            return [swap(item, inner[0] if inner else Any) for item in value]
        if isinstance(value, dict):
            return {
                swap(key, inner[0] if inner else Any): swap(item, inner[1] if inner else Any)
                for key, item in value.items()
            }
        return value

    return swap(record, Any)


def rounds(record: Any, *, keep: frozenset[str] = frozenset(), turn: int = 0) -> Iterator[tuple[Any, Any]]:
    """Yield records until every string of the corpus was in one, each with a harmless record of the same build.

    Another `turn` puts the strings into other fields.
    """
    start = turn * _STRIDE % len(STRINGS)
    left = iter(STRINGS[start:] + STRINGS[:start])
    while texts := list(islice(left, _room(record, keep))):
        yield (
            infested(record, iter(texts), keep=keep),
            infested(record, map(harmless, texts, count()), keep=keep),
        )


_STRIDE = 101


def _room(record: Any, keep: frozenset[str]) -> int:
    """How many different texts a record takes."""
    used = count()
    infested(record, map(str, used), keep=keep)
    return next(used)


def harmless(text: str, number: int) -> str:
    """A text of letters with the same masks and line breaks, which pages mark up."""
    if not text.strip():
        return text
    return re.sub(r"█\d+█+|█+|\n|([^█\n]+)", lambda found: f"w{number}x" if found[1] else found[0], text)


def texts_in(plain: Any) -> set[str]:
    """All texts of plain data, keys included."""
    if isinstance(plain, dict):
        return texts_in([*plain, *plain.values()])
    if isinstance(plain, list | tuple):
        return set().union(*map(texts_in, plain))
    return {plain} if isinstance(plain, str) else set()
