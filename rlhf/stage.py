"""What every stage has around it: a name, hooks that listen, a place for its state, devices, adapters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from rlhf import events
from rlhf.checkpoint import Saver
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
    """What a hook that raises does: stops the run, or leaves a line in the log."""

    def announce(self, event: Event, to: Sequence[Hook] | None = None) -> None:
        """Tell the hooks, or those of them in `to`."""
        events.announce(self.hooks if to is None else to, event, on_error=self.on_error)

    def begin(self, steps: int, state: Tree) -> tuple[int, Tree]:
        """The step that comes next and the state it starts from: `state`, or what a killed run left behind.

        The hooks are checked, put back to where they were then, and told.
        """
        events.check(self.hooks)
        first = 0
        if self.saver and (found := self.saver.latest(state)):
            first, state, note = found
            kinds = [type(hook).__name__ for hook in self.hooks]
            if note["hooks"] != kinds:
                raise ValueError(
                    f"{self.saver.folder}: expected the hooks {kinds} that this stage has, got {note['hooks']}"
                )
            for hook, remembered in zip(self.hooks, note["remembered"], strict=True):
                hook.restore(remembered)
        self.announce(StageStarted(stage=self.name, steps=steps, first=first))
        return first, state

    def keep(self, done: int, steps: int, state: Any) -> None:
        """Write the state if it is due after `done` steps; the last one is always written."""
        if self.saver and (done % self.saver.every == 0 or done == steps):
            note = {
                "hooks": [type(hook).__name__ for hook in self.hooks],
                "remembered": [hook.state() for hook in self.hooks],
            }
            path = self.saver.save(done, state, note)
            self.announce(Checkpointed(stage=self.name, step=done, path=path))

    def end(self, steps: int) -> None:
        """Tell the hooks that it is over."""
        self.announce(StageEnded(stage=self.name, steps=steps))
