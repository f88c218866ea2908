import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_texts import TOKEN_LEVELS, code, hostile, library_files, reformat, rename, seeds, units

from probes.levels import LEVELS, characters
from probes.match import Match, compare, compare_completion


def shape(matches: dict[str, Match]) -> str:
    """`=` for each level at which the two are equal, in order."""
    return "".join("=" if matches[level].equal else "/" for level in LEVELS)


# --- compare


def test_compare_counts_characters_and_tokens():
    matches = compare(b"x = 'ab'\n", b"y = 'ab'  # c\n")
    assert matches["exact"] == Match(
        level="exact", distance=6, target_length=9, completion_length=14, lexer="python"
    )
    assert matches["layout"] == Match(
        level="layout", distance=2, target_length=3, completion_length=4, lexer="python"
    )
    assert matches["code"] == Match(
        level="code", distance=1, target_length=3, completion_length=3, lexer="python"
    )
    assert matches["renamed"].equal
    assert matches["code"].normalized == 1 / 3


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("x = 1", "x = 1", "====="),
        ("x = 1", "x=1\n", "/===="),
        ("x = 1", "x = 1 # one", "//==="),
        ("x = 1", "y = 1", "///=="),
        ("x = 1", "x = 2", "////="),
        ("", "", "====="),
        ("", "# c", "//==="),
    ],
)
def test_each_level_takes_more_away(a, b, expected):
    assert shape(compare(a.encode(), b.encode())) == expected


@given(hostile, hostile, st.sampled_from(["python", "cobol"]))
def test_compare_is_symmetrical_and_monotone_on_any_bytes(a, b, language):
    there = compare(a, b, language=language, prompt=b"def f(")
    back = compare(b, a, language=language, prompt=b"def f(")
    for level in LEVELS:
        assert there[level].distance == back[level].distance
        assert there[level].target_length == back[level].completion_length
        assert 0 <= there[level].normalized <= 1
    assert "=/" not in shape(there)


@given(code, seeds)
def test_compare_sees_through_form_comments_and_names(source, seed):
    assert shape(compare(source.encode(), reformat(source, seed).encode()))[1:] == "===="
    assert shape(compare(source.encode(), reformat(source, seed, comments=True).encode()))[2:] == "==="
    before, after = rename(source, seed)
    assert shape(compare(before.encode(), after.encode()))[3:] == "=="


def test_only_the_levels_asked_for_are_given():
    assert list(compare(b"a", b"b", levels=("code", "exact"))) == ["code", "exact"]
    assert list(compare_completion(b"a", b"b", prompt=b"", levels=("renamed",))) == ["renamed"]
    for call in (compare, compare_completion):
        with pytest.raises(ValueError, match="expected a level of"):
            call(b"a", b"b", prompt=b"", levels=("tokens",))


def test_whole_files():
    a = b"".join(library_files())
    b = a.replace(b"self", b"this")
    assert a.count(b"\n") > 1500
    assert compare(a, b)["exact"].distance > 1000
    assert compare(a, a)["exact"].equal


# --- compare_completion


def against(target: str, completion: str, prompt: str = "", **kwargs) -> dict[str, Match]:
    return compare_completion(target.encode(), completion.encode(), prompt=prompt.encode(), **kwargs)


def test_what_runs_past_the_target_does_not_count():
    assert shape(against("x = 1\n", "x = 1\ny = 2\nz = 3\n")) == "====="


def test_exact_cuts_at_the_targets_characters():
    matches = against("x = é", "x = è + 12345")
    assert matches["exact"] == Match(
        level="exact", distance=1, target_length=5, completion_length=5, lexer="python"
    )


def test_a_completion_that_stops_early_is_compared_as_a_whole():
    matches = against("x = 1 + 2", "x = 1")
    assert matches["exact"] == Match(
        level="exact", distance=4, target_length=9, completion_length=5, lexer="python"
    )
    assert matches["layout"] == Match(
        level="layout", distance=2, target_length=5, completion_length=3, lexer="python"
    )


