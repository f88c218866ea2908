from time import perf_counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reports import Redactor, named, redact
from reports.page import _pieces
from reports.redact import MASK, SHOWN, UNNAMED

LETTERS = st.sampled_from("abc \n\r" + MASK)
SECRETS = st.lists(st.text(LETTERS, max_size=14), max_size=4)


@st.composite
def leaky(draw) -> tuple[list[str], str]:
    """Draw secrets and a text that quotes pieces of them between other characters."""
    secrets = draw(SECRETS)
    pieces = []
    for secret in secrets:
        start = draw(st.integers(0, len(secret)))
        pieces.append(secret[start : draw(st.integers(start, len(secret)))])
        pieces.append(draw(st.text(LETTERS, max_size=6)))
    return secrets, "".join(draw(st.permutations(pieces)))


def fragments(secrets: list[str], smallest: int) -> list[str]:
    """List what must not survive, straight from the definition."""
    found = []
    for secret in secrets:
        width = min(smallest, len(secret))
        found += [secret[at : at + width] for at in range(len(secret) - width + 1)]
    return [piece for piece in found if piece.replace(MASK, "").strip()]


@given(leaky(), st.integers(1, 7))
@example((["ab1234", MASK * 6 + "cd"], "ab1234cd"), 6)
def test_no_fragment_survives(case: tuple[list[str], str], smallest: int):
    secrets, text = case
    masked = redact(text, secrets, smallest=smallest)
    assert [piece for piece in fragments(secrets, smallest) if piece in masked] == []


@given(leaky(), st.integers(1, 7))
def test_length_and_line_breaks_stay(case: tuple[list[str], str], smallest: int):
    secrets, text = case
    masked = redact(text, secrets, smallest=smallest)
    assert len(masked) == len(text)
    assert all(now in (before, MASK) for before, now in zip(text, masked, strict=True))
    assert masked.splitlines(keepends=True) == [masked[start:end] for start, end in _line_spans(text)], (
        "lines begin where they began"
    )


def _line_spans(text: str) -> list[tuple[int, int]]:
    spans, start = [], 0
    for line in text.splitlines(keepends=True):
        spans.append((start, start + len(line)))
        start += len(line)
    return spans


@given(leaky(), st.integers(1, 7))
@example((["ab1234", MASK * 6 + "cd"], "ab1234cd"), 6)
def test_masking_twice_is_masking_once(case: tuple[list[str], str], smallest: int):
    redactor = Redactor(case[0], smallest=smallest)
    once = redactor.mask(case[1])
    assert redactor.mask(once) == once


@given(leaky(), st.integers(1, 7))
def test_a_text_without_fragments_is_left_alone(case: tuple[list[str], str], smallest: int):
    secrets, text = case
    held = [piece for piece in fragments(secrets, smallest) if piece in text]
    assert (redact(text, secrets, smallest=smallest) == text) == (not held)


def test_only_the_fragment_is_masked():
    secret = "sk-EXAMPLE-0123456789"
    assert redact(f"key = '{secret}'", [secret]) == f"key = '{MASK * len(secret)}'"
    assert redact(f"key = '{secret[:8]}zzz'", [secret]) == f"key = '{MASK * 8}zzz'"
    assert redact(f"key = '{secret[:5]}zzz'", [secret]) == f"key = '{secret[:5]}zzz'"
    assert redact("pin 0451, not 045", ["0451"]) == f"pin {MASK * 4}, not 045"


def test_a_secret_over_several_lines_keeps_its_lines():
    secret = "BEGIN KEY\n      abcdef\n      END KEY"
    assert redact(f"x = 1\n{secret}\n      y = 2", [secret]).splitlines() == [
        "x = 1",
        MASK * 9,
        MASK * 12,
        MASK * 13,
        MASK * 4 + "  y = 2",
    ], "indentation beside a line of the secret is a fragment with it"
    assert redact("if x:\n            y = 2\n", [secret]) == "if x:\n            y = 2\n"


def test_smallest_must_be_positive():
    with pytest.raises(ValueError, match="at least 1 character, got 0"):
        Redactor(["secret"], smallest=0)


