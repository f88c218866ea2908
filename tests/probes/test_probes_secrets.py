import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from probe_texts import TOKEN_LEVELS, code, functions, hostile, reformat, rename, seeds, units

from probes.levels import LEVELS, tokenize
from probes.lexing import lex
from probes.match import compare, compare_completion
from probes.secrets import Recovery, ends_in_secret, protect, recover, words_of

# --- recover


@given(st.text("abc", max_size=30), st.text("abc", max_size=6))
def test_recover_finds_the_longest_prefix(completion, secret):
    longest = max(length for length in range(len(secret) + 1) if secret[:length] in completion)
    assert recover(completion, secret) == Recovery(prefix=longest, total=len(secret))


@given(st.text(max_size=10), st.text(min_size=1, max_size=10), st.text(max_size=10))
def test_a_secret_is_whole_where_it_stands(before, secret, after):
    assert recover(before + secret + after, secret).whole
    assert recover(before, secret).whole == (secret in before)
    assert recover(before + after, secret).prefix <= recover(before + secret + after, secret).prefix


def test_an_empty_secret_is_never_recovered():
    assert not recover("abc", "").whole


# --- a secret is never merged away

PLACES = {
    "string": "x = '{}'\ny = 1\n",
    "part of a string": 'url = "https://u:{}@h/" + z\n',
    "raw string": "x = r'{}'\n",
    "comment": "x = 1  # key {}\ny = 2\n",
    "comment alone": "if x:\n    # {}\n    y = 2\n",
    "docstring": 'def f(a):\n    """Uses {} to log in."""\n    return a\n',
    "docstring of a module": "'''{}'''\nx = 1\n",
    "long docstring": 'class A:\n    """First.\n\n    {}\n    """\n    x = 1\n',
    "identifier": "def {}(x):\n    return x\n",
    "part of an identifier": "x_{}_y = 1\n",
    "member": "self.{} = 1\n",
    "argument": "f({}=1)\n",
    "imported": "from m import {} as b\n",
    "code": "x = {}\ny = 2\n",
    "format string": "x = f'a{{b}}{}'\n",
    "field": "x = f'{{{}}}'\n",
    "line end": "x = ({},\n)\n",
}
secret_texts = st.one_of(
    st.text("abkz019_", min_size=1, max_size=8),
    st.text("ab9-./:@+=", min_size=1, max_size=10),
    st.text("ab,;()[] '\"#é", min_size=1, max_size=8).filter(str.strip),
)


@pytest.mark.parametrize("place", PLACES)
@given(secret_texts, st.data())
def test_texts_that_differ_in_a_secret_are_unequal_at_every_level_and_cut(place, secret, data):
    at = data.draw(st.integers(0, len(secret) - 1))
    other = data.draw(st.sampled_from("abkz09_-./é").filter(lambda letter: letter != secret[at]))
    assume(secret[at].strip())  # white space that ends a cut text is seen by nobody
    changed = secret[:at] + other + secret[at + 1 :]
    one, two = (PLACES[place].format(text).encode() for text in (secret, changed))
    differ = next(i for i in range(len(one)) if one[i] != two[i])
    prompt = data.draw(st.integers(0, differ))
    known = [secret.encode()]
    if data.draw(st.booleans()):
        known.append(changed.encode())
    for cut in range(differ + 1, max(len(one), len(two)) + 1):
        a, b = one[:cut], two[:cut]
        try:  # a cut inside a character is no cut of both texts at one place
            a.decode(), b.decode()
        except UnicodeDecodeError:
            continue
        first = units(a[prompt:], prompt=a[:prompt], secrets=known)
        second = units(b[prompt:], prompt=b[:prompt], secrets=known)
        for level in LEVELS:
            assert first[level] != second[level], (level, a, b)


@given(
    hostile,
    hostile,
    st.sampled_from(["python", "cobol"]),
    st.lists(st.binary(min_size=1, max_size=4), max_size=3),
)
def test_equal_texts_hold_the_same_secrets(a, b, language, secrets):
    """Whatever the bytes: what is equal at a level has the same secret tokens, and equality goes on."""
    for other in (b, a + b" ", a.replace(b"'", b'"'), a.replace(b"\n", b"\r\n"), a.replace(b" ", b"\t")):
        first = units(a, language=language, secrets=secrets)
        second = units(other, language=language, secrets=secrets)
        equal = [first[level] == second[level] for level in LEVELS]
        assert equal == sorted(equal)
        for level in TOKEN_LEVELS:
            protected = [text for text, kind in first[level] if kind == "secret"]
            assert protected == [text for text, kind in first["layout"] if kind == "secret"]
            assert all(any(text in whole for whole in protected) for text in secrets if text in a)


@given(code, seeds)
def test_no_secret_changes_nothing(source, seed):
    assert units(source.encode(), secrets=[b"\x01"]) == units(source.encode())


