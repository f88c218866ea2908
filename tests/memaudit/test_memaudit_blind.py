import math
from itertools import compress

import numpy as np
import pytest
from scipy.stats import norm

from memaudit.blind import blind_scores
from memaudit.roc import area


def success(texts: list[list[int]], members: list[bool], **options: object) -> float:
    scores = blind_scores(texts, members, **options)  # type: ignore[arg-type]
    others = [not member for member in members]
    return area(list(compress(scores, members)), list(compress(scores, others))).interval.value


def drawn(rng: np.random.Generator, count: int, *, low: int, high: int, shift: int = 0) -> list[list[int]]:
    """Texts of Zipf-like tokens."""
    sizes = rng.integers(low, high, count)
    return [(np.minimum(rng.zipf(1.5, size), 300) + shift).tolist() for size in sizes]


def test_members_of_another_vocabulary_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    texts = drawn(rng, 60, low=20, high=40, shift=2) + drawn(rng, 60, low=20, high=40)
    assert success(texts, [True] * 60 + [False] * 60) > 0.95


def test_members_of_another_length_are_told_apart() -> None:
    texts = [[1] * size for size in (*range(50, 90), *range(20, 60))]
    assert success(texts, [True] * 40 + [False] * 40) > 0.85


def test_what_is_drawn_alike_is_not_told_apart() -> None:
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        texts = drawn(rng, 80, low=10, high=60)
        found.append(success(texts, rng.permutation([True, False] * 40).tolist()))
    # Cross-validation on few texts can lean to either side of a half; on the mean it does not by much.
    assert abs(np.mean(found) - 0.5) < 0.04


def test_copies_are_recognised_unless_they_stay_together() -> None:
    rng = np.random.default_rng(3)
    originals = drawn(rng, 40, low=10, high=60)
    texts = [text for text in originals for _ in range(4)]
    members = [member for member in rng.permutation([True, False] * 20).tolist() for _ in range(4)]
    groups = [number for number in range(40) for _ in range(4)]
    assert success(texts, members) > 0.7
    assert abs(success(texts, members, groups=groups) - 0.5) < 0.2


def test_scores_are_log_odds_of_the_other_folds() -> None:
    # Two folds of a member and a non-member each: every text is judged by the other two.
    texts, members = [["a", "a", "b"], ["b", "b", "a"]] * 2, [True, False] * 2
    found = blind_scores(texts, members, folds=2)
    # Counts with one added: a is 3 of 5 in members, 2 of 5 in non-members. Lengths do not differ.
    odds = math.log(3 / 2)
    assert found == pytest.approx([odds, -odds] * 2)


def test_one_fold_each_agrees_with_a_plain_loop() -> None:
    rng = np.random.default_rng(4)
    texts = [*drawn(rng, 9, low=3, high=9), *drawn(rng, 14, low=2, high=30)]
    members = [True] * 9 + [False] * 14
    expected = []
    for place, text in enumerate(texts):
        odds = 0.0
        rest = [(t, m) for k, (t, m) in enumerate(zip(texts, members, strict=True)) if k != place]
        vocabulary = {token for t, _ in rest for token in t}
        for sign, kind in ((1, True), (-1, False)):
            bag = [token for t, m in rest if m is kind for token in t]
            lengths = np.log1p([len(t) for t, m in rest if m is kind])
            for token in text:
                if token in vocabulary:
                    odds += sign * math.log((bag.count(token) + 1) / (len(bag) + len(vocabulary)))
            odds += sign * norm.logpdf(math.log1p(len(text)), lengths.mean(), lengths.std())
        expected.append(odds)
    assert blind_scores(texts, members, folds=len(texts)) == pytest.approx(expected)


def test_the_division_is_by_the_seed_and_nothing_else() -> None:
    rng = np.random.default_rng(5)
    texts, members = drawn(rng, 30, low=5, high=20), [True, False] * 15
    assert blind_scores(texts, members, seed=1) == blind_scores(texts, members, seed=1)
    assert blind_scores(texts, members, seed=1) != blind_scores(texts, members, seed=2)
    renamed = [[f"token {token}" for token in text] for text in texts]
    assert blind_scores(renamed, members, seed=1) == pytest.approx(blind_scores(texts, members, seed=1))


def test_a_text_does_not_judge_itself() -> None:
    rng = np.random.default_rng(6)
    texts, members = drawn(rng, 30, low=5, high=20), [True, False] * 15
    before = blind_scores(texts, members)
    # A token that only this text has says nothing of it, but for its length.
    again = blind_scores([[-1] * len(texts[0]), *texts[1:]], members)
    other = blind_scores([[-2] * len(texts[0]), *texts[1:]], members)
    assert again == pytest.approx(other)
    assert again != pytest.approx(before)


def test_texts_without_tokens_have_scores() -> None:
    assert all(map(math.isfinite, blind_scores([[]] * 8, [True, False] * 4, folds=2)))


def test_what_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ValueError, match="between 2 and 3 folds, the number of groups, got 5"):
        blind_scores([[1]] * 3, [True, False, True])
    with pytest.raises(ValueError, match="got none of one kind without fold"):
        blind_scores([[1]] * 6, [True] + [False] * 5, folds=3)
    with pytest.raises(ValueError, match="each of 2 texts, got 1 and 2"):
        blind_scores([[1], [2]], [True])
    with pytest.raises(ValueError, match="got a string"):
        blind_scores(["a b", "c"], [True, False])
