"""What a completion's beginning rules out: never more than is so, and at `exact` all of it."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import testing
from probes.bound import Row, at_least
from probes.distance import levenshtein
from probes.levels import LEVELS, characters
from probes.match import compare_completion
from probes.testing import LANGUAGES

CASES = settings.default.max_examples
each_language = pytest.mark.parametrize("language", LANGUAGES)
of_law = settings(max_examples=max(25, CASES // len(LANGUAGES)), deadline=None)
strings = st.text("ab", max_size=12)


@given(target=strings, text=strings)
def test_a_row_is_that_of_the_distance_table(target: str, text: str) -> None:
    row = Row(target)
    row.extend(text[:3])
    row.extend(text[3:])
    assert row.values() == [levenshtein(target[:j], text) for j in range(len(target) + 1)]


@pytest.mark.parametrize("cut", [False, True])
def test_the_least_distance_is_reached_and_never_passed(cut: bool) -> None:
    """By brute force: short targets and texts, and all short continuations of each text."""

    def words(letters: str, longest: int) -> list[str]:
        return ["".join(word) for size in range(longest + 1) for word in product(letters, repeat=size)]

    for target in words("ab", 4):
        for text in words("abx", 4):
            if cut and len(text) > len(target):
                continue
            row = Row(target)
            row.extend(text)
            ends = (text + more for more in words("ab", 4))
            distances = [levenshtein(target, end[: len(target)] if cut else end) for end in ends]
            assert row.least(cut=cut) == min(d for d in distances if d is not None), (target, text)


def completions(language: str) -> st.SearchStrategy[tuple[str, str]]:
    """A target, and what a model might say: the same otherwise written, near it, something else, scraps."""
    code = testing.code(language)
    variants = st.one_of(
        testing.reformatted(language), testing.commented(language), testing.renamed(language)
    ).map(lambda pair: (pair.a, pair.b))

    @st.composite
    def edited(draw: st.DrawFn) -> tuple[str, str]:
        text = draw(code)
        at = draw(st.integers(0, len(text)))
        gone = draw(st.integers(0, 8))
        return text, text[:at] + draw(st.sampled_from(["", "x", " ", "\n", "é", '"', "(a, b)"])) + text[
            at + gone :
        ]

    return st.one_of(variants, edited(), st.tuples(code, code))


@each_language
@of_law
@given(data=st.data())
def test_no_continuation_comes_nearer(language: str, data: st.DataObject) -> None:
    target, said = data.draw(completions(language))
    border = data.draw(st.integers(0, min(len(target), 40)))
    prompt = target[:border].encode()
    text, whole = target[border:].encode(), said[border:]
    matches = compare_completion(text, whole.encode(), prompt=prompt, language=language)
    before = dict.fromkeys(LEVELS, (0, 0.0))
    for end in sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=8))):
        bounds = at_least(text, whole[:end].encode(), prompt=prompt, language=language)
        assert tuple(bounds) == LEVELS
        for level, bound in bounds.items():
            assert bound.distance <= matches[level].distance, (level, whole[:end])
            assert bound.normalized <= matches[level].normalized + 1e-12, (level, whole[:end])
            if level == "exact":  # at the others a token more can change what a separator is
                assert (bound.distance, bound.normalized) >= before[level]
            before[level] = (bound.distance, bound.normalized)


@each_language
@of_law
@given(data=st.data())
def test_what_goes_on_like_the_target_is_never_ruled_out(language: str, data: st.DataObject) -> None:
    target = data.draw(testing.code(language))
    end = data.draw(st.integers(0, len(target)))
    for bound in at_least(target.encode(), target[:end].encode(), prompt=b"", language=language).values():
        assert bound.distance == 0


def test_something_else_is_ruled_out_soon() -> None:
    target = b"def total(items):\n    return sum(item.price * item.count for item in items)\n"
    said = b'class Window:\n    """A window."""\n    size = [1, 2, 3, 4, 5, 6, 7, 8]\n'
    ends = {
        level: next(
            end
            for end in range(len(said))
            if at_least(target, said[:end], prompt=b"")[level].normalized > 0.1
        )
        for level in ("exact", "layout", "code")
    }
    assert ends["exact"] < 16
    assert max(ends.values()) < 40


@pytest.mark.parametrize("levels", [("exact",), ("exact", "renamed"), ("code",)])
def test_only_the_levels_asked_for_are_told(levels: tuple[str, ...]) -> None:
    target, said = b"a = f(1)  # one\n", b"b = g(2, 3)\n"
    some = at_least(target, said, prompt=b"", levels=levels)
    every = at_least(target, said, prompt=b"")
    assert some == {level: every[level] for level in levels}


def test_the_text_is_cut_by_characters_not_by_bytes() -> None:
    target = "é" * 10
    assert (
        at_least(target.encode(), ("é" * 10 + "x").encode(), prompt=b"", levels=("exact",))["exact"].distance
        == 0
    )
    assert len(characters(target.encode())) == 10
