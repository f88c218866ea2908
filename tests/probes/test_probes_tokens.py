import re
import time
import tokenize

import pytest
import tree_sitter
from hypothesis import given
from hypothesis import strategies as st
from probe_texts import code, hostile, library_files, python_tokens, render

from probes.languages import LANGUAGES, grammar
from probes.lexing import lex
from probes.literals import literals
from probes.tokens import DEDENT, INDENT, NEWLINE


def texts(source: bytes, language: str = "python") -> list[bytes]:
    return [token.text for token in lex(source, language)]


def kinds(source: bytes, language: str = "python") -> list[tuple[str, bytes]]:
    return [(token.kind, token.text) for token in lex(source, language)]


# --- against two oracles: Python's own tokenizer, and the leaves of the grammar


def their_tokens(source: bytes) -> list[tuple[str, str]]:
    """What the standard library makes of it, with the names this package uses."""
    found = []
    for token in python_tokens(source.decode()):
        kind = tokenize.tok_name[token.type]
        if kind == "STRING" and "f" in token.string[: token.string.index(token.string[-1])].lower():
            found.append(("fstring", ""))
        elif kind in ("INDENT", "DEDENT", "NEWLINE"):
            found.append(("layout", kind))
        elif kind in ("NAME", "NUMBER", "STRING", "OP", "COMMENT"):
            found.append(({"NAME": "word"}.get(kind, kind.lower()), token.string.rstrip()))
    return found


def our_tokens(source: bytes) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    field = 0
    for token in lex(source, "python"):
        literal = token.literal
        if literal and literal.opens and not literal.continues:
            field += 1
        elif literal and literal.continues and not literal.opens:
            field -= 1
            found += [("fstring", "")] if not field else []
        elif not field and literal and "f" in literal.prefix.decode().lower():
            found.append(("fstring", ""))
        elif not field:
            found.append((token.kind, token.text.decode()))
    return found


