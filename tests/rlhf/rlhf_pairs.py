"""Batches of random pairs, for the tests of the stages that learn from pairs."""

import numpy as np

BATCH, TIME, VOCABULARY = 8, 16, 300
SIDES = ("preferred", "rejected")


def pair_batch(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Continuations of different lengths behind prompts of different lengths; some rows only fill the shape."""
    batch = {"real": np.sign(np.r_[1, rng.integers(0, 3, BATCH - 1)]).astype(np.float32)}
    for side in SIDES:
        starts, lengths = rng.integers(1, 8, (2, BATCH, 1))
        inside = (np.arange(TIME) >= starts) & (np.arange(TIME) < starts + lengths)
        batch[side] = rng.integers(3, VOCABULARY, (BATCH, TIME)).astype(np.int32)
        batch[f"{side}_weights"] = inside.astype(np.float32) * batch["real"][:, None]
        batch[f"{side}_reference"] = rng.normal(-40, 5, BATCH).astype(np.float32)
    return batch


def halves(batch: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The first half of the rows, and the second."""
    return {k: v[: BATCH // 2] for k, v in batch.items()}, {k: v[BATCH // 2 :] for k, v in batch.items()}
