import random
import subprocess
import sys
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from probes.winnow import Fingerprint, SharedRun, powers, rolling, shared_run, token_hashes, winnow

words = st.sampled_from([b"a", b"b", b"c", b"d"])
texts = st.lists(words, max_size=25)
ks, windows = st.integers(1, 4), st.integers(1, 6)


def hashes_of(tokens, k):
    """The hash of each run by its definition, in whole numbers."""
    digests = [int.from_bytes(blake2b(token, digest_size=8).digest(), "big") for token in tokens]
    base = 0x9E3779B97F4A7C15
    return [
        sum(digest * base ** (k - place) for place, digest in enumerate(digests[start : start + k])) % 2**64
        for start in range(len(tokens) - k + 1)
    ]


def longest_common(a, b):
    """The longest common run by the quadratic table, the first in `a`, then in `b`."""
    best = SharedRun(start_a=0, start_b=0, length=0)
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a)):
        for j in range(len(b)):
            if a[i] == b[j]:
                length = table[i + 1][j + 1] = table[i][j] + 1
                if length > best.length:
                    best = SharedRun(start_a=i + 1 - length, start_b=j + 1 - length, length=length)
    return best


@given(texts, st.integers(1, 5))
def test_a_hash_is_that_of_karp_and_rabin(tokens, k):
    assert rolling(token_hashes(tokens), powers(k)).tolist() == hashes_of(tokens, k)


@given(texts, ks, windows)
def test_fingerprints_are_the_rightmost_least_of_each_window(tokens, k, window):
    hashes = hashes_of(tokens, k)
    kept = set()
    for start in range(max(1, len(hashes) - window + 1)) if hashes else ():
        part = hashes[start : start + window]
        kept.add(start + max(i for i, value in enumerate(part) if value == min(part)))
    assert winnow(tokens, k=k, window=window) == tuple(Fingerprint(hashes[at], at) for at in sorted(kept))


@given(texts, texts, texts, texts, texts, ks, windows)
def test_a_long_enough_shared_run_has_a_shared_fingerprint(before, after, other, rest, run, k, window):
    assume(len(run) >= k + window - 1)
    a, b = before + run + after, other + run + rest
    ends = len(run) - k
    in_a = {(f.hash, f.offset - len(before)) for f in winnow(a, k=k, window=window)}
    in_b = {(f.hash, f.offset - len(other)) for f in winnow(b, k=k, window=window)}
    assert any(0 <= offset <= ends for _, offset in in_a & in_b)


@given(texts, texts, ks, windows, st.booleans())
def test_the_shared_run_is_the_longest_where_winnowing_guarantees_it(a, b, k, window, weak):
    with pytest.MonkeyPatch.context() as patch:
        if weak:  # all hashes are equal
            patch.setattr("probes.winnow.powers", lambda k: np.zeros(k, dtype=np.uint64))
        found, longest = shared_run(a, b, k=k, window=window), longest_common(a, b)
    if longest.length >= k + window - 1 and not weak:
        assert found == longest
    if found is not None:
        start_a, start_b, length = found.start_a, found.start_b, found.length
        assert k <= length <= longest.length
        assert a[start_a : start_a + length] == b[start_b : start_b + length]
        assert not (start_a and start_b) or a[start_a - 1] != b[start_b - 1]
        assert a[start_a + length :][:1] != b[start_b + length :][:1] or not a[start_a + length :]
    if longest.length < k:
        assert found is None


@given(texts, texts, st.integers(1, 4))
def test_a_window_of_one_keeps_every_run(a, b, k):
    assert [f.offset for f in winnow(a, k=k, window=1)] == list(range(max(0, len(a) - k + 1)))
    longest = longest_common(a, b)
    assert shared_run(a, b, k=k, window=1) == (longest if longest.length >= k else None)


@pytest.mark.parametrize("window", [1, 2, 4, 8, 13])
def test_about_two_of_window_plus_one_are_kept(window):
    draw = random.Random(window)
    tokens = [b"%d" % draw.randrange(5000) for _ in range(20_000)]
    share = len(winnow(tokens, k=5, window=window)) / (len(tokens) - 4)
    assert share == pytest.approx(2 / (window + 1), rel=0.04)


def test_a_run_is_found_in_long_texts():
    draw = random.Random(1)
    a = [b"%d" % draw.randrange(300) for _ in range(1500)]
    b = [b"%d" % draw.randrange(300) for _ in range(1500)]
    b[300:340] = a[1100:1140]
    found = shared_run(a, b, k=8, window=8)
    assert found == longest_common(a, b)
    assert found is not None
    assert found.length >= 40


def test_texts_of_one_repeated_token():
    assert shared_run([b"x"] * 300, [b"x"] * 200, k=4, window=4) == SharedRun(
        start_a=0, start_b=0, length=200
    )


def test_a_run_met_before_on_another_diagonal():
    a, b = (list(map(str.encode, text)) for text in ("xxxxyx", "xxyxx"))
    assert shared_run(a, b, k=2, window=2) == SharedRun(start_a=2, start_b=0, length=4)
    a, b = (list(map(str.encode, text)) for text in ("xxxxyx", "xyxx"))
    assert shared_run(a, b, k=2, window=2) == SharedRun(start_a=3, start_b=0, length=3)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="at least 1 token, got k = 0"):
        winnow([b"a"], k=0, window=1)
    with pytest.raises(ValueError, match="at least 1 run, got window = 0; 1 keeps every run"):
        shared_run([b"a"], [b"a"], k=1, window=0)
    with pytest.raises(TypeError, match=r"sequence of token texts, got bytes; use token_texts\(text\)"):
        winnow(b"abc", k=1, window=1)  # pyright: ignore[reportArgumentType]


def test_fingerprints_are_the_same_in_every_process():
    show = "from probes.winnow import winnow; print(winnow([b'a', b'b', b'c', b'a', b'b'], k=2, window=2))"
    output = subprocess.run([sys.executable, "-c", show], capture_output=True, check=True, text=True).stdout
    assert output.strip() == str(winnow([b"a", b"b", b"c", b"a", b"b"], k=2, window=2))