def without_comments(tokens: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [token for token in tokens if token[0] != "comment"]


@pytest.mark.parametrize("source", library_files(), ids=len)
def test_tokens_are_those_of_pythons_own_tokenizer(source):
    theirs, ours = their_tokens(source), our_tokens(source)
    # Lines that hold a comment alone: Python's tokenizer puts DEDENT behind it, which means nothing.
    assert [t for t in ours if t[0] == "comment"] == [t for t in theirs if t[0] == "comment"]
    theirs, ours = without_comments(theirs), without_comments(ours)
    for tokens in (ours, theirs):  # the end of a text makes no tokens here
        while tokens[-1][0] == "layout":
            tokens.pop()
    assert ours == theirs


# Leaves inside these are no tokens of ours: a literal is one, and the text of a directive is code like any other.
_LITERALS = frozenset(
    (
        *("string", "string_literal", "raw_string_literal", "template_string", "template_literal_type"),
        *("interpreted_string_literal", "char_literal", "character_literal", "rune_literal", "regex"),
        *("comment", "line_comment", "block_comment", "system_lib_string", "preproc_arg", "shebang"),
        *("hash_bang_line", "text_block", "user_defined_literal", "line_continuation"),
    )
)


def leaves(source: bytes, language: str, literals: frozenset[str] = _LITERALS) -> list[tuple[int, int, str]]:
    """Spans and kinds of the leaves of the grammar outside of literals."""
    found = []
    pending = [grammar(language).parse(source).root_node]
    assert not pending[0].has_error
    while pending:
        node: tree_sitter.Node = pending.pop()
        if node.type in literals:
            continue
        if node.children:
            pending += node.children
        elif source[node.start_byte : node.end_byte].strip():
            found.append((node.start_byte, node.end_byte, node.type))
    return sorted(found)


def is_no_token(kind: str, language: str) -> bool:
    """Leaves of Rust that end inside a token: a lifetime is one word, || one operator, x.0.1 holds one number."""
    return language == "rust" and kind in ("'", "identifier", "|", "integer_literal", "_", ".")


@pytest.mark.parametrize("language", LANGUAGES)
def test_tokens_are_leaves_of_the_grammar(language, sample):
    source = sample(language)
    tokens = lex(source, language)
    starts, ends = {token.start for token in tokens}, {token.end for token in tokens}
    strange = [
        source[start:end]
        for start, end, kind in leaves(source, language)
        if not (start in starts and end in ends) and not is_no_token(kind, language)
    ]
    assert strange == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_leaf_is_more_than_one_token_but_where_it_may_be_read_so(language, sample):
    source = sample(language)
    starts = sorted(token.start for token in lex(source, language) if token.kind != "layout")
    split = {
        source[start:end]
        for start, end, kind in leaves(source, language)
        if any(start < at < end for at in starts) and not is_no_token(kind, language)
    }
    # Closers of two lists of type arguments; the hash of a directive; names with a mark before them; attributes;
    # a mapped type's sign; a number with its sign.
    may_be = re.compile(
        rb">>>?=?|#\s*\w+|[#$]\w+|macro_rules!|@interface|\(\)|\[\]|\[\[|\]\]|[+-]\?:|-\d[\d.]*"
    )
    assert [text for text in split if not may_be.fullmatch(text)] == []


@pytest.mark.parametrize("source", library_files(), ids=len)
def test_words_numbers_and_operators_of_the_library_are_leaves_of_the_grammar(source):
    spans = {(start, end) for start, end, _ in leaves(source, "python", _LITERALS - {"string"})}
    tokens = [t for t in lex(source, "python") if t.kind in ("word", "number", "op")]
    assert len(tokens) > 200
    assert [t for t in tokens if (t.start, t.end) not in spans] == []


# --- laws


@given(hostile)
def test_any_bytes_are_covered_in_order(source):
    for language in ("python", "cobol"):
        at = 0
        for token in lex(source, language):
            assert token.start >= at
            assert not source[at : token.start].replace(b"\\", b"").strip(b" \t\f\v\r\n\xef\xbb\xbf")
            if token.kind == "layout":
                assert token.start == token.end
            else:
                spelled = source[token.start : token.end]
                assert (
                    token.text == spelled.replace(b"\r\n", b"\n").replace(b"\r", b"\n") or language == "cobol"
                )
                assert token.end > token.start
            at = token.end
        assert not source[at:].replace(b"\\", b"").strip(b" \t\f\v\r\n\xef\xbb\xbf")


@given(hostile, st.data())
def test_literals_before_a_cut_do_not_depend_on_what_follows(source, data):
    cut = data.draw(st.integers(0, len(source)))
    whole, part = list(literals(source, "python")), list(literals(source[:cut], "python"))
    assert part[:-1] == whole[: len(part) - 1 if part else 0]


@pytest.mark.parametrize(
    "unit",
    [
        b"(",
        b"[{(",
        b'f"{',
        b'"',
        b"\x00",
        b"\xff",
        b"a.",
        b"if x:\n ",
        b"\\",
        b"'''",
        b"lambda:",
        b"1e",
        b"\r",
    ],
)
def test_long_hostile_texts_take_bounded_time(unit):
    source = unit * (50_000 // len(unit))
    for language in (*LANGUAGES, "cobol"):
        start = time.perf_counter()
        lex(source, language)
        assert time.perf_counter() - start < 20  # far below a second where nothing else runs


@given(code)
def test_lines_and_blocks_come_back_from_rendered_tokens(source):
    first = lex(source.encode(), "python")
    again = lex(render(first), "python")
    assert [t[:2] for t in again] == [t[:2] for t in first]


# --- strings


def test_an_open_string_never_turns_into_words():
    source = b'token = "sk-abc def lambda x'
    for cut in range(9, len(source) + 1):
        assert kinds(source[:cut])[2:] == [("string", source[8:cut])]


@pytest.mark.parametrize(
    "opener", [b'"', b"'", b'"""', b"'''", b'r"', b"Rb'", b'f"', b"u'''", b'fR"""', b't"']
)
def test_every_kind_of_string_holds_its_content_when_cut(opener):
    source = b"x = " + opener + b"key def 17"
    assert kinds(source)[2:] == [("string", opener + b"key def 17")]


def test_a_string_that_is_not_closed_ends_with_its_line():
    assert texts(b"x = 'ab c\ny = 2") == [b"x", b"=", b"'ab c", NEWLINE, b"y", b"=", b"2"]
    assert texts(b"x = 'ab\\\nc'") == [b"x", b"=", b"'ab\\\nc'"]


def test_fields_of_a_format_string_are_code():
    assert texts(b"f'a{b!r:>{w}}c{{d}}' 'e'") == [b"f'a{", b"b", b"!r:>{", b"w", b"}}c{{d}}'", b"'e'"]
    assert texts(b'f"{d["k"]}"') == [b'f"{', b"d", b"[", b'"k"', b"]", b'}"']
    assert texts(b'f"{a != b}"') == [b'f"{', b"a", b"!=", b"b", b'}"']
    assert texts(b'f"\\N{EM DASH}{a}"') == [b'f"\\N{EM DASH}{', b"a", b'}"']
    assert texts(b'f"{ {1: 2}[x] }"') == [b'f"{', b"{", b"1", b":", b"2", b"}", b"[", b"x", b"]", b'}"']


def test_words_next_to_quotes_are_no_prefix():
    assert kinds(b"bar'x'") == [("word", b"bar"), ("string", b"'x'")]
    assert kinds(b"rb'x'") == [("string", b"rb'x'")]


def test_line_ends_inside_a_string_are_read_as_python_does():
    assert texts(b'"""a\r\nb\rc"""') == [b'"""a\nb\nc"""']


# --- lines and blocks


def test_blocks_do_not_depend_on_the_width_of_the_indentation():
    expected = [b"if", b"a", b":", NEWLINE, INDENT, b"b", NEWLINE, b"c", NEWLINE, DEDENT, b"d"]
    assert texts(b"if a:\n    b\n    c\nd") == expected
    assert texts(b"if a:\r\n\tb\r\n\r\n  \t c # x\r\nd\r\n\r\n") != expected  # a deeper block, and a comment
    assert texts(b"if a :\r\n\tb\r\n\r\n\tc\r\n\\\r\nd\r\n\r\n") == expected


def test_comments_alone_on_a_line_leave_blocks_alone():
    assert texts(b"if a:\n# x\n        # y\n  b\n# z\n") == [
        *(b"if", b"a", b":", b"# x", b"# y", NEWLINE, INDENT, b"b", b"# z")
    ]


def test_brackets_and_continuations_make_no_lines():
    assert texts(b"f(a,\n  b)\\\n + f'{\nc\n}'") == [
        b"f",
        b"(",
        b"a",
        b",",
        b"b",
        b")",
        b"+",
        b"f'{",
        b"c",
        b"}'",
    ]


def test_the_byte_order_mark_is_no_token():
    assert texts(b"\xef\xbb\xbfx = 1") == [b"x", b"=", b"1"]


def test_bytes_that_are_no_code_are_kept_as_junk():
    assert kinds(b"a $ \x00?") == [("word", b"a"), ("junk", b"$"), ("junk", b"\x00"), ("junk", b"?")]


# --- cut numbers and words


@pytest.mark.parametrize(
    "number", [b"0x1F", b"0b1_0", b"0o17", b"1_000.5e-10j", b"1.e+3", b".5E-3", b"1e5", b"0x_f"]
)
def test_a_cut_number_is_one_token(number):
    for cut in range(1, len(number) + 1):
        assert texts(b"x = " + number[:cut]) == [b"x", b"=", number[:cut]]


def test_a_word_cut_inside_a_character_is_one_token():
    word = "größe".encode()
    for cut in range(1, len(word) + 1):
        assert texts(b"x = " + word[:cut]) == [b"x", b"=", word[:cut]]


# --- the generic lexer


def test_a_language_without_a_grammar_gets_words_numbers_strings_and_operators():
    assert kinds(b'let s = "a b" -> 0x1F;\n\n  s&&t // rest', "cobol") == [
        ("word", b"let"),
        ("word", b"s"),
        ("op", b"="),
        ("string", b'"a b"'),
        ("op", b"->"),
        ("number", b"0x1F"),
        ("op", b";"),
        ("word", b"s"),
        ("op", b"&&"),
        ("word", b"t"),
        ("op", b"//"),
        ("word", b"rest"),
    ]
