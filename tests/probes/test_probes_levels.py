import ast
import textwrap

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from probe_texts import (
    TOKEN_LEVELS,
    code,
    compared,
    functions,
    hostile,
    reformat,
    rename,
    render,
    seeds,
    settled,
    units,
)

from probes.levels import LEVELS, tokenize
from probes.names import SYMBOL


def at(level: str, source: str, **kwargs) -> list[bytes]:
    return [token.text for token in tokenize(source.encode(), level=level, **kwargs)]


def same(level: str, a: str, b: str) -> bool:
    first, second = (compared(tokenize(text.encode(), level=level)) for text in (a, b))
    return first == second


# --- the laws


@given(code, seeds)
def test_layout_does_not_see_white_space(source, seed):
    assert units(source.encode(), levels=TOKEN_LEVELS) == units(
        reformat(source, seed).encode(), levels=TOKEN_LEVELS
    )


@given(code, seeds)
def test_code_does_not_see_comments(source, seed):
    changed = reformat(source, seed, comments=True)
    assert same("code", source, changed)
    assert same("renamed", source, changed)


@given(code)
def test_code_does_not_see_docstrings(source):
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.FunctionDef | ast.ClassDef)
            and ast.get_docstring(node)
            and len(node.body) > 1
        ):
            del node.body[0]
    bare = ast.unparse(tree)
    # What is left of the docstrings are those that are all of a body.
    assert same("code", ast.unparse(ast.parse(source)), bare)


@given(code, seeds)
def test_renamed_does_not_see_an_injective_renaming_of_locals(source, seed):
    before, after = rename(source, seed)
    assert same("renamed", before, after)


def test_the_renaming_does_rename():
    changed = [a != b and not same("code", a, b) for a, b in (rename(source, 1) for source in functions())]
    assert sum(changed) > len(changed) / 2


