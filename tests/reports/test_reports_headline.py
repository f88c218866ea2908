import pytest
from findings_sample import build, empty, renamed, wilson
from hypothesis import given
from hypothesis import strategies as st

from reports import Difference, Findings, RateRow, sentences
from reports.headline import statements
from reports.phrases import percent, points, signed

FULL = build(hostile=False)
DIFFERENCES = st.lists(st.floats(-1, 1).map(lambda value: round(value, 4)), min_size=3, max_size=3).map(
    lambda values: Difference(low=min(values), value=sorted(values)[1], high=max(values))
)


def total(findings: Findings, stage: str, cohort: str) -> RateRow:
    return next(
        row
        for row in findings.totals
        if (row.stage, row.cohort, row.level, row.definition) == (stage, cohort, "exact", "near")
    )


def changed(findings: Findings, stage: str, cohort: str, **update) -> Findings:
    """Replace fields of one cell of the default view."""
    old = total(findings, stage, cohort)
    rows = [row.model_copy(update=update) if row is old else row for row in findings.totals]
    return findings.model_copy(update={"totals": rows})


def said(findings: Findings, topic: str, cohort: str | None = None) -> list[str]:
    return [str(item) for item in statements(findings) if item.topic == topic and item.cohort == cohort]


def test_a_direct_cohort_is_told_with_counts_intervals_and_control():
    findings = changed(
        FULL, "sft", "sft",
        exposed=wilson(31, 64), control=wilson(0, 64), difference=Difference(value=31 / 64, low=0.36, high=0.6),
    )  # fmt: skip
    assert said(findings, "Shown as target", "sft")[0] == (
        "After `sft`, 31 of 64 fine-tuned examples (48 %, 95 % interval 37 to 60) come out verbatim or nearly; "
        "of their controls 0 of 64 (at most 5.7 %). That is more than the control, by 48 points (36 to 60)."
    )


def test_one_leak_is_singular():
    findings = changed(FULL, "ppo", "ppo", exposed=wilson(1, 64))
    assert (
        "1 of 64 prompts (1.6 %, 95 % interval 0.3 to 8.3) comes out"
        in said(findings, "Shown as prompt", "ppo")[0]
    )


def test_zero_counts_get_an_upper_bound_and_no_claim():
    nothing = build(strength=0, hostile=False)
    text = " ".join(sentences(nothing))
    assert "After `sft`, 0 of 64 fine-tuned examples (at most 5.7 %) come out" in text
    assert "After `ppo`, 0 of 64 prompts (at most 5.7 %) come out" in text
    assert "No difference from the control is shown" in text
    assert "more than" not in text
    assert "less than" not in text


@given(DIFFERENCES)
def test_the_interval_decides_the_words(difference: Difference):
    findings = changed(FULL, "sft", "sft", difference=difference)
    text = said(findings, "Shown as target", "sft")[0]
    assert ("more than the control" in text) == (difference.low > 0)
    assert ("less than the control" in text) == (difference.high < 0)
    assert ("No difference" in text) == (difference.low <= 0 <= difference.high)


def test_a_contrary_effect_is_called_contrary():
    findings = changed(FULL, "sft", "sft", difference=Difference(value=-0.08, low=-0.14, high=-0.02))
    text = said(findings, "Shown as target", "sft")[0]
    assert text.endswith("That is less than the control, by 8.0 points (2.0 to 14): the contrary of a leak.")


def test_persistence_follows_the_transitions():
    moves = {row.after: row for row in FULL.transitions
             if (row.before, row.cohort, row.arm, row.repetition) == ("sft", "sft", "exposed", None)}  # fmt: skip
    told = said(FULL, "What became of them", "sft")
    assert len(told) == len(moves) == 3
    for text, (after, row) in zip(told, moves.items(), strict=True):
        came = row.persisted + row.forgotten
        assert text.startswith(
            f"Of the {came} that came out after `sft`, {row.persisted} still come out after `{after}`;"
        )


@pytest.mark.parametrize(
    ("acquired", "forgotten", "p_value", "words"),
    [
        (3, 0, 0.25, "; 3 new ones. No change in their number is shown (p = 0.25)."),
        (1, 9, 0.02, "; 1 new one. Their number fell (p = 0.02)."),
        (12, 1, 0.0002, "; 12 new ones. Their number grew (p < 0.001)."),
        (0, 0, 1.0, "; no new one."),
    ],
)
def test_a_change_is_claimed_only_when_the_test_shows_it(acquired, forgotten, p_value, words):
    update = {"acquired": acquired, "persisted": 24, "forgotten": forgotten, "never": 5, "p_value": p_value}
    rows = [
        row.model_copy(update=update) if (row.after, row.cohort) == ("ppo", "sft") else row
        for row in FULL.transitions
    ]
    told = said(FULL.model_copy(update={"transitions": rows}), "What became of them", "sft")
    assert [text for text in told if "after `ppo`" in text] == [
        f"Of the {24 + forgotten} that came out after `sft`, 24 still come out after `ppo`{words}"
    ]


def test_an_indirect_cohort_is_told_as_such_with_its_trace():
    findings = changed(
        FULL, "ppo", "reward",
        exposed=wilson(0, 64), control=wilson(0, 64), difference=Difference(value=0, low=-0.057, high=0.057),
    )  # fmt: skip
    assert said(findings, "Seen only indirectly", "reward") == [
        "`ppo` met cohort `reward` only through a model that steered it: 0 of 64 examples (at most 5.7 %) come out "
        "verbatim or nearly; of their controls 0 of 64 (at most 5.7 %). No difference from the control is shown: "
        "0 points (−5.7 to 5.7). A trace is there: the text is likelier than under the control, by 0.12 nats per "
        "token (0.06 to 0.18)."
    ]


