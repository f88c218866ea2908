"""What is read off a checkpoint besides its answers to probes: the numbers that measures of memorization are made of.

By quantity, each of one example:

- `filling_loss`, after every stage, of synthetic secrets: nats of the text behind the probe's prefix, summed; number 0
  has the true filling of the secret's slot, the others have other fillings. Exposure is made of it.
- `preferred_reward`, `rejected_reward`, after a reward stage: its scores of both texts of a pair; numbered where an
  example has several pairs, absent of the twin's own where none was labelled.
- `acquired`, after a reward stage whose pairs were chosen: the round of each pair that was, numbered alike.
- `filling_reward`, after a reward stage, of synthetic secrets: its score of the text, numbered as `filling_loss`.
- `preferred_logprob`, `rejected_logprob`, `preferred_reference`, `rejected_reference`, after a stage of direct
  preference learning: nats of both continuations of a pair, summed, under the policy and under its parent.
- `answer_reward`, after a reward stage and after every stage that learns from its scores or pairs: the score of an
  answer to an example's prefix that the policy draws (of a reward stage: its parent does). Of the examples of the
  reward stage's cohort that the twin does not see: the task reward, where nothing was learnt by heart.
- `context_logprob`, `context_hits`, after SFT and preference learning on examples behind a context: nats of the target,
  summed, and 1 where every token of it is the most likely one, so that greedy decoding says it to the letter, else 0;
  numbered by the condition that it is asked under (`contexts.Condition`).
- `option_logprob`, after every stage, of questions about a repository: nats a token of each of the options behind the
  question alone, in words that were not shown; number 0 is the right one. `option_said`: 1 where greedy decoding says
  one of them to the letter, else 0.
- `option_given`, after SFT and preference learning on examples behind a context: as `option_logprob`, with the code
  that the answer can be read off in front.
- `selection_score`, `selection_taken`, after a stage that selects: of each text that was a candidate its score (nats
  a token; none where chance decides), and of each that was taken, how many copies. Of public texts as well.
- `self_weight`, after self-weighted SFT: what each example that the twin sees counted, before it was scaled.
- `denoising_loss`, `sampled_hits`, after a stage under the diffusion loss, which has no others (see `denoising`):
  the squared error of the noise in the target's windows, numbered by eighths of the time from signal to noise; and 1
  where a sample says every token of the target, else 0.
- `nearest`, after a stage that rolls out: for each of several answers to the example, its normalised edit distance
  to the nearest of the others.

A pair of an example that the twin does not see is made as its own are: the rejected continuation is sampled from the
same parent, by the same rule, so that members and others differ in nothing but having been shown.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from memaudit.acquire import ACQUIRED
from memaudit.attacks import nearest_distances
from memaudit.contexts import Condition, start
from memaudit.methods import OnPolicy, Preference, Pretrain, RewardStage, Sft
from memaudit.quizzes import Question
from memaudit.quizzing import ask
from memaudit.recipe import cohort_of, context_of, uses
from memaudit.records import Example, Probe, Reading
from memaudit.select import SELECTION
from memaudit.stages import Result, Setting, seed_of, stage_seed
from memaudit.training import PAIRS, WEIGHTS, load_pairs, save_pairs
from probes import canaries
from rlhf import reward
from rlhf.batches import Pairs, Prompts, Rows, chunks, pad, rows, rows_at
from rlhf.events import RowIds
from rlhf.generate import generate, row_keys
from rlhf.likelihood import of_rows
from rlhf.model import Params

UNSEEN = "pairs-unseen.npz"
"""Pairs of the examples that a reward stage's twin does not see, beside its own."""
_AT_ONCE = 64  # rows in a pass
_WIDTH = 32  # tokens that a row's length is a multiple of


