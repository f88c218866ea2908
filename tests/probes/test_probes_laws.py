"""The laws of matching, over all eight languages.

Each holds for 200 cases by default and for 10,000 with `--hypothesis-profile thorough`, spread over the languages.
Programs, their variants and hostile bytes come from `probes.testing`, which knows nothing of the lexer.
"""

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from probe_texts import compared, render, settled, units

from probes import testing
from probes.distance import edits, levenshtein, normalized, within
from probes.evidence import align
from probes.levels import LEVELS, characters, tokenize, tokenize_all
from probes.lexing import lex
from probes.match import compare, compare_completion, target_units
from probes.testing import LANGUAGES

TOKEN_LEVELS = LEVELS[1:]
WHITE = b" \t\f\v\r\n"
CASES = settings.default.max_examples

each_language = pytest.mark.parametrize("language", LANGUAGES)
of_law = settings(max_examples=max(25, CASES // len(LANGUAGES)))
"""A law is a test for each language; all together they are its cases."""


def texts(language: str) -> st.SearchStrategy[bytes]:
    return st.one_of(testing.code(language).map(str.encode), testing.hostile(language))


def equal(a: bytes, b: bytes, **kwargs) -> str:
    """`=` for each level at which the two have the same tokens, `/` for the others."""
    first, second = units(a, **kwargs), units(b, **kwargs)
    return "".join("/="[first[level] == second[level]] for level in LEVELS)


# --- 1: total and deterministic


@each_language
@of_law
@given(data=st.data())
def test_any_bytes_have_tokens_and_always_the_same(language, data):
    text = data.draw(testing.hostile(language))
    first = tokenize_all(text, language=language)
    assert tuple(first) == LEVELS
    assert tokenize_all(text, language=language) == first
    assert len(first["exact"]) == len(characters(text))


def test_every_process_finds_the_same_tokens():
    check = (
        "import hashlib; from probes.levels import tokenize_all; from probes.testing import LANGUAGES\n"
        "text = bytes(range(256)) * 2 + b'a = \"x\" /* b */ # c\\n`d${e}` // f\\n' * 3\n"
        "print(hashlib.sha256(repr([tokenize_all(text, language=l) for l in LANGUAGES]).encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", check],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(found) == 1


# --- 2: coverage


@each_language
@of_law
@given(data=st.data())
def test_tokens_cover_all_but_white_space_in_order(language, data):
    text = data.draw(texts(language))
    at = 0
    for token in lex(text, language):
        assert token.start >= at
        gap = text[at : token.start].removeprefix(b"\xef\xbb\xbf" if not at else b"")
        assert not gap.replace(b"\\", b"").strip(WHITE)
        if token.kind == "layout":
            assert token.start == token.end
        else:
            assert token.end > token.start
            spelled = text[token.start : token.end]
            assert token.text == spelled.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        at = token.end
    assert not text[at:].replace(b"\\", b"").strip(WHITE + b"\xef\xbb\xbf")


# --- 3: idempotence


@each_language
@of_law
@given(data=st.data())
def test_normalising_the_normal_form_changes_nothing(language, data):
    text = data.draw(testing.code(language)).encode()
    for level in ("layout", "code"):
        first = tokenize(text, level=level, language=language)
        again = tokenize(render(first), level=level, language=language)
        assert compared(again) == compared(first)


# --- 4: invariance


@each_language
@of_law
@given(data=st.data())
def test_layout_does_not_see_white_space(language, data):
    pair = data.draw(testing.reformatted(language))
    assert equal(pair.a.encode(), pair.b.encode(), language=language)[1:] == "===="


@each_language
@of_law
@given(data=st.data())
def test_code_does_not_see_comments(language, data):
    pair = data.draw(testing.commented(language))
    assert equal(pair.a.encode(), pair.b.encode(), language=language)[2:] == "==="


@each_language
@of_law
@given(data=st.data())
def test_code_does_not_see_separators_and_quotes_that_mean_nothing(language, data):
    pair = data.draw(testing.separated(language))
    assert equal(pair.a.encode(), pair.b.encode(), language=language)[2:] == "==="


@each_language
@of_law
@given(data=st.data())
def test_renamed_does_not_see_an_injective_renaming_of_locals(language, data):
    pair = data.draw(testing.renamed(language))
    found = equal(pair.a.encode(), pair.b.encode(), language=language)
    assert found[3:] == "=="
    assert pair.a == pair.b or found[:3] == "///"


@each_language
@of_law
@given(data=st.data())
def test_shape_does_not_see_literals_that_are_not_sensitive_and_all_others_do(language, data):
    pair = data.draw(testing.with_other_literal(language))
    assert equal(pair.a.encode(), pair.b.encode(), language=language) == "////="


# --- 5: refinement


@each_language
@of_law
@given(data=st.data())
def test_equality_goes_on_from_level_to_level(language, data):
    text = data.draw(texts(language))
    other = data.draw(texts(language))
    for changed in (
        other,
        text + b"\n",
        text.replace(b" ", b""),
        text.replace(b" ", b"\n"),
        text.replace(b"'", b'"'),
        text.replace(b"\r", b"\n"),
        text.replace(b";", b"\n"),
        text.replace(b",", b""),
        text[: len(text) // 2],
    ):
        assert "=/" not in equal(text, changed, language=language)


# --- 6: the distance from level to level


@each_language
@of_law
@given(data=st.data())
def test_the_distance_does_not_rise_but_by_what_is_read_otherwise_in_its_place(language, data):
    """A map of single tokens cannot raise a distance, raw or normalised, and erasing cannot raise the raw one.

    `shape` is such a map. At `code` and `renamed` the place of a token counts: a name after a dot keeps its
    spelling, a comma before a bracket goes. So a token that is equal in both texts can become two that differ.
    """
    text = data.draw(testing.code(language)).encode()
    at, more = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 12))
    changed = text[:at] + data.draw(testing.hostile(language))[:20] + text[at + more :]
    of_a = tokenize_all(text, language=language, levels=TOKEN_LEVELS)
    of_b = tokenize_all(changed, language=language, levels=TOKEN_LEVELS)
    matches = compare(text, changed, language=language)
    for before, after in (("layout", "code"), ("code", "renamed")):
        flips = _flips((of_a[before], of_b[before]), (of_a[after], of_b[after]))
        assert matches[after].distance <= matches[before].distance + flips
    assert matches["shape"].distance <= matches["renamed"].distance
    assert matches["shape"].normalized <= matches["renamed"].normalized


def _flips(before: tuple, after: tuple) -> int:
    """Tokens that a shortest alignment at one level holds equal, and that the next makes two that differ."""
    images = [_images(fine, coarse) for fine, coarse in zip(before, after, strict=True)]
    return sum(
        left != right
        for edit in edits(*(compared(tokens) for tokens in before))
        if edit.op == "equal"
        for left, right in zip(
            images[0][edit.a_start : edit.a_end], images[1][edit.b_start : edit.b_end], strict=True
        )
    )


def _images(fine, coarse) -> list[tuple[bytes, str] | None]:
    """What becomes of each token; the tokens of the coarser level are among those of the finer, in order."""
    found: list[tuple[bytes, str] | None] = []
    at = 0
    for token in fine:
        image = coarse[at] if at < len(coarse) else None
        same = image is not None and (image.start, image.end) == (token.start, token.end)
        if image is not None and same and (token.end > token.start or image.text == token.text):
            found.append(image[:2])
            at += 1
        else:
            found.append(None)
    assert at == len(coarse)
    return found


# --- 7, 8, 9: distance, bounds, thresholds

sequences = st.lists(st.sampled_from([b"a", b"b", b"c", b"(", b"if"]), max_size=12)


def yujian_bo(a, b) -> float:
    distance = levenshtein(a, b)
    assert distance is not None
    return 2 * distance / (len(a) + len(b) + distance) if a or b else 0.0


def exactly(a, b) -> int:
    distance = levenshtein(a, b)
    assert distance is not None
    return distance


@settings(max_examples=CASES)
@given(sequences, sequences, sequences)
def test_the_raw_distance_and_that_of_yujian_and_bo_are_metrics(a, b, c):
    for metric in (exactly, yujian_bo):
        assert metric(a, b) == metric(b, a)
        assert (metric(a, b) == 0) == (a == b)
        assert metric(a, c) <= metric(a, b) + metric(b, c) + 1e-12
    assert 0 <= normalized(exactly(a, b), len(a), len(b)) <= 1
    assert (normalized(exactly(a, b), len(a), len(b)) == 0) == (a == b)


def test_the_distance_relative_to_the_greater_length_is_no_metric():
    there, left, right = normalized(2, 2, 2), normalized(1, 2, 3), normalized(1, 3, 2)
    assert (exactly("ba", "ab"), exactly("ba", "bab"), exactly("bab", "ab")) == (2, 1, 1)
    assert there > left + right


@settings(max_examples=CASES)
@given(sequences, sequences, sequences, st.data())
def test_the_distance_keeps_its_bounds(a, b, c, data):
    distance = exactly(a, b)
    assert abs(len(a) - len(b)) <= distance <= max(len(a), len(b))
    surplus = {word: a.count(word) - b.count(word) for word in {*a, *b}}
    only_in_a = sum(count for count in surplus.values() if count > 0)
    only_in_b = -sum(count for count in surplus.values() if count < 0)
    assert max(only_in_a, only_in_b) <= distance
    assert exactly(a + c, b + c) == distance == exactly(c + a, c + b)
    at = data.draw(st.integers(0, len(a)))
    for changed in (a[:at] + a[at + 1 :], [*a[:at], b"x", *a[at:]], [*a[:at], b"x", *a[at + 1 :]]):
        assert abs(exactly(changed, b) - distance) <= 1


@settings(max_examples=CASES)
@given(sequences, sequences, st.floats(0, 1), st.floats(0, 1), st.integers(0, 14))
def test_a_looser_threshold_accepts_what_a_stricter_one_does(a, b, one, other, cutoff):
    distance = exactly(a, b)
    strict, loose = sorted((one, other))
    assert within(distance, len(a), len(b), loose) >= within(distance, len(a), len(b), strict)
    assert within(distance, len(a), len(b), 0) == (a == b)
    assert within(distance, len(a), len(b), 1)
    assert levenshtein(a, b, cutoff=cutoff) == (distance if distance <= cutoff else None)


# --- 10: no false merge


@each_language
@of_law
@given(data=st.data())
def test_texts_that_differ_in_a_secret_are_unequal_at_every_level_and_cut(language, data):
    pair = data.draw(testing.with_other_secret(language))
    a, b = pair.a.encode(), pair.b.encode()
    secrets = data.draw(st.sampled_from([[pair.secret_a], [pair.secret_a, pair.secret_b]]))
    known = tuple(secret.encode() for secret in secrets)
    prompt = data.draw(st.integers(0, pair.offset))
    ends = range(pair.offset + 1, max(len(a), len(b)) + 1)
    cuts = {*ends[:24], len(ends) + pair.offset, *data.draw(st.lists(st.sampled_from(ends), max_size=8))}
    for cut in sorted(cuts):
        of_a = units(a[prompt:cut], prompt=a[:prompt], language=language, secrets=known)
        of_b = units(b[prompt:cut], prompt=b[:prompt], language=language, secrets=known)
        for level in LEVELS:
            assert of_a[level] != of_b[level], (level, a[:cut], b[:cut])


@each_language
@of_law
@given(data=st.data())
def test_an_open_literal_is_not_abstracted(language, data):
    text = data.draw(texts(language))
    for token in tokenize(text, level="shape", language=language):
        if token.literal is not None and not token.literal.closed:
            assert token.kind == "string"
            assert token.end == len(text) or b"\n" in text[token.end :] or b"\r" in text[token.end :]


# --- 11: cuts and prompts


@each_language
@of_law
@given(data=st.data())
def test_a_cut_changes_no_token_but_the_last(language, data):
    text = data.draw(texts(language))
    whole = units(text, language=language, levels=TOKEN_LEVELS)
    for cut in data.draw(st.lists(testing.cuts(text), max_size=12)):
        part = units(text[:cut], language=language, levels=TOKEN_LEVELS)
        for level in TOKEN_LEVELS:
            kept = settled(part[level])
            assert kept == whole[level][: len(kept)], (level, text[:cut])


@each_language
def test_a_cut_at_any_byte_of_a_file_changes_no_token_but_the_last(language, sample):
    text = sample(language)
    whole = units(text, language=language, levels=TOKEN_LEVELS)
    for cut in range(0, len(text), 1 if CASES >= 10_000 else 11):
        part = units(text[:cut], language=language, levels=TOKEN_LEVELS)
        for level in TOKEN_LEVELS:
            kept = settled(part[level])
            assert kept == whole[level][: len(kept)], (level, cut)


@each_language
@of_law
@given(data=st.data())
def test_a_text_after_its_prompt_has_the_tokens_of_the_whole(language, data):
    text = data.draw(texts(language))
    border = data.draw(testing.cuts(text))
    for level in TOKEN_LEVELS:
        whole = tokenize(text, level=level, language=language)
        after = tokenize(text[border:], level=level, language=language, prompt=text[:border])
        inside = [t for t in after if not 0 == t.start < t.end]
        expected = [t for t in whole if t.start > border or t.start == t.end == border]
        assert [(t.text, t.kind, t.start + border, t.end + border) for t in inside] == [
            t[:4] for t in expected
        ]
        straddling = any(t.start <= border < t.end for t in whole)
        assert sum(t.start == 0 < t.end for t in after) == straddling


# --- 12, 13: caches and oracles


@each_language
@of_law
@given(data=st.data())
def test_a_cached_target_matches_as_a_fresh_one_does(language, data):
    target, completion = data.draw(texts(language)), data.draw(texts(language))
    prompt = data.draw(testing.hostile(language))
    fresh = compare_completion(target, completion, prompt=prompt, language=language)
    assert compare_completion(target, completion, prompt=prompt, language=language) == fresh
    target_units.cache_clear()
    assert compare_completion(target, completion, prompt=prompt, language=language) == fresh


# --- 14: alignment


@each_language
@of_law
@given(data=st.data())
def test_replaying_the_evidence_turns_one_text_into_the_other(language, data):
    pair = data.draw(
        st.one_of(testing.reformatted(language), testing.commented(language), testing.renamed(language))
    )
    a, b = pair.a.encode(), data.draw(st.one_of(st.just(pair.b.encode()), testing.hostile(language)))
    segments = align(a, b, language=language)
    assert "".join(s.target for s in segments).encode(errors="surrogateescape") == a
    assert "".join(s.completion for s in segments).encode(errors="surrogateescape") == b
    assert segments == align(a, b, language=language)


@settings(max_examples=CASES)
@given(sequences, sequences)
def test_replaying_the_edits_turns_one_sequence_into_the_other(a, b):
    steps = edits(a, b)
    assert [x for s in steps for x in b[s.b_start : s.b_end]] == b
    assert [x for s in steps for x in a[s.a_start : s.a_end]] == a
    assert all(a[s.a_start : s.a_end] == b[s.b_start : s.b_end] for s in steps if s.op == "equal")
    cost = sum(max(s.a_end - s.a_start, s.b_end - s.b_start) for s in steps if s.op != "equal")
    assert cost == exactly(a, b)


@each_language
@of_law
@given(data=st.data())
def test_the_reasons_of_the_evidence_are_those_of_the_levels(language, data):
    for pairs, reasons in (
        (testing.reformatted(language), {"format"}),
        (testing.commented(language), {"format", "comment"}),
        (testing.separated(language), {"format", "comment"}),
        (testing.renamed(language), {"rename"}),
    ):
        pair = data.draw(pairs)
        found = {s.reason for s in align(pair.a.encode(), pair.b.encode(), language=language)}
        assert found <= reasons | {None}
    literal = data.draw(testing.with_other_literal(language))
    found = {s.reason for s in align(literal.a.encode(), literal.b.encode(), language=language)}
    assert {"literal"} <= found <= {None, "format", "literal"}
    secret = data.draw(testing.with_other_secret(language))
    known = [secret.secret_a.encode(), secret.secret_b.encode()]
    segments = align(secret.a.encode(), secret.b.encode(), language=language, secrets=known)
    assert {"secret"} <= {s.reason for s in segments} <= {None, "format", "secret"}


# --- 15: negative controls


@each_language
def test_code_is_near_no_other_code(language, sample):
    """The verdict of the literature, a distance of at most 0.1 at `exact`, on all pairs of different stretches."""
    text = sample(language)
    stretches = [text[at : at + 150] for at in range(0, len(text) - 150, 150)]
    near = 0
    for place, target in enumerate(stretches):
        for other in stretches[:place]:
            match = compare_completion(target, other, prompt=b"", language=language, levels=("exact",))[
                "exact"
            ]
            near += within(match.distance, match.target_length, match.completion_length, 0.1)
    assert len(stretches) > 5
    assert near == 0
