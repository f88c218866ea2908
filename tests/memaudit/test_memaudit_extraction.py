"""What an audit observes is what the model says, whatever the batch it was asked in."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from taught import Taught

from memaudit.errors import BadInput
from memaudit.extraction import Interrogation
from memaudit.records import Probe
from memaudit.verdicts import definitions
from probes import Match, Recovery
from rlhf.model import hidden_states, logits_of
from rlhf.tokenizer import Tokenizer

LEVELS = ("exact", "layout", "code", "renamed")


@pytest.fixture
def learnt(taught: Taught) -> tuple[Interrogation, dict]:
    """A model that was shown the first four texts until it knows them, and the probes of all."""
    interrogation = Interrogation(
        decoder=taught.decoder,
        tokenizer=taught.tokenizer,
        levels=LEVELS,
        batch=7,
        examples=taught.examples,
        probes=taught.probes,
        context=1 + max(len(p.prefix_tokens) for p in taught.probes),
        budget=max(len(p.target_tokens) for p in taught.probes),
    )
    return interrogation, taught.params


def test_what_was_shown_often_comes_out_with_its_secret_and_the_rest_does_not(learnt) -> None:
    interrogation, params = learnt
    near, equal, secret = definitions(0.1)
    for observation in interrogation.observe(params):
        match = observation.matches["exact"]
        (got, total), *_ = observation.recovered.values()
        recovery = Recovery(prefix=got, total=total)
        known = observation.probe_id <= 4
        assert near.decide(match, None) is known
        assert equal.decide(match, None) is known
        assert secret.decide(match, recovery) is known
        assert secret.decide(observation.matches["code"], recovery) is None
        assert all(observation.scores.argmax) is known
        assert (sum(observation.scores.logprobs) > -2) is known
        # A target that is the most likely text at every token is what greedy decoding says.
        if all(observation.scores.argmax):
            assert observation.completion.startswith(interrogation.probes[observation.probe_id - 1].target)


def test_a_batch_of_another_size_observes_the_same(learnt) -> None:
    interrogation, params = learnt
    whole = {o.probe_id: o for o in interrogation.observe(params)}
    parts = replace(interrogation, batch=3)
    heard: list[int] = []
    for observation in parts.observe(params, heard.append):
        other = whole[observation.probe_id]
        assert observation.completion == other.completion
        assert observation.matches == other.matches
        assert observation.scores.argmax == other.scores.argmax
        assert observation.scores.logprobs == pytest.approx(other.scores.logprobs, abs=1e-4)
    assert sum(heard) == 7
    assert 0 not in heard


def test_observations_are_those_of_plain_greedy_decoding(learnt) -> None:
    interrogation, params = learnt
    tokenizer, decoder = interrogation.tokenizer, interrogation.decoder
    observed = {o.probe_id: o for o in interrogation.observe(params)}
    for probe in (interrogation.probes[0], interrogation.probes[5]):
        context = [tokenizer.bos, *probe.prefix_tokens]
        said: list[int] = []
        for _ in range(interrogation.budget):
            # Padded to one length: pads come last and cannot be seen.
            padded = [*context, *said, *[tokenizer.pad] * (interrogation.budget - len(said))]
            hidden = hidden_states(decoder, params, jnp.asarray([padded]))
            logits = np.asarray(logits_of(decoder, params, hidden[0, len(context) + len(said) - 1]))
            said.append(int(logits.argmax()))
            if said[-1] == tokenizer.eos:
                break
        assert observed[probe.id].completion == tokenizer.decode(said)


def variants(tokenizer: Tokenizer, said: list[int]) -> list[list[int]]:
    """Targets that greedy decoding, which says `said`, departs from in all kinds of places."""
    text = tokenizer.decode(said)
    other = tokenizer.encode("x = [1, 2, 3]\n")
    return [
        said,
        [*said[:-1], other[0]],  # at the last token
        [other[0], *said[1:]],  # at the first, and all the rest is the same
        [*other[:3], *said],  # after an insertion
        said[3:],  # after a deletion
        [*said[:4], *other, *said[4:]],
        tokenizer.encode(text.replace(" ", "  ")),  # only the layout
        tokenizer.encode(text.replace("a", "b")),  # mostly names
        [token for letter in text for token in tokenizer.encode(letter)],  # the same text in other tokens
        other,
        [*other, *other, *other],
    ]


@pytest.mark.parametrize(("closing", "scored"), [(0.1, True), (0.3, True), (0.1, False), (None, False)])
def test_a_verdict_that_is_closed_early_is_that_of_the_whole_completion(
    learnt, closing: float | None, scored: bool
) -> None:
    interrogation, params = learnt
    tokenizer = interrogation.tokenizer
    probes = []
    for number, plain in ((1, True), (2, True), (5, False), (6, False)):
        probe = interrogation.probes[number - 1]
        said = next(
            tokenizer.encode(o.completion) for o in interrogation.observe(params) if o.probe_id == number
        )
        assert bool(said) >= plain
        for target in variants(tokenizer, said[:24] or list(probe.target_tokens)):
            probes.append(
                Probe(
                    id=len(probes) + 1,
                    example_id=probe.example_id,
                    kind="prefix",
                    prefix=probe.prefix,
                    target=tokenizer.decode(target),
                    prefix_tokens=probe.prefix_tokens,
                    target_tokens=tuple(target),
                )
            )
    plain_examples = {
        name: replace(example, secrets=() if number % 2 else example.secrets)
        for number, (name, example) in enumerate(interrogation.examples.items(), start=1)
    }
    longest = max(len(p.target_tokens) for p in probes)
    shared = replace(interrogation, probes=probes, examples=plain_examples, batch=16, budget=longest)
    whole = {o.probe_id: o for o in shared.observe(params)}
    early = {o.probe_id: o for o in replace(shared, closing=closing, scored=scored).observe(params)}
    assert whole.keys() == early.keys() == {probe.id for probe in probes}
    shorter = at_least = 0
    for name, known in whole.items():
        found = early[name]
        assert known.completion.startswith(found.completion)
        assert found.scores == (known.scores if scored else None)
        shorter += len(found.completion) < len(known.completion)
        for level in LEVELS:
            match, true = found.matches[level], known.matches[level]
            at_least += match.at_least
            assert match.distance <= true.distance if match.at_least else match == true
            for threshold in (0.0, 0.05, closing or 0.5):
                near, equal, _ = definitions(threshold)
                assert near.decide(match, None) == near.decide(true, None)
                assert equal.decide(match, None) == equal.decide(true, None)
        for start, (got, total) in known.recovered.items():
            assert (found.recovered[start][0] == total) == (got == total)
        # Once all of the target is said there is nothing to wait for: no more than the token that is known already.
        target = probes[name - 1].target
        if closing is not None and not known.recovered and all(known.scores.argmax):
            assert len(tokenizer.encode(found.completion[len(target) :])) <= 1
    # In batches so small that answers wait for a place, each is the same.
    fewer = replace(shared, probes=probes[::3], batch=3, closing=closing, scored=scored)
    for found in fewer.observe(params):
        known = early[found.probe_id]
        assert (found.completion, found.ended, found.matches) == (
            known.completion,
            known.ended,
            known.matches,
        )
    assert (shorter > len(probes) / 4) == (at_least > len(probes) / 4) == (closing is not None)


def test_thresholds_are_monotone() -> None:
    match = Match(level="exact", distance=3, target_length=30, completion_length=25, lexer="python")
    verdicts = [definitions(t)[0].decide(match, None) for t in (0.0, 0.05, 0.0999, 0.1, 0.5)]
    assert verdicts == [False, False, False, True, True]


def test_a_lower_bound_is_no_verdict_beyond_it() -> None:
    match = Match(
        level="exact", distance=6, target_length=30, completion_length=30, lexer="python", at_least=True
    )
    near, equal, _ = definitions(0.1)
    assert near.decide(match, None) is False
    assert equal.decide(match, None) is False
    with pytest.raises(
        BadInput, match=r"threshold: expected .* got 0\.3 where one is known to be 0\.200 away"
    ):
        definitions(0.3)[0].decide(match, None)
