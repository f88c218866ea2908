"""What of a leak's texts is masked, where they are cut: at the end of the prefix, and into segments."""

import pytest

from memaudit.leaks import side_by_side
from memaudit.records import Example, Probe
from probes import Secret
from reports import MASK, Redactor

LONG = 12  # characters of a fragment that is masked wherever it stands
HORSE = "correct-horse-battery"
KEPT = (f"key = '{HORSE}'\n", 6, Secret(start=7, end=7 + len(HORSE), kind="credential"))


def asked(text: str, cut: int, *secrets: Secret) -> tuple[Example, Probe]:
    """An example that is cut there."""
    example = Example(
        id="e",
        kind="given",
        language="python",
        text=text,
        source="a.py",
        first_line=1,
        last_line=1,
        secrets=secrets,
    )
    probe = Probe(
        id=1,
        example_id="e",
        kind="prefix",
        prefix=text[:cut],
        target=text[cut:],
        prefix_tokens=(1,),
        target_tokens=(2,),
    )
    return example, probe


@pytest.mark.parametrize("side", ["target", "completion"])
def test_a_secret_across_the_end_of_the_prefix_is_masked_on_both_sides_of_it(side: str) -> None:
    secret = "AKIA9Q8W7E6R5T4Y"
    leaking, harmless = f"x = 1\nkey = '{secret}'\n", "x = 1\nkey = 'AKIA9Q8W' + name()\n"
    cut = leaking.index(secret) + 8
    text, completion = (leaking, harmless[cut:]) if side == "target" else (harmless, leaking[cut:])
    prefix, segments = side_by_side(
        *asked(text, cut), completion, Redactor(["another-secret", secret], smallest=LONG)
    )
    assert prefix == f"x = 1\nkey = '{MASK}2{MASK * 6}"
    shown = "".join(getattr(segment, side) for segment in segments)
    assert shown.startswith(f"{MASK}2{MASK * 6}'")
    assert "E6R5" not in "".join(s.target + s.completion for s in segments)


def test_a_number_that_a_segment_cuts_is_written_anew_in_each_piece() -> None:
    _, segments = side_by_side(*asked(*KEPT), f"'{HORSE[:9]}-donkeys'\n", Redactor([HORSE], smallest=LONG))
    pieces = [piece for s in segments for piece in (s.target, s.completion)]
    assert sum(MASK in piece for piece in pieces) >= 2
    for piece in pieces:
        # A number, where there is one, stands whole behind the first mask.
        assert piece.strip("'-donkeys\n").removeprefix(f"{MASK}1{MASK}").strip(MASK) == ""
    for side in ("target", "completion"):
        whole = "".join(getattr(segment, side) for segment in segments)
        assert [at for at in range(len(HORSE) - 5) if HORSE[at : at + 6] in whole] == []
    assert len("".join(s.target for s in segments)) == len(KEPT[0]) - KEPT[1]


@pytest.mark.parametrize("length", [6, 9, 11])
def test_of_its_own_secret_an_example_shows_no_six_characters(length: int) -> None:
    everyone = Redactor([HORSE], smallest=LONG)
    for start in range(len(HORSE) - length + 1):
        _, segments = side_by_side(*asked(*KEPT), f"'{HORSE[start : start + length]}'\n", everyone)
        said = "".join(segment.completion for segment in segments)
        assert said.strip(f"'\n{MASK}1") == ""
