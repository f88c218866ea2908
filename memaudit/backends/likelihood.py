"""How likely a torch model finds a target's tokens, and how likely a sampler draws them, from its logits.

Nothing of torch is imported: its tensors bring their functions along.
"""

import math
from collections.abc import Sequence
from typing import Any

from rlhf.sampling import Sampler


def likelihood(logits: Any, targets: Any, samplers: Sequence[Sampler]) -> tuple[Any, ...]:
    """Of int64 `targets` ``[n]``, from float32 `logits` ``[n, vocabulary]``, all ``[n]``.

    Log-probability, whether it is the argmax, entropy, standard deviation of the log-probability; then for each
    sampler, the log-probability that it draws the target.
    """
    logprobs = logits.log_softmax(-1)
    own = logprobs.gather(-1, targets[:, None])[:, 0]
    hits = logits.argmax(-1) == targets  # the first of equal ones, as in the library's greedy decoding
    chances = logprobs.exp()
    surprise = -logprobs.masked_fill(chances == 0, 0.0)
    entropy = (chances * surprise).sum(-1)
    deviation = (chances * (surprise - entropy[:, None]).square()).sum(-1).sqrt()
    return own, hits, entropy, deviation, *(drawn(logits, targets, hits, sampler) for sampler in samplers)


def drawn(logits: Any, targets: Any, hits: Any, sampler: Sampler) -> Any:
    """Log-probability ``[n]`` that a sampler draws each target: `rlhf.sampling`'s rule, by a sort."""
    if sampler.temperature == 0:
        return hits.float().log()
    logits = logits / sampler.temperature
    if not sampler.truncates:
        return logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    ranked, tokens = _leading(logits, sampler)
    if sampler.top_p < 1:
        whole = logits if sampler.top_k is None else ranked
        mass = (ranked - whole.logsumexp(-1, keepdim=True)).exp().cumsum(-1).roll(1, -1)
        mass[:, 0] = 0.0
        ranked = ranked.masked_fill(mass >= sampler.top_p, -math.inf)
    own = ranked.masked_fill(tokens != targets[:, None], -math.inf).amax(-1)
    return own - ranked.logsumexp(-1)


def _leading(logits: Any, sampler: Sampler) -> tuple[Any, Any]:
    """The most likely tokens, ranked, and their ids: the first `top_k`, or at least as many as `top_p` may keep.

    Of equal ones the lowest id comes first.

    A sort of the whole vocabulary would take longer on a CPU than a small model.
    """
    size = logits.shape[-1]
    if sampler.top_k is None:
        # Those below have less than 1 - top-p together, so that the others have more than top-p.
        least = logits.logsumexp(-1, keepdim=True) + math.log((1 - sampler.top_p) / (2 * size))
    else:
        least = logits.topk(min(sampler.top_k, size)).values[:, -1:]
    count = max(1, int((logits >= least).sum(-1).max()))
    if 4 * count < size:
        some = logits.topk(count, sorted=False).indices.sort().values
        ranked, order = logits.gather(-1, some).sort(descending=True, stable=True)
        tokens = some.gather(-1, order)
    else:
        ranked, tokens = logits.sort(descending=True, stable=True)
    return ranked[:, : sampler.top_k], tokens[:, : sampler.top_k]
