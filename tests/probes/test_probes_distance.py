import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein_py

from probes.distance import edits, levenshtein, normalized, within

letters = st.text("abc", max_size=12)
words = st.lists(st.sampled_from([b"a", b"bb", "a", 1, ("x", 2)]), max_size=10)
pairs = st.one_of(st.tuples(letters, letters), st.tuples(words, words), st.tuples(st.text(), st.text()))


def textbook(a, b) -> int:
    """Wagner and Fischer's table."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (x != y)))
    return row[-1]


@given(pairs)
def test_distance_is_the_textbooks_and_the_pure_python_twins(pair):
    a, b = pair
    assert levenshtein(a, b) == textbook(a, b) == Levenshtein_py.distance(a, b)


@given(pairs, st.integers(0, 15))
def test_cutoff_gives_the_distance_or_none(pair, cutoff):
    a, b = pair
    distance = textbook(a, b)
    assert levenshtein(a, b, cutoff=cutoff) == (distance if distance <= cutoff else None)


@given(pairs)
def test_distance_bounds_and_symmetry(pair):
    a, b = pair
    distance = levenshtein(a, b)
    assert distance is not None
    assert abs(len(a) - len(b)) <= distance <= max(len(a), len(b))
    assert distance == levenshtein(b, a)
    assert (distance == 0) == (list(a) == list(b))


@given(letters, letters, letters)
def test_triangle_inequality_and_common_ends(a, b, c):
    assert levenshtein(a, c) <= levenshtein(a, b) + levenshtein(b, c)
    assert levenshtein(a + c, b + c) == levenshtein(c + a, c + b) == levenshtein(a, b)


@given(pairs)
def test_replaying_the_edits_gives_the_other_text(pair):
    a, b = pair
    found, cost, at_a, at_b = [], 0, 0, 0
    for edit in edits(a, b):
        assert (edit.a_start, edit.b_start) == (at_a, at_b)
        removed, put = edit.a_end - edit.a_start, edit.b_end - edit.b_start
        assert {"equal": removed == put, "replace": removed == put}.get(edit.op, 0 in (removed, put))
        if edit.op == "equal":
            assert list(a[edit.a_start : edit.a_end]) == list(b[edit.b_start : edit.b_end])
        cost += 0 if edit.op == "equal" else max(removed, put)
        found += list(b[edit.b_start : edit.b_end])
        at_a, at_b = edit.a_end, edit.b_end
    assert found == list(b)
    assert at_a == len(a)
    assert cost == levenshtein(a, b)
    assert edits(a, b) == edits(a, b)


def test_sequences_of_many_distinct_elements():
    a = list(range(3000))
    assert levenshtein(a, [*a[:1000], "new", *a[1001:]]) == 1


def test_text_that_is_not_valid_unicode():
    assert levenshtein("\udc80a", "a") == 1


def test_a_negative_cutoff_is_refused():
    with pytest.raises(ValueError, match="cutoff of at least 0, got -1"):
        levenshtein("a", "b", cutoff=-1)


def test_normalized():
    assert normalized(0, 0, 0) == 0.0
    assert normalized(3, 30, 20) == 0.1
    assert normalized(20, 0, 20) == 1.0


def test_normalized_is_no_metric():
    def of(a: str, b: str) -> float:
        return normalized(levenshtein(a, b) or 0, len(a), len(b))

    assert of("ba", "ab") == 1.0 > of("ba", "bab") + of("bab", "ab")


@pytest.mark.parametrize(
    ("distance", "length", "expected"),
    [(0, 9, True), (1, 9, False), (1, 10, True), (3, 30, True), (4, 30, False)],
)
def test_within_a_tenth(distance, length, expected):
    assert within(distance, length, length - 1, 0.1) is expected


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_accepts_no_less(distance, longer, one, other):
    length = max(distance, longer)
    low, high = sorted((one, other))
    assert within(distance, length, 0, low) <= within(distance, length, 0, high)
    assert within(distance, length, 0, 0.0) == (distance == 0)
    assert within(distance, length, 0, 1.0)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_outside_of_the_range_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold between 0 and 1"):
        within(1, 2, 2, threshold)