@given(code, seeds)
def test_a_cut_changes_no_token_but_the_last(source, seed):
    source = reformat(source, seed, comments=True).encode() if seed % 2 else source.encode()
    whole = units(source, levels=TOKEN_LEVELS)
    step = max(1, len(source) // 40)
    for cut in range(seed % step + 1, len(source), step):
        part = units(source[:cut], levels=TOKEN_LEVELS)
        for level in TOKEN_LEVELS:
            kept = settled(part[level])
            assert kept == whole[level][: len(kept)], (level, source[:cut])


HARD = """\
import os, sys as s, a.b as c
from .. import y
from ...z import (q as w,)
def f(*a, é=1, **kw) -> int: ...
x = 0x1F + 1_000.5e-10j - 0b1_0 + 1.e+3 + .5E-3 if a != b else(1,)
f(a=1, b==2, c := 3, *d, **e)(g=lambda x=1, y=2: x, h=3,)
class A(B, metaclass=C):
    "doc" 'more'
    '''two'''
    x: "int" = 1;
    def f(self): "doc"
    def g(self): r'''doc'''; return x[..., 1:2, ::3]
match x:
    case (1,): pass
    case [a, b,]: pass
match = case(1,)
t = x[1,]; u = {1,}; v = (lambda a, b: 0,); w = ((1,), 2,)
f"{x:{y}.{z}}" f'{a!r}' f"{b=}" rb'a"b' Rb'c' f"\\N{DASH} {{}}"  # c
"""


def test_a_cut_changes_no_token_but_the_last_in_hard_places():
    source = HARD.encode()
    whole = units(source, levels=TOKEN_LEVELS)
    for cut in range(1, len(source)):
        part = units(source[:cut], levels=TOKEN_LEVELS)
        for level in TOKEN_LEVELS:
            kept = settled(part[level])
            assert kept == whole[level][: len(kept)], (level, source[:cut])


@given(st.one_of(code.map(str.encode), hostile), st.data())
def test_a_text_after_its_prompt_has_the_tokens_of_the_whole(source, data):
    border = data.draw(st.integers(0, len(source)))
    for level in LEVELS:
        whole = tokenize(source, level=level)
        after = tokenize(source[border:], level=level, prompt=source[:border])
        # A token that straddles the border is clipped, and may be half a character.
        inside = [t for t in after if not 0 == t.start < t.end]
        expected = [t for t in whole if t.start > border or t.start == t.end == border]
        if level != "exact":
            assert [(t.text, t.kind, t.start + border, t.end + border) for t in inside] == [
                t[:4] for t in expected
            ]
        clipped = [t for t in after if t.start == 0 < t.end]
        assert len(clipped) == (
            any(t.start <= border < t.end for t in whole) if level != "exact" else bool(after)
        )


@given(code, st.sampled_from(["layout", "code"]))
def test_normalising_the_normal_form_changes_nothing(source, level):
    first = tokenize(source.encode(), level=level)
    assert compared(tokenize(render(first), level=level)) == compared(first)


@given(hostile, st.booleans())
def test_levels_are_total_and_deterministic(source, python):
    language = "python" if python else "cobol"
    first = units(source, language=language)
    assert units(source, language=language) == first
    assert len(first["exact"]) == len(source.decode(errors="surrogateescape"))
    assert len(first["layout"]) >= len(first["code"]) == len(first["renamed"])


@given(code, code, seeds)
def test_equality_goes_on_from_level_to_level(source, other, seed):
    variants = [
        source,
        other,
        reformat(source, seed),
        reformat(source, seed, comments=True),
        rename(source, seed)[1],
    ]
    variants += [source[: len(source) // 2], reformat(source, seed)[: len(source) // 2]]
    of = [units(text.encode()) for text in variants]
    for a in of:
        for b in of:
            equal = [a[level] == b[level] for level in LEVELS]
            assert equal == sorted(equal)


@given(hostile, hostile)
def test_equality_goes_on_from_level_to_level_in_any_bytes(a, b):
    for other in (b, a.replace(b" ", b""), a + b"\n", a.replace(b"'", b'"'), a.replace(b"\r", b"\n")):
        first, second = units(a), units(other)
        equal = [first[level] == second[level] for level in LEVELS]
        assert equal == sorted(equal)


def test_an_unknown_level_is_refused():
    with pytest.raises(
        ValueError, match="expected a level of exact, layout, code, renamed, shape, got 'tokens'"
    ):
        tokenize(b"x", level="tokens")


# --- exact


def test_exact_counts_characters_and_bytes_that_are_none():
    assert [t.text for t in tokenize("é\n".encode() + b"\xff", level="exact")] == [
        "é".encode(),
        b"\n",
        b"\xff",
    ]


# --- layout


def test_layout_keeps_the_blocks():
    assert not same("layout", "if a:\n    b\n    c\n", "if a:\n    b\nc\n")
    assert not same("layout", "a; b", "a\nb")
    assert same("layout", "f(a,b)", "f( a,\n  b )")
    assert same("layout", "if a:\n        b\n        c", "if a:\n\tb\n    \tc")


def test_layout_keeps_comments_and_quotes():
    assert not same("layout", "a  # b", "a")
    assert not same("layout", "'a'", '"a"')


# --- code


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("f(a, b,)", "f(a, b)"),
        ("[1, 2,]", "[1, 2]"),
        ("[1,]", "[1]"),
        ("{1,}", "{1}"),
        ("{'a': 1,}", '{"a": 1}'),
        ("(1, 2,)", "(1, 2)"),
        ("x[1, 2,]", "x[1, 2]"),
        ("def f(a,): pass", "def f(a): pass"),
        ("class A(B,): pass", "class A(B): pass"),
        ("from a import (b,)", "from a import (b)"),
        ("f((1, 2,),)", "f((1, 2))"),
        ("x = f(a)(b,)", "x = f(a)(b)"),
        ("f(\n  a,  # why\n)", "f(a)"),
        ("a;\nb", "a\nb"),
        ("a;", "a"),
        ("'a'", '"a"'),
        ("'it\\'s'", '"it\'s"'),
        ("'say \"x\"'", '"say \\"x\\""'),
        ("U'a' B'b' Rb'c' bR'd'", '"a" b"b" br"c" rb"d"'),
        (r"r'\d+'", r'r"\d+"'),
        ("'''a\"b'''", '"""a\\"b"""'),
        ("f'{a}b{c!r}'", 'f"{a}b{c!r}"'),
        ("f'{a[\"k\"]}'", "f\"{a['k']}\""),
        ("def f():\n    'doc'\n    return 1", "def f():\n    return 1"),
        ("def f():\n    '''doc'''\n    # c\n    'more'\n    return 1", "def f():\n    return 1"),
        ("'doc'\nx", "x"),
        ("#!/bin/python\n# licence\nr'''doc'''\nx", "x"),
        ("class A:\n    'doc'\n\n    x = 1", "class A:\n    x = 1"),
        ("async def f(a: int = 1) -> str:\n    'doc'; \n    x", "async def f(a: int = 1) -> str:\n    x"),
    ],
)
def test_code_takes_away_what_means_nothing(a, b):
    assert not same("layout", a, b)
    assert same("code", a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("x = (1,)", "x = (1)"),
        ("return (a.b,)", "return (a.b)"),
        ("x[1,]", "x[1]"),
        ("f((1,))", "f((1))"),
        ("x = 1,", "x = 1"),
        ("x = 1,)", "x = 1)"),
        ("(lambda a, b: 0,)", "(lambda a, b: 0)"),
        ("for x, in y: pass", "for x in y: pass"),
        ("case (1,): pass", "case (1): pass"),
        ("f'{1,}'", "f'{1}'"),
        ("a; b", "a b"),
        ("x = '''a'''", "x = 'a'"),
        ("x = b'a'", "x = 'a'"),
        ("x = r'a'", "x = 'a'"),
        ("x = 'a' 'b'", "x = 'ab'"),
        ("x = 'doc'", "x = 'dog'"),
        ("def f():\n    x\n    'text'", "def f():\n    x\n    'test'"),
        ("def f():\n    b'text'", "def f():\n    b'test'"),
        ("if x:\n    'text'", "if x:\n    'test'"),
        ("def f():\n    'a' + b", "def f():\n    'c' + b"),
        ("1.0", "1."),
    ],
)
def test_code_keeps_what_means_something(a, b):
    assert not same("code", a, b)


