"""Fill-in-the-middle: nothing is lost, and what becomes of a text is a matter of seed and number alone."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.infill import Infill
from rlhf.tokenizer import Tokenizer

PREFIX, SUFFIX, MIDDLE = 297, 298, 299
texts = st.lists(st.integers(0, 296), max_size=12)
indices = st.integers(0, 2**31)


def infill(rate: float = 1.0, spm: float = 0.5, seed: int = 0) -> Infill:
    return Infill(prefix=PREFIX, suffix=SUFFIX, middle=MIDDLE, rate=rate, spm=spm, seed=seed)


@given(texts, indices, st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**31))
def test_it_can_be_undone(tokens: list[int], index: int, rate: float, spm: float, seed: int) -> None:
    transform = infill(rate, spm, seed)
    found = transform.of_tokens(tokens, index)
    assert transform.undo(found) == tokens
    assert found == tokens or Counter(found) == Counter([*tokens, PREFIX, SUFFIX, MIDDLE])


@given(texts, indices)
def test_the_two_orders_are_those_of_the_paper(tokens: list[int], index: int) -> None:
    """The same cuts in both: the order is another draw."""
    psm, spm = infill(spm=0).of_tokens(tokens, index), infill(spm=1).of_tokens(tokens, index)
    assert psm[0] == PREFIX
    suffix_at, middle_at = psm.index(SUFFIX), psm.index(MIDDLE)
    before, after, between = psm[1:suffix_at], psm[suffix_at + 1 : middle_at], psm[middle_at + 1 :]
    assert before + between + after == tokens
    assert spm == [PREFIX, SUFFIX, *after, MIDDLE, *before, *between]


def test_rates_are_kept() -> None:
    tokens = list(range(100))
    some = [infill(0.3, 0.8).of_tokens(tokens, i) for i in range(2000)]
    reordered = [s for s in some if s != tokens]
    assert len(reordered) / 2000 == pytest.approx(0.3, abs=0.04)
    first = [s[1] == SUFFIX for s in reordered if s[1] == SUFFIX or s.index(SUFFIX) > 1]
    assert sum(first) / len(first) == pytest.approx(0.8, abs=0.06)
    assert all(infill(0.0).of_tokens(tokens, i) == tokens for i in range(50))
    assert all(infill(1.0).of_tokens(tokens, i) != tokens for i in range(50))


def test_cuts_are_everywhere_and_independent() -> None:
    """Uniform over all pairs of places, the ends included."""
    cuts = Counter()
    for index in range(3000):
        found = infill(spm=0).of_tokens([7, 8, 9], index)
        cuts[found.index(SUFFIX) - 1, found.index(MIDDLE) - found.index(SUFFIX) - 1] += 1
    assert len(cuts) == 10
    for (before, after), times in cuts.items():
        assert times / 3000 == pytest.approx((1 if before + after == 3 else 2) / 16, abs=0.03)


@given(st.lists(texts, min_size=1, max_size=5), st.integers(0, 2**31))
def test_it_depends_neither_on_the_order_nor_on_the_others(sequences: list[list[int]], seed: int) -> None:
    transform = infill(seed=seed)
    forwards = [transform.of_tokens(s, i) for i, s in enumerate(sequences)]
    backwards = [transform.of_tokens(s, i) for i, s in reversed(list(enumerate(sequences)))]
    assert forwards == backwards[::-1]


def test_seeds_and_numbers_differ() -> None:
    tokens = list(range(50))
    found = {tuple(infill(seed=seed).of_tokens(tokens, i)) for seed in range(5) for i in range(5)}
    assert len(found) > 20


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["def area(width, height):\n    return width * height\n" * 5], 290)


@given(st.text(max_size=30), indices)
def test_text_is_cut_between_characters(tokenizer: Tokenizer, text: str, index: int) -> None:
    found = infill().of_text(text, index, tokenizer.encode)
    assert tokenizer.decode(infill().undo(found)) == text
    behind, gap = found.index(SUFFIX), found.index(MIDDLE)
    # Each part is text by itself, no half of a character.
    for part in (found[1:behind], found[behind + 1 : gap], found[gap + 1 :]):
        assert tokenizer.decode(part) in text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rate": 1.5}, "`rate` to be a share between 0 and 1, got 1.5"),
        ({"spm": -0.1}, "`spm` to be a share"),
        ({"middle": SUFFIX}, "three different ids"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Infill(**{"prefix": PREFIX, "suffix": SUFFIX, "middle": MIDDLE, **fields})  # pyright: ignore


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_text_that_holds_a_mark_could_not_be_undone(rate: float) -> None:
    with pytest.raises(ValueError, match="without the marks of its parts, got id 298 in example 3"):
        infill(rate).of_tokens([1, SUFFIX, 2], 3)
    for ids in ([1, PREFIX], [PREFIX, SUFFIX, 1], [PREFIX, SUFFIX, MIDDLE, MIDDLE]):
        with pytest.raises(ValueError, match="each mark of a reordered text once"):
            infill().undo(ids)