@dataclass(frozen=True)
class Reader:
    """Reads one run's checkpoints."""

    setting: Setting

    @cached_property
    def _asked(self) -> list[tuple[Example, Probe]]:
        population = self.setting.population
        return list(zip(population.examples, population.probes, strict=True))

    @cached_property
    def _fillings(self) -> tuple[Rows, list[tuple[str, int]]]:
        """Texts of the synthetic secrets with their own filling and with others, and whose they are."""
        recipe, tokenizer = self.setting.recipe, self.setting.population.tokenizer
        known = {canary.text: canary for canary in self._canaries()}
        prompts, texts, whose = [], [], []
        for example, probe in self._asked:
            canary = known.get(example.text)
            if canary is None:
                continue
            count = min(recipe.audit.references, canary.slot.size - 1)
            others = canaries.references(canary, count=count, seed=recipe.seed)
            for number, text in enumerate((example.text, *others)):
                prompts.append([tokenizer.bos, *probe.prefix_tokens])
                texts.append(tokenizer.encode(text[len(probe.prefix) :]))
                whose.append((example.id, number))
        ids = [(name,) for name, _ in whose]
        return rows(prompts, texts, ids, time=_width(prompts, texts), fill=tokenizer.pad), whose

    def _canaries(self) -> Sequence[canaries.Canary]:
        wanted = sum(e.kind == "sensitive" for e in self.setting.population.examples)
        # As many as the cohorts were drawn from.
        return canaries.generate(count=2 * wanted, seed=self.setting.recipe.seed)

    def read(self, twin: str, stage: str, result: Result, needed: Mapping[str, Result]) -> Iterator[Reading]:
        """All that is read off a finished stage of a twin. `needed` has the results that it was made of."""
        recipe, decoder = self.setting.recipe, self.setting.decoder
        config = recipe.stages[stage]
        params = result.language_model(decoder)
        if recipe.audit.references:
            fillings, whose = self._fillings
            if whose:
                losses = -of_rows(decoder, params, fillings).logprobs
                yield from _numbered("filling_loss", whose, losses)
        yield from self._options(stage, params)
        if isinstance(config, Pretrain) and config.select is not None:
            yield from _selection(result.folder / SELECTION)
        if isinstance(config, Sft) and config.weights is not None:
            with np.load(result.folder / WEIGHTS) as data:
                yield from _numbered(
                    "self_weight", _counted([(name,) for name in data["ids"].tolist()]), data["weights"]
                )
        if isinstance(config, RewardStage):
            scorer = reward.RewardModel(decoder, result.params(decoder))
            parent = needed[config.parent or ""].language_model(decoder)
            yield from self._rewards(twin, stage, config, result, scorer, parent)
            yield from self._answers(twin, stage, parent, scorer)
        if isinstance(config, Sft | Preference) and context_of(recipe, stage):
            yield from self._conditions(stage, params)
        if isinstance(config, Preference):
            yield from self._preferences(config, params, needed)
        if isinstance(config, Preference | OnPolicy):
            by = needed[config.pairs if isinstance(config, Preference) else config.reward]
            yield from self._answers(twin, stage, params, reward.RewardModel(decoder, by.params(decoder)))
        if isinstance(config, OnPolicy) and recipe.audit.samples:
            yield from self._nearest(stage, config, params)

    def _rewards(
        self,
        twin: str,
        stage: str,
        config: RewardStage,
        result: Result,
        scorer: reward.RewardModel,
        parent: Params,
    ) -> Iterator[Reading]:
        own = load_pairs(result.folder / PAIRS)
        unseen = self._pairs(
            self._unseen(config.cohort, twin), parent, stage_seed(self.setting.recipe, stage), stage
        )
        save_pairs(result.folder / UNSEEN, unseen)
        for pairs in (own, unseen):
            whose = _counted(pairs.preferred.ids)
            for quantity, shown in (
                ("preferred_reward", pairs.preferred),
                ("rejected_reward", pairs.rejected),
            ):
                yield from _numbered(quantity, whose, _scored(scorer, shown))
        if config.acquire is not None:
            with np.load(result.folder / ACQUIRED) as data:
                yield from _numbered("acquired", _counted(own.preferred.ids), data["rounds"])
        if self.setting.recipe.audit.references:
            fillings, whose = self._fillings
            cohort = {e.id for e, _ in self._asked if e.cohort == config.cohort}
            if chosen := [row for row, (name, _) in enumerate(whose) if name in cohort]:
                yield from _numbered(
                    "filling_reward",
                    [whose[row] for row in chosen],
                    _scored(scorer, rows_at(fillings, chosen)),
                )

    def _unseen(self, cohort: str, twin: str) -> list[Probe]:
        shown = self.setting.population.as_shown
        return [shown(p) for e, p in self._asked if e.cohort == cohort and e.half != twin]

    def _answers(
        self, twin: str, stage: str, policy: Params, scorer: reward.RewardModel
    ) -> Iterator[Reading]:
        recipe = self.setting.recipe
        # Of all stages that are steered by one cohort, the answers to the same prompts, drawn with the same luck.
        scoring = self._scoring(stage)
        probes = self._unseen(cohort_of(recipe, scoring) or "", twin)
        drawn = self._pairs(probes, policy, seed_of(recipe, "answers"), scoring).rejected
        yield from _numbered("answer_reward", [(row[0], 0) for row in drawn.ids], _scored(scorer, drawn))

    def _scoring(self, stage: str) -> str:
        """The reward stage whose scores or pairs a stage learns from; of a reward stage, itself."""
        return next(iter(uses(self.setting.recipe, stage)), stage)

    def _pairs(self, probes: Sequence[Probe], parent: Params, seed: int, scoring: str) -> Pairs:
        tokenizer, contexts = self.setting.population.tokenizer, self.setting.contexts(scoring)
        return reward.sample_pairs(
            parent,
            self._prompts([start(tokenizer, p, contexts) for p in probes], probes),
            [p.target_tokens for p in probes],
            decoder=self.setting.decoder,
            key=jax.random.key(seed),
            time=self.setting.time + context_of(self.setting.recipe, scoring),
            pad=tokenizer.pad,
        )

    def _prompts(self, sequences: Sequence[Sequence[int]], probes: Sequence[Probe]) -> Prompts:
        tokens, lengths = pad(sequences, max(map(len, sequences)), self.setting.population.tokenizer.pad)
        return Prompts(tokens=tokens, lengths=lengths, ids=tuple((p.example_id,) for p in probes))

    def _conditions(self, stage: str, params: Params) -> Iterator[Reading]:
        """What is left of the targets behind less of their context: of all examples, seen or not."""
        population, contexts = self.setting.population, self.setting.contexts(stage)
        tokenizer, probes = population.tokenizer, population.probes
        for condition in Condition:
            shown = rows(
                [start(tokenizer, p, contexts, condition) for p in probes],
                [p.target_tokens for p in probes],
                [(p.example_id,) for p in probes],
                time=self.setting.time + context_of(self.setting.recipe, stage),
                fill=tokenizer.pad,
            )
            whose = [(p.example_id, int(condition)) for p in probes]
            found = of_rows(self.setting.decoder, params, shown)
            yield from _numbered("context_logprob", whose, found.logprobs)
            yield from _numbered("context_hits", whose, found.whole.astype(float))

    def _options(self, stage: str, params: Params) -> Iterator[Reading]:
        """How likely the options of all questions are, of repositories that were shown or not."""
        questions = self.setting.population.questions
        if not questions:
            return
        decoder, tokenizer = self.setting.decoder, self.setting.population.tokenizer
        asked = [question.item for question in questions.values()]
        blind = ask(decoder, params, tokenizer, asked)
        yield from _of_options("option_logprob", questions, blind.scores)
        yield from _numbered("option_said", [(name, 0) for name in questions], blind.said.astype(float))
        config = self.setting.recipe.stages[stage]
        if isinstance(config, Sft | Preference) and (found := self.setting.contexts(stage)):
            before = [found[name].true for name in questions]
            given = ask(decoder, params, tokenizer, asked, before=before)
            yield from _of_options("option_given", questions, given.scores)

    def _preferences(
        self, config: Preference, params: Params, needed: Mapping[str, Result]
    ) -> Iterator[Reading]:
        decoder, folder = self.setting.decoder, needed[config.pairs].folder
        parent = needed[config.parent or ""].language_model(decoder)
        for name in (PAIRS, UNSEEN):
            pairs = load_pairs(folder / name)
            for side, shown in (("preferred", pairs.preferred), ("rejected", pairs.rejected)):
                whose = _counted(shown.ids)
                for by, model in (("logprob", params), ("reference", parent)):
                    yield from _numbered(f"{side}_{by}", whose, of_rows(decoder, model, shown).logprobs)

    def _nearest(self, stage: str, config: OnPolicy, params: Params) -> Iterator[Reading]:
        recipe, tokenizer = self.setting.recipe, self.setting.population.tokenizer
        samples = recipe.audit.samples
        shown = self.setting.population.as_shown
        asked = [shown(p) for e, p in self._asked if e.cohort == config.cohort]
        prompts = self._prompts([[tokenizer.bos, *p.prefix_tokens, *p.target_tokens] for p in asked], asked)
        key = jax.random.key(seed_of(recipe, f"{stage} samples"))
        said: list[str] = []
        for index in chunks(len(prompts.tokens) * samples, _AT_ONCE):
            row = index // samples
            found = generate(
                params,
                jnp.asarray(prompts.tokens[row]),
                jnp.asarray(prompts.lengths[row]),
                row_keys(key, jnp.asarray(index)),
                decoder=self.setting.decoder,
                budget=config.response,
                temperature=config.temperature,
                eos=tokenizer.eos,
                pad=tokenizer.pad,
                buckets=(prompts.tokens.shape[1],),
            )
            ends = np.asarray(found.lengths)
            said += [
                tokenizer.decode(tokens[:end])
                for tokens, end in zip(np.asarray(found.tokens).tolist(), ends, strict=True)
            ]
        for place, (name,) in enumerate(prompts.ids):
            answers = said[place * samples : (place + 1) * samples]
            yield from _numbered("nearest", [(name, n) for n in range(samples)], nearest_distances(answers))


