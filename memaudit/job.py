"""One stage about to be trained for one twin: what it shows, in which order, and what it may ask of other stages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from memaudit.contexts import Context, start
from memaudit.population import Population
from memaudit.records import Example, Probe
from rlhf.batches import Pairs, Prompts, pad, schedule
from rlhf.model import Decoder, Params
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Job:
    """One stage about to be trained for one twin."""

    stage: Stage
    """Its name, hooks, state and devices."""
    decoder: Decoder
    tokenizer: Tokenizer
    parent: Params
    """The parameters it starts from: a language model's, or a diffusion model's `model` and `head`."""
    seed: int
    examples: Sequence[Example]
    """What it shows."""
    population: Population
    """All that the run shows and asks."""
    probes: Sequence[Probe]
    """The probes of those examples; none for public ones."""
    contexts: Mapping[str, Context]
    """Example id -> what it is shown behind; empty: nothing."""
    time: int
    """Tokens of the longest row that shows an example."""
    folder: Path
    """Where it leaves its files."""
    scorer: Callable[[str], Mapping[str, Any]]
    """Name of a reward stage that is done -> its scorer."""
    pairs: Callable[[str], Path]
    """Name of a reward stage that is done -> its pairs."""
    model: Callable[[str], Params]
    """Name of a stage that is done -> its language model."""

    def order(self, batch: int, pairs: Pairs | None = None) -> np.ndarray:
        """The order of showing the probes' examples, or some pairs of theirs, each as often as its stratum says."""
        times = {e.id: e.repetition or 0 for e in self.examples}
        ids = (
            [p.example_id for p in self.probes] if pairs is None else [row[0] for row in pairs.preferred.ids]
        )
        return schedule([times[name] for name in ids], batch, self.seed)

    def prompts(self, *, whole: bool, copies: int = 1) -> Prompts:
        """The probes' prefixes as prompts, or the whole examples; each behind its context, and `copies` times over."""
        probes = [p for p in self.probes for _ in range(copies)]
        sequences = [
            [*start(self.tokenizer, p, self.contexts), *(p.target_tokens if whole else ())] for p in probes
        ]
        tokens, lengths = pad(sequences, max(map(len, sequences)), self.tokenizer.pad)
        return Prompts(tokens=tokens, lengths=lengths, ids=tuple((p.example_id,) for p in probes))

    @property
    def key(self) -> jax.Array:
        """What all that is random in the stage follows from."""
        return jax.random.key(self.seed)
