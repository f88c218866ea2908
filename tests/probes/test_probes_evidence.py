from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_texts import code, hostile, reformat, rename, seeds

from probes.evidence import Segment, align
from probes.levels import characters
from probes.match import compare


def short(target: str, completion: str, **kwargs) -> list[tuple[str, str | None, str, str]]:
    found = align(target.encode(), completion.encode(), **kwargs)
    return [(s.op, s.reason, s.target, s.completion) for s in found]


def differences(target: str, completion: str, **kwargs) -> list[tuple[str, str | None, str, str]]:
    return [segment for segment in short(target, completion, **kwargs) if segment[0] != "equal"]


# --- the laws


def check(segments: list[Segment], target: bytes, completion: bytes) -> None:
    assert "".join(s.target for s in segments) == characters(target)
    assert "".join(s.completion for s in segments) == characters(completion)
    for s in segments:
        assert (s.op == "equal") == (s.target == s.completion) == (s.reason is None)
        assert (s.op == "insert") == (not s.target)
        assert (s.op == "delete") == (not s.completion)
    runs = [(s.op, s.reason) for s in segments]
    assert all(one != other for one, other in pairwise(runs))


@given(st.one_of(code.map(str.encode), hostile), st.one_of(code.map(str.encode), hostile), st.data())
def test_segments_cover_both_texts(target, completion, data):
    language = data.draw(st.sampled_from(["python", "cobol"]))
    prompt = data.draw(hostile)
    secrets = data.draw(st.lists(st.sampled_from([b"name", b"a", b"= ", b"\xc3"]), max_size=2))
    segments = align(target, completion, prompt=prompt, language=language, secrets=secrets)
    # Text is compared as text, so the two halves of a character in two segments are no law's business.
    raw = [
        (s.target.encode(errors="surrogateescape"), s.completion.encode(errors="surrogateescape"))
        for s in segments
    ]
    assert (b"".join(a for a, _ in raw), b"".join(b for _, b in raw)) == (target, completion)
    assert segments == align(target, completion, prompt=prompt, language=language, secrets=secrets)


@given(code, code, seeds)
def test_segments_of_code_are_well_formed(source, other, seed):
    for changed in (source, other, reformat(source, seed, comments=True), rename(source, seed)[1], ""):
        check(align(source.encode(), changed.encode()), source.encode(), changed.encode())


@given(code, seeds)
def test_reasons_agree_with_the_levels(source, seed):
    text = source.encode()
    for changed, reasons in (
        (source, {None}),
        (reformat(source, seed), {None, "format"}),
        (reformat(source, seed, comments=True), {None, "format", "comment"}),
    ):
        assert {s.reason for s in align(text, changed.encode())} <= reasons
    before, after = rename(source, seed)
    assert {s.reason for s in align(before.encode(), after.encode())} <= {None, "rename"}


@given(code, st.data())
def test_reasons_of_one_changed_character_agree_with_the_levels(source, data):
    text = source.encode()
    at = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.sampled_from([b"", b" ", b"1", b"x", b"(", b"'", b"#", b"\n"]))
    changed = text[:at] + put + text[at + 1 :]
    reasons = {s.reason for s in align(text, changed)}
    matches = compare(text, changed)
    # White space that is gone may show in a later line only, whose own white space is the same.
    if reasons <= {None, "rename"}:
        assert matches["renamed"].equal
    if matches["layout"].equal:
        assert reasons <= {None, "format"}
    if matches["code"].equal:
        assert reasons <= {None, "format", "comment"}


# --- examples


@pytest.mark.parametrize(
    ("target", "completion", "expected"),
    [
        ("x = 1", "x=1", [("delete", "format", " ", ""), ("delete", "format", " ", "")]),
        ("f(a)", "f(b)", [("replace", "rename", "a", "b")]),
        ("f(a=1)", "f(b=1)", [("replace", "code", "a", "b")]),
        ("f(1)", "f(2)", [("replace", "literal", "1", "2")]),
        ("f('a')", "f(2)", [("replace", "literal", "'a'", "2")]),
        ("f('a')", 'f("a")', [("replace", "format", "'a'", '"a"')]),
        ("f(a,)", "f(a)", [("delete", "format", ",", "")]),
        ("(a,)", "(a)", [("delete", "code", ",", "")]),
        ("a  # b", "a", [("delete", "comment", "  # b", "")]),
        ("a  # b", "a  # c", [("replace", "comment", "# b", "# c")]),
        ("a + b", "a - b", [("replace", "code", "+", "-")]),
        ("return a", "yield a", [("replace", "code", "return", "yield")]),
        ("a\nb", "a\n  b", [("replace", "code", "\n", "\n  ")]),
        ("if a:\n  b", "if a:\n\n    b", [("replace", "format", "\n  ", "\n\n    ")]),
        ("def f():\n  'd'\n  a", "def f():\n  a", [("delete", "comment", "\n  'd'", "")]),
        ("a\nb\nc", "a\nc", [("delete", "code", "\nb", "")]),
        ("a", "", [("delete", "code", "a", "")]),
        ("'''a\r\nb''' + c", "'''a\nb''' + c", [("replace", "format", "'''a\r\nb'''", "'''a\nb'''")]),
    ],
)
def test_the_reason_of_a_difference(target, completion, expected):
    assert differences(target, completion) == expected


def test_what_is_equal_comes_in_one_piece():
    assert short("x = 1\ny = 2\n", "x = 1\ny = 3\n") == [
        ("equal", None, "x = 1\ny = ", "x = 1\ny = "),
        ("replace", "literal", "2", "3"),
        ("equal", None, "\n", "\n"),
    ]


def test_a_secret_is_the_reason_wherever_it_stands():
    secrets = [b"tok-1"]
    assert differences("x = 'tok-1'", "x = 'tok-2'", secrets=secrets) == [
        ("replace", "secret", "'tok-1'", "'tok-2'")
    ]
    assert differences("a # tok-1\nb", "a # tok-2\nb", secrets=secrets) == [
        ("replace", "secret", "# tok-1", "# tok-2")
    ]
    assert differences("a # tok-1\nb", "a\nb", secrets=secrets) == [("delete", "secret", " # tok-1", "")]
    assert differences("x = 'tok-1'", "x = 'tok-", secrets=secrets) == [
        ("replace", "secret", "'tok-1'", "'tok-")
    ]


def test_like_goes_with_like():
    found = differences("a = 'tok-1'\n", 'a = "tok-2"\n  b', secrets=[b"tok-1"])
    assert found[:2] == [("replace", "secret", "'tok-1'", '"tok-2"'), ("insert", "code", "", "\n  b")]


def test_a_prompt_decides_how_the_texts_are_read():
    assert differences("b'", "c'", prompt=b"x = 'a") == [("replace", "literal", "b'", "c'")]
    assert differences("b", "c", prompt=b"# a ") == [("replace", "comment", "b", "c")]


def test_a_language_without_a_grammar():
    assert differences("let x = 1;", "let  y = 1;", language="cobol") == [
        ("replace", "format", " ", "  "),
        ("replace", "code", "x", "y"),
    ]