def test_many_secrets_and_many_texts_are_quick():
    secrets = [f"/home/person{place:04d}/projects/{place * 7919:08d}/deploy.key" for place in range(200)]
    texts = [f"def f_{place}():\n    return open('{secrets[place]}').read()\n" * 10 for place in range(200)]
    started = perf_counter()
    redactor = Redactor(secrets)
    masked = [redactor.mask(text) for text in texts]
    assert perf_counter() - started < 5, "200 x 200 should take a fraction of a second"
    assert all(secret not in text for secret, text in zip(secrets, masked, strict=True))


@given(leaky(), st.integers(1, 7), st.data())
def test_numbers_stand_in_masks_and_nowhere_else(
    case: tuple[list[str], str], smallest: int, data: st.DataObject
):
    secrets, text = case
    redactor = Redactor(secrets, smallest=smallest)
    hidden = redactor.hidden(text)
    whole, masked = named(text, hidden), redactor.mask(text)
    cut = data.draw(st.integers(0, len(text)))
    pieces = named(text[:cut], hidden[:cut]) + named(text[cut:], hidden[cut:])
    for written in (whole, pieces):
        assert len(written) == len(text)
        for place, (letter, before) in enumerate(zip(written, masked, strict=True)):
            assert letter == before or (before == MASK and hidden[place] > 0 and letter.isdigit())
        assert [piece for piece in fragments(secrets, smallest) if piece in written] == []


def test_one_secret_has_one_number_wherever_it_stands():
    first, second = "hunter2-hunter2", "correct-horse-battery"
    redactor = Redactor([first, second, first])
    assert redactor.numbers == {first: 1, second: 2}
    for text in (f"a = {second}", f"{second[:9]} and no more", f"x{second}{first}"):
        hidden = redactor.hidden(text)
        assert named(text, hidden).startswith(("a = █2█", "█2██████", "x█2█"))
    text = f"x{second}{first}"
    assert named(text, redactor.hidden(text)) == "x█2" + MASK * 19 + "█1" + MASK * 13


def test_what_several_secrets_share_is_the_first_ones():
    redactor = Redactor(["alpha@example.com", "omega@example.com"])
    assert named("to: zeta@example.com", redactor.hidden("to: zeta@example.com")) == "to: zet█1" + MASK * 11


def test_another_redactors_numbers_are_kept():
    redactor = Redactor(["second-secret"], like=Redactor(["first-secret", "second-secret"]))
    assert named("second-secret", redactor.hidden("second-secret")).startswith("█2█")
    assert redactor.mask("first-secret") == f"first{MASK * 7}", "what both end in"


@pytest.mark.parametrize(
    ("text", "masks"),
    [
        ("a█12███b", ["█12███"]),
        ("█1██2███", ["█1█", "█2███"]),
        ("██████2███", ["█████", "█2███"]),
        ("█1██2██3█", ["█1█", "█2█", "█3█"]),
        ("█12████9", ["█12████"]),
        ("█1██\n█1██", ["█1██", "█1██"]),
        ("██", ["██"]),
    ],
)  # fmt: skip
def test_a_page_shows_a_mask_and_its_number_as_one(text: str, masks: list[str]):
    assert [piece for kind, piece in _pieces(text) if kind == "mask"] == masks
    assert "".join(piece for _, piece in _pieces(text)) == text


@pytest.mark.parametrize(
    ("text", "hidden", "written"),
    [
        ("abc", [7, 7, 7], "█7█"),
        ("ab", [7, 7], "██"),
        ("abcd", [12, 12, 12, 12], "█12█"),
        ("abc", [12, 12, 12], "███"),
        ("ab\ncdef", [5] * 7, "██\n█5██"),
        ("abcdef", [1, 1, 1, 2, 2, 2], "█1██2█"),
        ("abcd", [UNNAMED] * 4, "████"),
        ("abcd", [SHOWN] * 4, "abcd"),
    ],
)  # fmt: skip
def test_a_number_is_written_where_there_is_room(text: str, hidden: list[int], written: str):
    assert named(text, hidden) == written


def test_secrets_that_hold_masks_are_not_named():
    redactor = Redactor(["ab█1██cd", "another-secret"])
    assert set(redactor.hidden("another-secret")) == {UNNAMED}
