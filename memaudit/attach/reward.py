"""A reward function that hears every rollout and changes no reward: for trainers that call one with whole batches."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from memaudit.attach.rollouts import Rollouts
from memaudit.errors import BadInput


def wrap_reward(
    reward: Callable[..., Any] | None, rollouts: Rollouts, *, step: Callable[[], int] | None = None
) -> Callable[..., Any]:
    """A reward function ``(prompts, completions, **columns) -> rewards``, as TRL's and tunix's trainers call one.

    It returns what `reward` returns, or zeros where that is None, and tells the rollouts. Prompts and completions are
    texts or conversations, of which the last message counts. The step is that of TRL's `trainer_state`, or else what
    `step` says. A coroutine function stays one. Raises BadInput where `reward` cannot be called.
    """

    def hear(prompts: Sequence[Any], completions: Sequence[Any], columns: dict[str, Any]) -> None:
        state = columns.get("trainer_state")
        now = state.global_step if state is not None else step() if step is not None else None
        rollouts.hear([text_of(p) for p in prompts], [text_of(c) for c in completions], step=now)

    def memaudit(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        hear(prompts, completions, columns)
        return [0.0] * len(completions)

    if reward is None:
        return memaudit
    if isinstance(reward, str) or not callable(reward) or hasattr(reward, "forward"):
        raise BadInput(
            "reward: expected a function or None, got a model: put wrap_reward(None, ...) beside it, which adds zeros"
        )

    if inspect.iscoroutinefunction(reward):

        async def heard_later(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Any:
            given = await reward(prompts=prompts, completions=completions, **columns)
            hear(prompts, completions, columns)
            return given

        return functools.wraps(reward)(heard_later)

    def heard(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Any:
        given = reward(prompts=prompts, completions=completions, **columns)
        hear(prompts, completions, columns)
        return given

    return functools.wraps(reward)(heard)


def text_of(said: Any) -> str:
    """A text, or that of the last message of a conversation, without its images and calls of tools."""
    if isinstance(said, str):
        return said
    content = said[-1].get("content") if said else None
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return content or ""