def test_a_trace_is_not_claimed_when_its_interval_holds_zero():
    rows = [
        row.model_copy(update={"difference": Difference(value=0.1, low=-0.01, high=0.2)})
        for row in FULL.likelihoods
    ]
    assert "trace" not in " ".join(sentences(FULL.model_copy(update={"likelihoods": rows})))


@pytest.mark.parametrize(
    ("ipo", "ppo", "words"),
    [
        ((0.2, 0.1, 0.3), (0.02, -0.03, 0.06), "Against its own control, `ipo` brings out more than `ppo`: "),
        ((0.0, -0.1, 0.05), (0.2, 0.1, 0.3), "Against its own control, `ppo` brings out more than `ipo`: "),
        (
            (0.2, 0.1, 0.3),
            (0.1, 0.05, 0.15),
            "The intervals of the two effects overlap, so no order is claimed: ",
        ),
    ],
)
def test_preference_learning_is_set_against_rlhf(ipo, ppo, words):
    findings = FULL
    for stage, (value, low, high) in (("ipo", ipo), ("ppo", ppo)):
        findings = changed(findings, stage, "reward", difference=Difference(value=value, low=low, high=high))
    told = said(findings, "Preference learning or RLHF")
    assert len(told) == 1
    assert told[0].startswith("Of cohort `reward`, ")
    assert words in told[0]


def test_negative_controls_are_checked():
    text = said(FULL, "Negative controls")
    assert text == [
        "In all 7 cells where a cohort had not been shown yet, the interval of the difference between exposed and "
        "control holds zero, as it should."
    ]
    findings = changed(FULL, "pretrain", "ppo", difference=Difference(value=0.05, low=0.01, high=0.09))
    text = said(findings, "Negative controls")[0]
    assert text.startswith("In 1 of 7 cells")
    assert "`ppo` after `pretrain` +5.0 points (1.0 to 9.0)" in text
    assert "about 5.0 % of such cells" in text


def test_noise_is_counted_and_set_against_differences():
    assert said(FULL, "Noise") == []
    steady = changed(FULL, "sft", "sft", flips=wilson(0, 32))
    assert said(steady, "Noise") == [
        "Asked once more, in another order and batch size, over all stages and cohorts 0 of 32 verdicts flipped."
    ]
    shaky = changed(steady, "ppo", "ppo", flips=wilson(2, 8))
    (told,) = said(shaky, "Noise")
    assert "2 of 40 verdicts flipped. In the cell with most of it 2 of 8 did (25 %" in told


def test_secrets_are_counted_where_the_cohort_had_been_shown():
    text = said(FULL, "Secrets", "ppo")[0]
    rows = [row for row in FULL.examples if row.cohort == "ppo" and row.kind == "sensitive"]
    whole = sum(outcome.secret is True for row in rows for outcome in row.outcomes if outcome.stage == "ppo")
    assert text == (
        f"Of the {len(rows)} examples of cohort `ppo` that hold a secret, the secret came out whole of the run "
        f"that was to see it in {whole} after `ppo`."
    )


def test_repetition_is_told_at_both_ends():
    rows = {row.repetition: row for row in FULL.rates
            if (row.stage, row.cohort, row.level, row.definition) == ("sft", "sft", "exact", "near")}  # fmt: skip
    text = said(FULL, "Shown as target", "sft")[1]
    assert f"shown 64 times, {rows[64].exposed.count} of {rows[64].exposed.total} (" in text
    assert f"shown once, {rows[1].exposed.count} of {rows[1].exposed.total} (" in text


def test_any_recipe_is_told_by_its_own_names():
    names = {"sft": "tune", "ppo": "rl", "ipo": "direct", "reward": "judge"}
    other = renamed(FULL, names)
    text = " ".join(sentences(other))
    assert "After `tune`, " in text
    assert "fine-tuned examples of cohort" not in text
    assert "`rl` met cohort `judge` only through" in text
    assert "preference learning (`direct`)" in text
    assert not any(f"`{old}`" in text for old in names)


def test_an_empty_table_is_told_as_such():
    assert sentences(empty()) == ["Nothing was measured: the table of rates is empty."]


def test_a_table_without_stages_or_examples_still_speaks():
    bare = FULL.model_copy(
        update={"stages": [], "examples": [], "transitions": [], "rates": [], "likelihoods": []}
    )
    text = " ".join(sentences(bare))
    assert "After `sft`, 31 of 64 examples" in text
    assert len(sentences(bare)) >= len({row.cohort for row in bare.totals})


@pytest.mark.parametrize(
    ("rate", "words"),
    [(0, "0"), (1, "100"), (0.0002, "<0.1"), (-0.0002, ">−0.1"), (0.9999, ">99.9"), (0.996, "99.6"),
     (0.0566, "5.7"), (0.484, "48"), (-0.084, "−8.4")],
)  # fmt: skip
def test_percent_never_rounds_to_none_or_all(rate: float, words: str):
    assert percent(rate) == words


def test_points_carry_their_sign():
    assert points(Difference(value=0.484, low=0.365, high=0.601)) == "+48 points (36 to 60)"
    assert [signed(value) for value in (-0.02, 0, 0.0001)] == ["−2.0", "0", "<0.1"]
