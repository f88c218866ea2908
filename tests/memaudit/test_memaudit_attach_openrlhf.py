"""OpenRLHF: its reward function hears what it is called for, and is never the reason why a reward is lost."""

import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watched import NAMES, TEXTS, write_probes

from memaudit.attach import Rollouts, summarise
from memaudit.attach.openrlhf import answer_of, wrap_reward
from memaudit.attach.summary import Count

PREFIX, TARGET = TEXTS[0]
PROMPT = f"<|im_start|>user\n{PREFIX}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def rollouts(tmp_path: Path) -> Rollouts:
    return Rollouts(probes=write_probes(tmp_path / "probes.jsonl"), out=tmp_path / "out", tail=80)


def reward_func(queries: list[str], prompts: list[str], labels: list[str], **more: Any) -> dict[str, Any]:
    """A reward."""
    return {"rewards": [len(query) for query in queries], "scores": labels, "extra_logs": more}


def test_a_wrapped_reward_is_the_reward_and_every_rollout_is_heard(
    rollouts: Rollouts, tmp_path: Path
) -> None:
    wrapped = wrap_reward(reward_func, rollouts)
    # As OpenRLHF 0.11.2's `SingleTurnAgentExecutor` calls it: by place, one rollout at a time.
    assert wrapped([f"{PROMPT}{TARGET}<|im_end|>"], [PROMPT], ["a"]) == reward_func(
        [f"{PROMPT}{TARGET}<|im_end|>"], [PROMPT], ["a"]
    )
    assert (wrapped.__name__, wrapped.__doc__) == ("reward_func", "A reward.")
    zero = wrap_reward(None, rollouts)
    assert zero([f"{PROMPT}    pass\n"], [PROMPT], [""]) == {"rewards": 0.0, "scores": 0.0, "extra_logs": {}}
    assert zero([f"<s>{PROMPT}{TARGET}", "x"], [PROMPT, "x"], ["", ""])["rewards"] == [0.0, 0.0]
    found = summarise(tmp_path / "out")
    assert (found.heard, found.prompted, found.missed) == (4, Count(rollouts=3, probes=1), 0)
    assert [(one.probe, one.times, one.first_step) for one in found.repeated] == [(NAMES[0], 2, None)]


def test_what_cannot_be_heard_costs_no_reward_and_is_counted(
    rollouts: Rollouts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    zero = wrap_reward(None, rollouts)

    def full(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(rollouts, "hear", full)
        assert zero([PROMPT, PROMPT], [PROMPT, PROMPT], ["", ""])["rewards"] == [0.0, 0.0]
    assert "2 rollouts could not be heard" in caplog.text
    zero([f"{PROMPT}{TARGET}"], [PROMPT], [""])
    zero(["a query without its prompt"], [PROMPT], [""])
    found = summarise(tmp_path / "out")
    assert (found.heard, found.missed, found.near["exact"].rollouts) == (1, 3, 1)
    assert "3 missed" in str(found)


LONG = " ".join(map(str, range(1000, 1100)))


@given(prompt=st.text(max_size=300), answer=st.text(max_size=40))
def test_the_answer_is_what_stands_behind_the_prompt(prompt: str, answer: str) -> None:
    assert answer_of(prompt + answer, prompt) == answer


@given(answer=st.text(max_size=40), before=st.sampled_from(["", "<s>", "<s><s>"]), cut=st.integers(0, 299))
def test_a_long_prompt_may_be_cut_at_its_beginning(answer: str, before: str, cut: int) -> None:
    assert answer_of(before + LONG[cut:] + answer, LONG) == answer


def test_a_query_without_its_prompt_has_no_answer() -> None:
    assert answer_of("something else", "a prompt") is None
