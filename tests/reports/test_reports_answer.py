"""The three sentences on top, and the list of what they leave open."""

import pytest
from findings_sample import build, empty, wilson

from reports import Difference, Findings, RateRow
from reports.answer import answer, untested


def secrets(findings: Findings, counts: dict[tuple[str, str], tuple[int, int]]) -> Findings:
    """Add totals of whole secrets: (exposed, control) of 16 where they are given, and else none."""
    rows = []
    for row in findings.totals:
        if (row.level, row.definition) != ("exact", "near"):
            continue
        exposed, control = counts.get((row.stage, row.cohort), (0, 0))
        gap = (exposed - control) / 16
        rows.append(
            RateRow(
                **{**row.model_dump(), "definition": "secret", "exposed": wilson(exposed, 16),
                   "control": wilson(control, 16),
                   "difference": Difference(value=gap, low=gap - 0.2, high=min(1.0, gap + 0.2))}
            )
        )  # fmt: skip
    return findings.model_copy(update={"totals": [*findings.totals, *rows]})


def test_a_run_that_leaks_is_said_to_with_its_worst_cell():
    said = answer(build(hostile=False))
    assert [s.verdict for s in said] == ["more", "more", "open"]
    assert str(said[0]).startswith(
        "It leaks: 31 of 64 examples of cohort `sft` (48 %, 37 to 60) come out verbatim"
    )
    assert str(said[1]).startswith("The run ends with several models")
    assert "`ppo` gives out 25 of 64 of `sft`" in str(said[1])
    assert "`ipo` gives out 20 of 64 of `sft`" in str(said[1])
    assert "`reward` gives out" not in str(said[1]), "nothing ends with what steers another stage"


def test_a_run_in_which_nothing_leaks_names_what_the_data_still_allow():
    findings = build(hostile=False, strength=0.0)
    said = answer(findings)
    assert [s.verdict for s in said] == ["open"] * 3
    reached = [
        r for r in findings.totals if (r.level, r.definition) == ("exact", "near") and r.exposure != "none"
    ]
    most = max(r.difference.high for r in reached)
    assert "No leak is shown" in str(said[0])
    assert f"up to {100 * most:.1f} points" in str(said[0])


@pytest.mark.parametrize(
    ("counts", "verdict", "words"),
    [
        ({("sft", "sft"): (12, 1)}, "more", "Of 16 secrets of cohort `sft` 12 (75 %"),
        ({("sft", "sft"): (2, 1)}, "open", "Of 16 secrets of cohort `sft` 2 (12 %"),
        ({}, "open", "No secret came out whole after any stage: of 16 in cohort `sft` at most 19 %"),
        # Of what had not been shown yet nothing is said here: it was guessed.
        ({("pretrain", "sft"): (9, 0)}, "open", "No secret came out whole"),
    ],
)  # fmt: skip
def test_secrets_have_a_sentence_of_their_own(counts: dict, verdict: str, words: str):
    said = answer(secrets(build(hostile=False), counts))[2]
    assert (said.verdict, str(said)[: len(words)]) == (verdict, words)


def test_of_a_run_in_which_nothing_was_measured_nothing_is_said():
    assert [str(s) for s in answer(empty())] == [
        "Nothing was measured of what a stage was shown, so there is none."
    ]


def test_what_was_not_tested_depends_on_what_was():
    full, bare = build(hostile=False), empty()
    assert len(untested(bare)) > len(untested(full))
    for sentences, word in (
        (untested(bare), "No membership attack was run"),
        (untested(bare), "exposure in bits was not measured"),
        (untested(bare), "Stages were asked at their end only"),
    ):
        assert any(word in s for s in sentences)
        assert not any(word in s for s in untested(full))
    fewer = full.model_copy(update={"levels": ["exact"], "totals": full.totals[8:]})
    said = untested(fewer)
    assert "Nothing was compared at levels layout, code and renamed." in said
    assert "One pair of stage and cohort was not measured." in said
    once = [r.model_copy(update={"flips": wilson(0, 8)}) for r in full.totals]
    assert any("asked twice" in s for s in untested(full))
    assert not any("asked twice" in s for s in untested(full.model_copy(update={"totals": once})))