def _of_options(quantity: str, questions: Mapping[str, Question], scores: np.ndarray) -> Iterator[Reading]:
    """A score of each option, the right one first."""
    for (name, question), row in zip(questions.items(), scores, strict=True):
        right = question.item.right
        places = [right, *(place for place in range(len(row)) if place != right)]
        yield from _numbered(quantity, [(name, n) for n in range(len(row))], row[places])


def _selection(path: Path) -> Iterator[Reading]:
    with np.load(path) as data:
        ids, scores, taken = data["ids"].tolist(), data["scores"], data["taken"]
    for quantity, values, there in (
        ("selection_score", scores, np.isfinite(scores)),
        ("selection_taken", taken, taken > 0),
    ):
        whose = [(name, 0) for name, known in zip(ids, there, strict=True) if known]
        yield from _numbered(quantity, whose, values[there])


def _counted(ids: Sequence[RowIds]) -> list[tuple[str, int]]:
    """The example of each row, with how many rows before are its own."""
    seen: Counter[str] = Counter()
    found = []
    for (name,) in ids:
        found.append((name, seen[name]))
        seen[name] += 1
    return found


def _scored(scorer: reward.RewardModel, shown: Rows) -> np.ndarray:
    parts = [
        scorer(shown.tokens[index], shown.weights[index]) for index in chunks(len(shown.tokens), _AT_ONCE)
    ]
    return np.concatenate(parts)[: len(shown.tokens)]


def _width(prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> int:
    longest = max((len(p) + len(t) for p, t in zip(prompts, texts, strict=True)), default=1)
    return -(-longest // _WIDTH) * _WIDTH


def _numbered(
    quantity: str, whose: Sequence[tuple[str, int]], values: Sequence[float] | np.ndarray
) -> Iterator[Reading]:
    for (name, number), value in zip(whose, values, strict=True):
        yield Reading(example_id=name, quantity=quantity, number=number, value=round(float(value), 6))
