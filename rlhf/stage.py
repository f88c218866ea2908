"""What every stage has around it: a name, hooks that listen, a place for its state, devices, adapters."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from rlhf import events
from rlhf.checkpoint import Saver, Unusable
from rlhf.events import Checkpointed, Event, Hook, StageEnded, StageStarted
from rlhf.lora import Lora
from rlhf.mesh import Layout

Tree = TypeVar("Tree")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Everything about a stage that is not its method."""

    name: str
    hooks: Sequence[Hook] = ()
    saver: Saver | None = None
    """Where its state is kept while it runs; without one, a stage that is killed starts again."""
    layout: Layout = field(default_factory=Layout)
    lora: Lora | None = None
    """Train low-rank adapters and leave the parent's own parameters as they are."""
    on_error: Literal["raise", "log"] = "raise"
    """What a hook that raises when it is told does: stops the run, or leaves a line in the log. One that cannot give
    its state, or take it back, always stops it: a checkpoint without it would not be whole."""

    def announce(self, event: Event, to: Sequence[Hook] | None = None) -> None:
        """Tell the hooks, or those of them in `to`."""
        events.announce(self.hooks if to is None else to, event, on_error=self.on_error)

    def begin(self, steps: int, state: Tree) -> tuple[int, Tree]:
        """The step that comes next and the state it starts from: `state`, or what a killed run left behind.

        The hooks are checked, put back to where they were then, and told; of the checkpoint too, since what they
        remember is older than it by that one event.
        """
        events.check(self.hooks)
        if self.saver is None or (found := self.saver.latest(state)) is None:
            self.announce(StageStarted(stage=self.name, steps=steps))
            return 0, state
        first, state, note = found
        for name, value in self._outline(steps).items():
            if note.get(name) != value:
                raise Unusable(
                    f"{self.saver.path(first)}: expected `{name}` to be {value}, as in this stage, "
                    f"got {note.get(name)}: {self.saver.way_out}"
                )
        for hook, remembered in zip(self.hooks, note["remembered"], strict=True):
            hook.restore(remembered)
        self.announce(StageStarted(stage=self.name, steps=steps, first=first))
        self.announce(Checkpointed(stage=self.name, step=first, path=self.saver.path(first)))
        return first, state

    def keep(self, done: int, steps: int, state: Any) -> None:
        """Write the state if it is due after `done` steps; the last one is always written."""
        if self.saver and (done % self.saver.every == 0 or done == steps):
            note = self._outline(steps) | {"remembered": [_remembered(hook) for hook in self.hooks]}
            path = self.saver.save(done, state, note)
            self.announce(Checkpointed(stage=self.name, step=done, path=path))

    def end(self, steps: int) -> None:
        """Tell the hooks that it is over."""
        self.announce(StageEnded(stage=self.name, steps=steps))

    def _outline(self, steps: int) -> dict[str, Any]:
        """What a stage that goes on has to have in common with the one that was killed, besides its identity."""
        return {"stage": self.name, "steps": steps, "hooks": [type(hook).__name__ for hook in self.hooks]}


def _remembered(hook: Hook) -> Any:
    state = hook.state()
    try:
        json.dumps(state)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"expected {type(hook).__name__}.state() to return what JSON can hold, got: {error}"
        ) from None
    return state
