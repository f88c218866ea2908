"""Trainings by OpenRLHF: a reward function for the file that `--reward.remote_url` names. OpenRLHF is not needed here.

It calls ``reward_func(queries, prompts, labels)`` once for each rollout: a query is prompt and answer, decoded with
their special tokens.
"""

import functools
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from memaudit.attach.rollouts import Rollouts

_ANCHOR = 200  # characters of a prompt's end by which it is found in a query
_log = logging.getLogger(__name__)


def wrap_reward(
    reward_func: Callable[..., dict[str, Any]] | None, rollouts: Rollouts
) -> Callable[..., dict[str, Any]]:
    """A reward function that returns what `reward_func` returns, or zeros where that is None, and tells the rollouts.

    OpenRLHF takes a rollout whose reward function raised for one without a reward and says so only in its log. So
    hearing never raises: what could not be heard is logged, and counted as `missed` with the next one that is.
    """
    lock, missed = threading.Lock(), 0

    def hear(queries: Sequence[str], prompts: Sequence[str]) -> None:
        nonlocal missed
        with lock:
            lost, missed = missed, 0
        try:
            answers = [answer_of(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
            known = [(p, a) for p, a in zip(prompts, answers, strict=True) if a is not None]
            rollouts.hear(
                [prompt for prompt, _ in known],
                [answer for _, answer in known],
                missed=lost + len(queries) - len(known),
            )
        except Exception:
            _log.exception("%d rollouts could not be heard", len(queries))
            with lock:
                missed += lost + len(queries)

    def memaudit(
        queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **more: Any
    ) -> dict[str, Any]:
        hear(queries, prompts)
        # It makes a tensor of what it gets for a single rollout.
        zeros: Any = 0.0 if len(queries) == 1 else [0.0] * len(queries)
        return {"rewards": zeros, "scores": zeros, "extra_logs": {}}

    if reward_func is None:
        return memaudit

    def heard(
        queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **more: Any
    ) -> dict[str, Any]:
        given = reward_func(queries, prompts, labels, **more)
        hear(queries, prompts)
        return given

    return functools.wraps(reward_func)(heard)


def answer_of(query: str, prompt: str) -> str | None:
    """What a query has behind its prompt; None where the prompt is not in it.

    The tokenizer may have put something before the prompt, and a long prompt is cut at its beginning.
    """
    anchor = prompt[-_ANCHOR:]
    if query.startswith(prompt):
        return query[len(prompt) :]
    at = query.find(anchor)
    return query[at + len(anchor) :] if at >= 0 else None
