import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_texts import code, reformat, seeds

from probes.levels import tokenize
from probes.shingles import containment, shingles, token_texts


def test_a_shingle_is_a_run_of_tokens():
    assert len(shingles(b"a b c d e", n=5)) == 1
    assert len(shingles(b"a b c d e", n=2)) == 4
    assert len(shingles(b"a b a b a", n=2)) == 2
    assert shingles(b"a b", n=5) == shingles(b"a  b # c", n=3)
    assert shingles(b"", n=5) == shingles(b"# c", n=5) == frozenset()
    assert shingles(b"ab c", n=2) != shingles(b"a bc", n=2)
    with pytest.raises(ValueError, match="at least 1 token, got n = 0"):
        shingles(b"a", n=0)


@given(code, seeds)
def test_shingles_are_those_of_level_code_without_layout(source, seed):
    found = shingles(source.encode())
    assert found == shingles(reformat(source, seed, comments=True).encode())
    words = [t.text for t in tokenize(source.encode(), level="code") if t.kind != "layout"]
    assert len(found) == len({tuple(words[i : i + 8]) for i in range(max(1, len(words) - 7))})
    assert all(0 <= one < 2**64 for one in found)


@given(code, code)
def test_what_is_part_of_a_text_is_contained_in_it(source, other):
    part = shingles(source.encode())
    assert containment(part, shingles((source + "\n" + other).encode())) == 1.0
    assert containment(part, frozenset()) == 0.0


@given(st.frozensets(st.integers(0, 9)), st.frozensets(st.integers(0, 9)))
def test_containment(a, b):
    assert containment(a, b) == (sum(one in b for one in a) / len(a) if a else 0.0)


def test_shingles_are_the_same_in_every_process():
    source = b"def f(a):\n    return a + 1\n"
    command = [sys.executable, "-c", f"from probes import shingles; print(sorted(shingles({source!r})))"]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert output.strip() == str(sorted(shingles(source)))


@given(code)
def test_token_texts_are_the_tokens_without_layout(source):
    for level in ("layout", "code"):
        tokens = tokenize(source.encode(), level=level)
        assert token_texts(source.encode(), level=level) == tuple(
            t.text for t in tokens if t.kind != "layout"
        )
    assert token_texts(b"ab", level="exact") == (b"a", b"b")


def test_token_texts_are_read_after_a_prompt_and_keep_secrets_whole():
    assert token_texts(b' b" + c', prompt=b'x = "a') == (b' b"', b"+", b"c")
    assert token_texts(b"f(k-1)", secrets=(b"k-1",)) == (b"f", b"(", b"k-1", b")")
    assert token_texts(b"a // b", language="c") == (b"a",)