def test_other_white_space_does_not_lose_the_end():
    # The target's characters would end before `+ 2`.
    assert shape(against("x = 1 + 2\n", "x    =    1   +   2\ny = 3\n")) == "/===="


def test_one_comment_more_does_not_lose_the_end():
    assert shape(against("x = 1\ny = 2\n", "x = 1  # why not\ny = 2\nz = 3\n")) == "//==="


def test_a_target_that_ends_inside_a_literal():
    # As a token, the completion's string is another one; as text, it begins as the target does.
    assert shape(against("x = 'abc", "x = 'abcdef'\n")) == "====="
    assert shape(against("name = val", "name = value\n")) == "====="
    # The cut by characters is one too short here, and the one by tokens holds a longer string.
    assert shape(against("x = 'abc", "x  = 'abcdef'\n")) == "/////"


def test_the_smaller_distance_counts():
    matches = against("f(a, b)\n", "f(a,  b)  # c\n")
    assert matches["layout"] == Match(
        level="layout", distance=0, target_length=6, completion_length=6, lexer="python"
    )


def test_a_level_that_takes_the_target_away_says_what_the_level_before_says():
    prompt = 'def f():\n    """First line.\n\n'
    target = '    Second line.\n    """\n'
    of = against(target, "    Other line.\n    '''\n    return 1\n", prompt)
    assert not of["layout"].equal
    for level in ("code", "renamed"):
        assert (of[level].distance, of[level].target_length) == (
            of["layout"].distance,
            of["layout"].target_length,
        )
    assert shape(against(target, target + "    return 1\n", prompt)) == "====="


def test_a_prompt_that_breaks_off_inside_a_word():
    assert shape(against("rn x\n", "rn  x\nfoo", "def f(x):\n    retu")) == "/===="
    assert shape(against("rn x\n", "rns = 1\nfoo", "def f(x):\n    retu")) == "/////"


def test_a_language_without_a_grammar():
    assert shape(against("let x = 1;", "let x=1; let y = 2;", language="cobol")) == "/===="


def test_bytes_that_are_no_text():
    matches = compare_completion(b"x = '\xff\xfe'", b"x = '\xff\xfe' # \xf0", prompt=b"")
    assert shape(matches) == "====="


@given(code, seeds, st.data())
def test_what_is_equal_stays_equal(source, seed, data):
    """Equality at a level is inherited by the next; here it is worked out again, at a cut of the completion."""
    text = source.encode()
    border = data.draw(st.integers(0, len(text)))
    prompt, target = text[:border], text[border : border + data.draw(st.integers(1, 200))]
    changed = reformat(source, seed, comments=bool(seed % 2)).encode()
    for completion in (text[border:], changed, target + b"\nx = 'y", target.replace(b" ", b"  ") + b" + z"):
        matches = compare_completion(target, completion, prompt=prompt)
        assert "=/" not in shape(matches)
        first = next((level for level in TOKEN_LEVELS if matches[level].equal), None)
        if first is None or not units(target, prompt=prompt)[first]:
            continue
        length = len(characters(target))
        cuts = [characters(completion)[:length].encode(errors="surrogateescape")]
        cuts += [completion[:cut] for cut in range(len(completion) + 1)]
        aim = units(target, prompt=prompt, levels=TOKEN_LEVELS)
        after = TOKEN_LEVELS[TOKEN_LEVELS.index(first) :]
        assert any(
            all(found[level] == aim[level] for level in after)
            for found in (units(cut, prompt=prompt, levels=TOKEN_LEVELS) for cut in cuts)
        )


@given(code, st.integers(1, 200), st.text(max_size=40))
def test_a_verbatim_completion_is_equal_at_every_level(source, length, more):
    half = len(source) // 2
    target = source[half : half + length]
    assert shape(against(target, target + more, source[:half])) == "====="


@given(hostile, hostile, hostile)
def test_any_bytes_can_be_compared(target, completion, prompt):
    matches = compare_completion(target, completion, prompt=prompt)
    assert "=/" not in shape(matches)
    for match in matches.values():
        assert 0 <= match.normalized <= 1
    assert matches["exact"].completion_length <= matches["exact"].target_length
