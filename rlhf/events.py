"""What a stage tells while it runs: frozen events for a list of hooks.

A hook is told, it does not answer. One that raises stops the run unless the stage was told otherwise: a stage whose
record has a hole is worth less than a stage that has to be run again. What a hook remembers is saved and restored
with the stage's own state, so that a run that was killed and resumed tells each step once.

The arrays of an event are read-only views: no hook can change what the stage goes on with, or what the next hook
hears. Where a stage runs in several processes, each of them has the same hooks and tells them the same, whole arrays
included; a hook that writes a file has to ask `jax.process_index()`, so that one of them does.
"""

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np

RowIds: TypeAlias = tuple[str, ...]
"""Ids of the examples that one row of a batch holds: one for a fine-tuning row, several in a packed window."""

_log = logging.getLogger(__name__)


def _sealed(leaf: Any) -> Any:
    """A view of an array that cannot be written through; anything else as it is."""
    if not isinstance(leaf, np.ndarray):
        return leaf
    view = leaf.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, kw_only=True)
class StageStarted:
    """A stage is about to take its first step, or the first one after it was killed."""

    stage: str
    steps: int
    """Steps that it has in all."""
    first: int = 0
    """The step that comes next: 0 unless the stage is resumed."""


@dataclass(frozen=True, kw_only=True)
class BatchConsumed:
    """A batch has gone into an update, or a batch of prompts into a rollout."""

    stage: str
    step: int
    role: str
    """How the examples entered: target, preferred, rejected, prompt."""
    rows: tuple[RowIds, ...]
    """One entry per real row; rows that only fill the shape are not there."""
    besides: Mapping[str, tuple[RowIds, ...]] = field(default_factory=dict)
    """Another role -> the examples that each of the rows holds in that role as well, such as those that are restated
    in it; once for each time."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "besides", MappingProxyType(dict(self.besides)))


@dataclass(frozen=True, kw_only=True, eq=False)
class RolledOut:
    """The policy has answered a batch of prompts. Arrays are NumPy, float32 ``[rows, response]`` unless said."""

    stage: str
    step: int
    rows: tuple[RowIds, ...]
    """The dataset rows that the prompts came from."""
    prompts: np.ndarray
    """int32 ``[rows, prompt]``, right-padded."""
    prompt_lengths: np.ndarray
    """int32 ``[rows]``."""
    tokens: np.ndarray
    """int32: the answers as they were sampled, right-padded. Text is made of them, never the other way."""
    lengths: np.ndarray
    """int32 ``[rows]``, the end-of-text token counted."""
    mask: np.ndarray
    """bool: inside `lengths`."""
    logprobs: np.ndarray
    """Log-probabilities (nats) under the policy that answered, at the temperature it was sampled at."""
    reference: np.ndarray
    """The same under the frozen reference."""
    kl: np.ndarray
    """Per-token estimate of the divergence from the reference (nats)."""
    values: np.ndarray
    """What the critic expected before each token; zeros where there is no critic."""
    scores: np.ndarray
    """float32 ``[rows]``: what the reward gave to each response."""

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            object.__setattr__(self, name, _sealed(getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class Updated:
    """The parameters have moved: once in a stage on fixed rows, through all its epochs in one on rollouts."""

    stage: str
    step: int
    metrics: Mapping[str, float]
    """By the names in `docs/pipeline.md`."""
    model: Callable[[], dict[str, Any]] = field(compare=False, repr=False)
    """The language model as it is now, adapters merged. To be called before the hook returns: the next update
    reuses its buffers. On a mesh its arrays are divided; `Layout.fetch` makes them whole."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", MappingProxyType(dict(self.metrics)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Traced:
    """What a hook's own `traced` made of a gradient, inside the compiled update; told to that hook alone."""

    stage: str
    step: int
    update: int
    """Which update of this step: 0 in a stage on fixed rows."""
    value: Any
    """The tree that it returned, as NumPy arrays."""


@dataclass(frozen=True, kw_only=True)
class Checkpointed:
    """The whole state is on disk. Told before anything of the next step."""

    stage: str
    step: int
    """Steps that are in it."""
    path: Path


@dataclass(frozen=True, kw_only=True)
class StageEnded:
    """The last step is done."""

    stage: str
    steps: int


Event: TypeAlias = StageStarted | BatchConsumed | RolledOut | Updated | Traced | Checkpointed | StageEnded


class Hook:
    """Base of hooks: override what you want to hear of."""

    traced: Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], Any] | None = None
    """Optional, a pure function ``(parts, gradient, batch) -> tree of arrays`` that is compiled into the update:
    `parts` are the model's parameters by part, `gradient` that of the mean loss with respect to what is trained
    (adapters, where there are), before clipping. What it returns is told as `Traced`."""

    def on_stage_started(self, event: StageStarted) -> None:
        """Hear that a stage starts or goes on."""

    def on_batch(self, event: BatchConsumed) -> None:
        """Hear which examples were shown."""

    def on_rollout(self, event: RolledOut) -> None:
        """Hear what the policy answered."""

    def on_update(self, event: Updated) -> None:
        """Hear the metrics of an update."""

    def on_traced(self, event: Traced) -> None:
        """Hear what `traced` returned."""

    def on_checkpoint(self, event: Checkpointed) -> None:
        """Hear that the state is on disk."""

    def on_stage_ended(self, event: StageEnded) -> None:
        """Hear that a stage is over."""

    def state(self) -> Any:
        """What is to be in a checkpoint besides the stage's own state: anything JSON can hold. None: nothing."""
        return None

    def restore(self, state: Any) -> None:
        """Go back to what `state` returned when the checkpoint was written."""


