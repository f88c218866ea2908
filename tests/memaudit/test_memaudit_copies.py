"""Near-copies: some words of a text replaced by others of it, and nothing else."""

import random

from hypothesis import given
from hypothesis import strategies as st

from memaudit.copies import near_copies
from probes.duplicates import clusters
from probes.lexing import lex

TEXT = '''def area(width, height):
    """Width times height."""
    if width < 0 or height < 0:  # of nothing
        raise ValueError("negative")
    total = width * height
    return total
'''


@given(st.integers(0, 1000), st.integers(1, 8), st.floats(0.01, 1.0))
def test_a_share_of_the_words_is_replaced_by_others_of_the_text(seed: int, count: int, noise: float) -> None:
    copies = near_copies(TEXT, "python", count, noise, random.Random(seed))
    assert copies == near_copies(TEXT, "python", count, noise, random.Random(seed))
    assert len({TEXT, *copies}) == count + 1
    before = lex(TEXT.encode(), "python")
    for copy in copies:
        after = lex(copy.encode(), "python")
        assert [t.kind for t in after] == [t.kind for t in before]
        other = [(a, b) for a, b in zip(before, after, strict=True) if a.text != b.text]
        assert all(a.kind == "word" for a, _ in other)
        words = [t.text for t in before if t.kind == "word"]
        assert len(other) == max(1, round(noise * len(words)))
        assert {b.text for _, b in other} <= set(words)


def test_with_little_noise_they_are_one_cluster_of_near_duplicates() -> None:
    copies = near_copies(TEXT, "python", 6, 0.1, random.Random(1))
    assert set(clusters([text.encode() for text in (TEXT, *copies)])) == {0}


def test_a_text_of_few_words_has_few_copies_and_one_of_one_word_has_none() -> None:
    assert sorted(near_copies("a + b\n", "python", 9, 0.1, random.Random(0))) == ["a + a\n", "b + b\n"]
    assert near_copies("a + a\n", "python", 3, 0.5, random.Random(0)) == []
    assert near_copies('"only a string"\n', "python", 3, 0.5, random.Random(0)) == []