@given(code, seeds, st.data())
def test_a_cut_changes_no_token_but_the_last_with_secrets_too(source, seed, data):
    text = source.encode()
    start = data.draw(st.integers(0, len(text) - 20))
    secrets = [text[start : start + data.draw(st.integers(1, 20))]]
    assume(secrets[0].strip())
    cut = data.draw(st.integers(1, len(text)))
    whole, part = (units(t, levels=TOKEN_LEVELS, secrets=secrets) for t in (text, text[:cut]))
    for level in TOKEN_LEVELS:
        kept = part[level][:-1]
        while kept and kept[-1][1] == "layout":
            kept.pop()
        assert kept == whole[level][: len(kept)]


@given(seeds)
def test_renaming_is_still_not_seen_beside_a_secret(seed):
    source = functions()[seed % len(functions())]
    before, after = (f"{text}\ntoken = 'sk-7'\n".encode() for text in rename(source, seed))
    assert compare(before, after, secrets=[b"sk-7"])["renamed"].equal


def test_a_secret_is_one_token_byte_for_byte():
    tokens = tokenize(b"x = 'a tok-1' + tok-1\n", level="renamed", secrets=[b"tok-1"])
    assert [t.text for t in tokens if t.kind == "secret"] == [b"'a tok-1'", b"tok-1"]


def test_secrets_that_touch_are_told_apart_and_those_that_overlap_are_not():
    text = b"ab-bc-bc"
    tokens = protect(text, lex(text, "python"), [b"ab-b", b"bc-b"])
    assert [t.text for t in tokens] == [b"ab-bc-bc"]
    tokens = protect(b"'ab' 'cd'", lex(b"'ab' 'cd'", "python"), [b"ab", b"cd"])
    assert [(t.text, t.kind) for t in tokens] == [(b"'ab'", "secret"), (b"'cd'", "secret")]


def test_words_of_a_secret_are_kept_wherever_they_stand():
    assert words_of([b"/home/jane.doe/x_1"]) == {b"home", b"jane", b"doe", b"x_1"}
    tokens = tokenize(b"jane = other", level="renamed", secrets=[b"/home/jane.doe"])
    assert [t.text for t in tokens] == [b"jane", b"=", b"<name>"]


def test_a_token_that_ends_as_a_secret_begins():
    token = lex(b"ab", "python")[0]
    assert ends_in_secret(token, [b"bc"])
    assert ends_in_secret(token, [b"abc"])
    assert not ends_in_secret(token, [b"b", b"ab", b"xb"])


def test_a_separator_that_may_begin_a_secret_is_kept():
    assert [t.text for t in tokenize(b"x;", level="code", secrets=[b";;"])] == [b"x", b";"]
    assert [t.text for t in tokenize(b"x;", level="code", secrets=[b"::"])] == [b"x"]


def test_an_empty_secret_is_refused():
    with pytest.raises(ValueError, match="at least one byte"):
        tokenize(b"x", level="code", secrets=[b""])


def test_a_long_run_of_one_secret_takes_bounded_time():
    tokens = tokenize(b"'" + b"a" * 50_000 + b"'", level="renamed", secrets=[b"aaaa"])
    assert [t.kind for t in tokens] == ["secret"]


def test_a_completion_with_another_secret_is_no_match():
    target = b"key = 'sk-12345'\nreturn key\n"
    for said, equal in (
        (target, True),
        (target.replace(b"3", b"9"), False),
        (target.replace(b" = ", b"="), True),
    ):
        matches = compare_completion(target, said, prompt=b"", secrets=[b"sk-12345"])
        assert matches["renamed"].equal is equal


@given(code, seeds)
def test_form_is_not_seen_beside_a_secret(source, seed):
    word = next(word for word in source.split() if word.isidentifier() and len(word) > 2)
    # Inside a token that holds a secret even a line end is kept as it is.
    changed = reformat(source, seed).replace("\r\n", "\n").encode()
    assert (
        units(changed, secrets=[word.encode()])["layout"]
        == units(source.encode(), secrets=[word.encode()])["layout"]
    )


@given(
    st.lists(st.sampled_from([b"a", b"ab", b"aab"]), max_size=20).map(b"".join),
    st.sampled_from([b"aa", b"aba", b"abaab"]),
)
def test_each_place_of_a_secret_is_in_a_token_of_its_own_kind(text, secret):
    tokens = protect(text, lex(text, "python"), [secret])
    for at in range(len(text)):
        if text.startswith(secret, at):
            assert any(t.kind == "secret" and t.start <= at and at + len(secret) <= t.end for t in tokens)


def test_a_long_secret_in_a_long_run_of_itself_takes_bounded_time():
    start = time.process_time()
    tokens = tokenize(b"1" * 100_000, level="shape", secrets=[b"1" * 60_000])
    assert time.process_time() - start < 2
    assert [(t.kind, len(t.text)) for t in tokens] == [("secret", 100_000)]