_HEARD_BY: dict[type, str] = {
    StageStarted: "on_stage_started",
    BatchConsumed: "on_batch",
    RolledOut: "on_rollout",
    Updated: "on_update",
    Traced: "on_traced",
    Checkpointed: "on_checkpoint",
    StageEnded: "on_stage_ended",
}


def check(hooks: Sequence[Hook]) -> None:
    """Refuse hooks that would not hear what they are there for: a record with a hole is found out too late.

    Raises TypeError for what is no `Hook`, for a method that does not take one event and for a `traced` that is no
    function; ValueError for a hook that overrides nothing, has a method whose name begins with `on_` and is no
    event's, has `traced` but does not hear `Traced`, or has only one of `state` and `restore`.
    """
    known = sorted(_HEARD_BY.values())
    for hook in hooks:
        name = type(hook).__name__
        if not isinstance(hook, Hook):
            raise TypeError(
                f"expected hooks to be of rlhf.events.Hook, got {getattr(hook, '__name__', name)}"
            )
        unknown = sorted(m for m in dir(hook) if m.startswith("on_") and m not in known)
        if unknown:
            raise ValueError(
                f"expected the methods of hook {name} to be among {', '.join(known)}, got {unknown[0]}"
            )
        if hook.traced is not None and not callable(hook.traced):
            raise TypeError(
                f"expected `traced` of hook {name} to be a function, got {type(hook.traced).__name__}"
            )
        heard = {method for method in known if _overrides(hook, method)}
        if hook.traced is not None and "on_traced" not in heard:
            raise ValueError(
                f"expected hook {name} to override on_traced, got only `traced`: nobody would hear of it"
            )
        if not heard - ({"on_traced"} if hook.traced is None else set()):
            raise ValueError(
                f"expected hook {name} to override one of {', '.join(known)}, got none that is told"
            )
        for method in sorted(heard):
            try:
                inspect.signature(getattr(hook, method)).bind(None)
            except TypeError as error:
                raise TypeError(f"expected {method} of hook {name} to take one event, got {error}") from error
        kept = [method for method in ("state", "restore") if _overrides(hook, method)]
        if len(kept) == 1:
            raise ValueError(
                f"expected hook {name} to override both `state` and `restore` or neither, got only {kept[0]}"
            )


def _overrides(hook: Hook, method: str) -> bool:
    """Whether the hook has a method of its own: of its class, or put on the hook itself."""
    own = getattr(hook, method)
    return getattr(own, "__func__", own) is not getattr(Hook, method)


def announce(hooks: Sequence[Hook], event: Event, *, on_error: Literal["raise", "log"] = "raise") -> None:
    """Tell every hook, in order. With `on_error` log, one that raises is written to the log and the rest still hear."""
    for hook in hooks:
        try:
            getattr(hook, _HEARD_BY[type(event)])(event)
        except Exception:
            if on_error == "raise":
                raise
            _log.exception("hook %s failed on %s", type(hook).__name__, type(event).__name__)