def test_a_body_of_a_docstring_alone_leaves_no_block():
    assert at("code", "class A:\n    'doc'\nx") == [b"class", b"A", b":", b"NEWLINE", b"x"]
    assert at("code", "def f(): 'doc'\nx") == at("code", "def f():\n    'doc'\nx")


def test_an_open_string_is_not_rewritten():
    assert at("code", "x = 'a\\'") == [b"x", b"=", b"'a\\'"]


# --- renamed


def renamed(source: str) -> str:
    return b" ".join(at("renamed", source)).replace(SYMBOL, b"_").decode()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(a, *b, c=1, **d): return a", "def _ ( _ , * _ , _ = 1 , ** _ ) : return _"),
        ("class A(B, metaclass=M): pass", "class _ ( _ , _ metaclass= _ ) : pass"),
        ("x = y.z.w(len(q))", "_ = _ . z . w ( len ( _ ) )"),
        ("f(a, b=c, *d, e = 1)", "_ ( _ , _ b= _ , * _ , _ e= 1 )"),
        ("f(a == b, (c := 1))", "_ ( _ == _ , ( _ := 1 ) )"),
        ("f(lambda x, y=1: x, z=2)", "_ ( lambda _ , _ = 1 : _ , _ z= 2 )"),
        ("import os, a.b; os.x; a; b", "import os , a . b ; os . x ; a ; _"),
        ("import os as o; os; o", "import os as _ ; _ ; _"),
        ("from m import (p, q as r); m; p; q; r", "from m import ( p , q as _ ) ; _ ; p ; _ ; _"),
        ("from . import p\np", "from . import p NEWLINE p"),
        ("try: x\nexcept ValueError as e: e", "try : _ NEWLINE except ValueError as _ : _"),
        ("[x for x in y if x]", "[ _ for _ in _ if _ ]"),
        ("self.x = __name__", "_ . x = __name__"),
        ("x = 'a' + 1 # b", '_ = "a" + 1'),
        ("f'{x}'", 'f"{ _ }"'),
        ("x: int = ...\ny", "_ : int = ... NEWLINE _"),
        ("raise E from e", "raise _ from _"),
        ("x = €", "_ = €"),
        ("a.\nb", "_ . NEWLINE _"),
    ],
)
def test_renamed_replaces_what_can_be_bound(source, expected):
    assert renamed(source) == expected


def test_the_symbol_is_no_word():
    a, b = tokenize(b"x", level="renamed"), tokenize(SYMBOL, level="renamed")
    assert compared(a) != compared(b)
    assert a[0].kind == "name"


# --- with a prompt


def test_a_token_that_straddles_the_border_is_clipped():
    assert at("layout", "rn x", prompt=b"retu") == [b"rn", b"x"]
    assert at("renamed", "rn x", prompt=b"retu") == [b"rn", SYMBOL]
    assert at("renamed", "rned x", prompt=b"retu") == [SYMBOL, SYMBOL]
    assert at("code", "b\" + 'c'", prompt=b'"a') == [b'b"', b"+", b'"c"']


def test_a_prompt_decides_what_the_text_is():
    assert at("code", "doc' NEWLINE x", prompt=b"def f(): 'a ") == [b"doc'", b"NEWLINE", b"x"]
    assert at("code", "doc'\n  x", prompt=b"def f():\n  'a ") == [b"x"]
    assert at("renamed", "os", prompt=b"import os\n") == [b"NEWLINE", b"os"]


@given(code, seeds)
def test_a_prompt_cut_inside_the_indentation_does_not_hide_the_block(source, seed):
    lines = textwrap.dedent(source).splitlines(keepends=True)
    assume(len(lines) > 1 and lines[0].rstrip().endswith(":"))
    assume(lines[1].strip() and not lines[1].lstrip().startswith("#"))
    prompt = lines[0] + lines[1][: seed % (len(lines[1]) - len(lines[1].lstrip()) + 1)]
    rest = source[len(prompt) :].encode()
    assert compared(tokenize(rest, level="layout", prompt=prompt.encode())[:2]) == [
        (b"NEWLINE", "layout"),
        (b"INDENT", "layout"),
    ]


# --- without a grammar


def test_a_language_without_a_grammar_is_compared_by_layout_alone():
    source = b"let a = 'x' # b,\n"
    of = units(source, language="cobol")
    assert of["layout"] == of["code"] == of["renamed"]
    assert of == units(b"let  a='x'\n#b ,", language="cobol") | {"exact": of["exact"]}
