"""Models of transformers, asked through the protocol: what they say is what their own `generate` says, one by one."""

import importlib
import json
import math
import random
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memaudit.backends import Question, Said, budget
from memaudit.backends.huggingface import Transformers, Words, read
from memaudit.backends.likelihood import drawn, likelihood
from memaudit.errors import BadInput
from rlhf import huggingface
from rlhf.likelihood import Likelihood, of_targets
from rlhf.model import Decoder, Params, hidden_states, initialise
from rlhf.presets import preset
from rlhf.sampling import Sampler, truncate
from rlhf.tokenizer import Tokenizer

pytestmark = pytest.mark.peers

VOCABULARY, CONTEXT = 300, 128
TEXT = "def area(width, height):\n    return width * height\n\n\nclass Shape:\n    sides = 4\n"
SAMPLERS = (
    Sampler(),
    Sampler(temperature=0.7),
    Sampler(top_k=5),
    Sampler(temperature=1.3, top_p=0.8),
    Sampler(temperature=0.8, top_k=40, top_p=0.95),
    Sampler(temperature=0),
)
FAMILIES = ("llama", "qwen2", "gpt2")
UNLIKE_GREEDY: dict[str, Any] = {
    "repetition_penalty": 3.0,
    "no_repeat_ngram_size": 1,
    "min_new_tokens": 12,
    "suppress_tokens": list(range(40, 90)),
    "begin_suppress_tokens": list(range(90, 280)),
    "bad_words_ids": [[30], [31]],
    "exponential_decay_length_penalty": [0, 2.0],
    "forced_eos_token_id": 2,
    "sequence_bias": [[[35], 50.0]],
    "do_sample": True,
    "num_beams": 2,
}


@partial(jax.jit, static_argnums=1)
def ours_draws(logits: jax.Array, sampler: Sampler) -> jax.Array:
    """Log-probability that our sampler draws each token, like the logits ``[n, vocabulary]``."""
    kept = truncate(logits / sampler.temperature, sampler)
    return kept - jax.nn.logsumexp(kept, axis=-1, keepdims=True)


def libraries() -> tuple[Any, Any]:
    return importlib.import_module("torch"), importlib.import_module("transformers")


def sharpen(model: Any, seed: int) -> Any:
    """Weights by which every part matters, and which end a text now and then."""
    torch, _ = libraries()
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(
                    0.0, 0.6 if "emb" in name or "wte" in name or "wpe" in name else 0.25, generator=noise
                )
        model.get_output_embeddings().weight[2] *= 2.0
    return model.eval()


def made(family: str) -> Any:
    _, transformers = libraries()
    roles: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if family == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=4, **roles
        )
        return sharpen(transformers.GPT2LMHeadModel(config), 1)
    names = {"llama": "Llama", "qwen2": "Qwen2"}
    config = getattr(transformers, names[family] + "Config")(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=family == "qwen2",
        **roles,
    )
    return sharpen(getattr(transformers, names[family] + "ForCausalLM")(config), 2)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, questions to it, and what it says to each of them when it is asked alone."""

    model: Any
    tokenizer: Any
    questions: list[Question]
    answers: list[Said]

    def backend(self, **options: Any) -> Transformers:
        return Transformers(self.model, self.tokenizer, **options)


def alone(
    model: Any, tokenizer: Any, prefix: Sequence[int], tokens: int, opening: Sequence[int] = (1,)
) -> tuple[list[int], Said]:
    """Plain greedy decoding of one prompt, which needs no padding."""
    torch, _ = libraries()
    table = torch.tensor([[*opening, *prefix]])
    with torch.no_grad():
        found = model.generate(
            input_ids=table,
            attention_mask=torch.ones_like(table),
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
        )[0, table.shape[1] :].tolist()
    said = list(takewhile(lambda token: token != 2, found))
    return said, Said(text=tokenizer.decode(said, skip_special_tokens=True), ended=len(said) < len(found))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only wait for more."""
    torch, _ = libraries()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return Tokenizer.train([TEXT] * 5, VOCABULARY)


@pytest.fixture(scope="module")
def tokenizer(words: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    _, transformers = libraries()
    folder = tmp_path_factory.mktemp("tokenizer")
    words.write(folder)
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope="module")
def cases(tokenizer: Any) -> dict[str, Case]:
    return {family: asked(made(family), tokenizer) for family in FAMILIES}


def asked(model: Any, tokenizer: Any) -> Case:
    """Targets that the model says in full, in part, and not at all, of several budgets; and ends of text."""
    rng = random.Random(7)
    questions, answers = [], []
    for number in range(24):
        prefix = [rng.randrange(6, VOCABULARY) for _ in range(rng.choice((1, 2, 5, 17, 40)))]
        size = rng.choice((1, 3, 16, 17, 30))
        tokens, answer = alone(model, tokenizer, prefix, budget(size))
        target = tokens[:size] or [rng.randrange(6, VOCABULARY)]
        if number % 3 == 1:
            at = rng.randrange(len(target))
            target = [*target[:at], *(rng.randrange(6, VOCABULARY) for _ in range(size - at))]
        elif number % 3 == 2:
            target = [rng.randrange(6, VOCABULARY) for _ in range(size)]
        if budget(len(target)) != budget(size):
            _, answer = alone(model, tokenizer, prefix, budget(len(target)))
        questions.append(
            Question(
                prefix=tokenizer.decode(prefix),
                target=tokenizer.decode(target),
                prefix_tokens=tuple(prefix),
                target_tokens=tuple(target),
            )
        )
        answers.append(answer)
    return Case(model=model, tokenizer=tokenizer, questions=questions, answers=answers)


def oracle(model: Any, question: Question) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities ``[n, vocabulary]`` in float64 of one row without padding, and its logits."""
    torch, _ = libraries()
    prefix, target = question.prefix_tokens, question.target_tokens
    with torch.no_grad():
        logits = model(torch.tensor([[1, *prefix, *target]])).logits[0].double().numpy()
    logits = logits[len(prefix) : -1]
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True)), logits


def test_the_questions_are_of_every_kind(cases: dict[str, Case]) -> None:
    """What the tests below stand on."""
    for case in cases.values():
        hits = [all(scores.argmax) for scores in case.backend().score(case.questions) if scores]
        assert {answer.ended for answer in case.answers} == {True, False}
        assert {budget(len(q.target_tokens)) for q in case.questions} == {16, 32}
        assert len({len(q.prefix_tokens) for q in case.questions}) > 3
        assert set(hits) == {True, False}


@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_completions_are_those_of_generate_one_by_one(
    cases: dict[str, Case], family: str, scored: bool, batch: int
) -> None:
    case = cases[family]
    backend = case.backend(batch=batch)
    for order in (list(range(24)), random.Random(batch).sample(range(24), 24)):
        questions = [case.questions[i] for i in order]
        scores = backend.score(questions) if scored else [None] * len(questions)
        assert backend.go_on(questions, scores) == [case.answers[i] for i in order]


@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_the_logits(cases: dict[str, Case], family: str, batch: int) -> None:
    case = cases[family]
    for question, scores in zip(case.questions, case.backend(batch=batch).score(case.questions), strict=True):
        table, _ = oracle(case.model, question)
        target = np.array(question.target_tokens)
        chance = np.exp(table)
        mean = (chance * table).sum(-1)
        assert scores is not None
        np.testing.assert_allclose(scores.logprobs, table[np.arange(len(target)), target], atol=1e-4)
        assert list(scores.argmax) == (table.argmax(-1) == target).tolist()
        np.testing.assert_allclose(scores.entropies, -mean, atol=1e-4)
        spread = (chance * (table - mean[:, None]) ** 2).sum(-1)
        np.testing.assert_allclose(scores.deviations, np.sqrt(spread), atol=1e-4)
        assert all(round(value, 6) == value for value in scores.logprobs)


def test_logits_in_parts_give_the_same_scores(
    cases: dict[str, Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cases["llama"]
    whole = case.backend(samplers=SAMPLERS).score(case.questions)
    monkeypatch.setattr("memaudit.backends.huggingface._LOGITS_AT_ONCE", 2 * VOCABULARY)
    assert case.backend(samplers=SAMPLERS).score(case.questions) == whole


def test_our_own_decoder_scores_the_same_weights_alike(tmp_path: Path, words: Tokenizer) -> None:
    decoder = Decoder(preset("tiny", words.vocabulary))
    rng = np.random.default_rng(3)
    params = jax.tree.map(
        lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32) if leaf.ndim > 1 else np.asarray(leaf),
        initialise(decoder, jax.random.key(0)),
    )
    huggingface.write(tmp_path / "model", decoder.config, params, tokenizer=words)
    backend = read(tmp_path / "model", batch=4, samplers=SAMPLERS[:5])
    prefixes, targets = ["def area(", "class Shape:\n    ", "x"], ["width, height):", "sides = 4\n", " * y"]
    tokens = [tuple(ids) for ids in backend.encode([*prefixes, *targets])]
    assert tokens == [tuple(words.encode(text)) for text in [*prefixes, *targets]]
    questions = [
        Question(prefix=prefix, target=target, prefix_tokens=before, target_tokens=after)
        for prefix, target, before, after in zip(prefixes, targets, tokens[:3], tokens[3:], strict=True)
    ]
    starts = [1 + len(question.prefix_tokens) for question in questions]
    ends = [start + len(question.target_tokens) for start, question in zip(starts, questions, strict=True)]
    rows = np.zeros((3, max(ends)), np.int32)
    for row, (question, end) in enumerate(zip(questions, ends, strict=True)):
        rows[row, :end] = [words.bos, *question.prefix_tokens, *question.target_tokens]

    @jax.jit
    def scored(params: Params, rows: jax.Array) -> Likelihood:
        hidden = hidden_states(decoder, params, rows)
        return of_targets(decoder, params, hidden[:, :-1], rows[:, 1:], samplers=SAMPLERS[:5])

    ours = scored(params, jnp.asarray(rows))
    for row, (start, end, scores) in enumerate(zip(starts, ends, backend.score(questions), strict=True)):
        part = slice(start - 1, end - 1)
        assert scores is not None
        np.testing.assert_allclose(scores.logprobs, ours.logprobs[row, part], atol=1e-4)
        np.testing.assert_allclose(scores.entropies, ours.entropy[row, part], atol=1e-4)
        np.testing.assert_allclose(scores.deviations, ours.deviation[row, part], atol=1e-4)
        assert list(scores.argmax) == ours.hit[row, part].tolist()
        totals = np.asarray(ours.sampled[row, part]).sum(0)
        np.testing.assert_allclose([scores.sampled[s.name] for s in SAMPLERS[:5]], totals, atol=1e-3)


def test_samplers_are_told_of_the_whole_target(cases: dict[str, Case]) -> None:
    case = cases["llama"]
    found = case.backend(samplers=SAMPLERS).score(case.questions)
    assert all(scores and list(scores.sampled) == [s.name for s in SAMPLERS] for scores in found)
    logits = jnp.asarray(np.concatenate([oracle(case.model, q)[1] for q in case.questions]), jnp.float32)
    targets = np.concatenate([q.target_tokens for q in case.questions])
    edges = np.cumsum([len(q.target_tokens) for q in case.questions])[:-1]
    for sampler in SAMPLERS[:-1]:
        own = np.asarray(ours_draws(logits, sampler))[np.arange(len(targets)), targets]
        totals = [part.sum() for part in np.split(own, edges)]
        assert any(map(math.isfinite, totals))
        np.testing.assert_allclose([s.sampled[sampler.name] for s in found if s], totals, atol=1e-3)
    greedy = [s.sampled["T=0"] for s in found if s]
    assert greedy == [0.0 if all(s.argmax) else -math.inf for s in found if s]


tied = st.sampled_from([-3.0, -1.0, 0.0, 0.5, 2.0])
values = st.one_of(tied, st.floats(-20, 20, width=32).filter(lambda x: x == 0 or abs(x) > 1e-30))


@pytest.mark.parametrize(
    "sampler",
    [
        *SAMPLERS[:5],
        Sampler(top_k=1),
        Sampler(top_k=99, top_p=0.5),
        Sampler(top_p=1e-6),
        Sampler(temperature=0.3, top_k=3),
    ],
    ids=lambda sampler: sampler.name,
)
@given(row=st.one_of(*(st.lists(some, min_size=11, max_size=11) for some in (tied, values))))
def test_a_sampler_keeps_what_ours_keeps(sampler: Sampler, row: list[float]) -> None:
    """Of every token, ties included; but for a mass so near to top-p that float32 may see it on either side.

    Most tokens are too unlikely to matter, as in a vocabulary of real size.
    """
    torch, _ = libraries()
    logits = np.array([[*[-40.0] * 20, *row, *[-40.0] * 33]], np.float32)
    scaled = logits / np.float32(sampler.temperature)
    if sampler.top_p < 1:
        ranked = np.sort(scaled[0].astype(np.float64))[::-1][: sampler.top_k]
        mass = np.cumsum(np.exp(ranked - ranked[0]))
        if np.any(np.abs(mass / mass[-1] - sampler.top_p) < 1e-5):
            return
    wanted = np.asarray(ours_draws(logits, sampler))[0]
    targets = torch.arange(64)
    table = torch.tensor(logits).expand(64, -1)
    found = drawn(table, targets, table.argmax(-1) == targets, sampler).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-6)


def test_tokens_too_unlikely_to_be_ranked_have_their_mass() -> None:
    """Half of the mass is not reached by the first token: only by it, if the many others were left out."""
    torch, _ = libraries()
    others = 4094
    chances = np.array([0.45, 0.33, *[0.22 / others] * others])
    logits = np.log(chances[None]).astype(np.float32)
    sampler = Sampler(top_p=0.5)
    targets = torch.arange(3)
    table = torch.tensor(logits).expand(3, -1)
    found = drawn(table, targets, targets == 0, sampler)
    np.testing.assert_allclose(found, [math.log(0.45 / 0.78), math.log(0.33 / 0.78), -math.inf], atol=1e-5)
    np.testing.assert_allclose(found, ours_draws(logits, sampler)[0, :3], atol=1e-5)


def test_a_token_that_cannot_come_is_no_part_of_the_entropy() -> None:
    torch, _ = libraries()
    logits = torch.tensor([[0.0, 0.0, -math.inf]]).expand(2, -1)
    logprobs, hits, entropies, deviations = likelihood(logits, torch.tensor([1, 2]), ())
    assert logprobs.tolist() == pytest.approx([-math.log(2), -math.inf])
    assert hits.tolist() == [False, False]
    assert entropies.tolist() == pytest.approx([math.log(2)] * 2)
    assert deviations.tolist() == [0.0, 0.0]


def test_of_equal_tokens_the_lowest_id_is_the_most_likely(cases: dict[str, Case]) -> None:
    torch, _ = libraries()
    model = made("llama")
    with torch.no_grad():
        model.lm_head.weight.zero_()
    backend = Transformers(model, cases["llama"].tokenizer)
    question = Question(prefix="x", target="yy", prefix_tokens=(9,), target_tokens=(0, 7))
    (scores,) = backend.score([question])
    assert scores is not None
    assert scores.argmax == (True, False)
    assert scores.logprobs == pytest.approx([-math.log(VOCABULARY)] * 2, abs=1e-6)
    assert scores.entropies == pytest.approx([math.log(VOCABULARY)] * 2, abs=1e-5)
    assert scores.deviations == pytest.approx([0.0] * 2, abs=1e-5)


def test_a_model_in_training_is_left_as_it_was(cases: dict[str, Case]) -> None:
    """With dropout, checkpointed gradients, no cache, and one part that its trainer holds in eval mode."""
    torch, _ = libraries()
    case = cases["gpt2"]
    model = made("gpt2")
    model.load_state_dict(case.model.state_dict())
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    model.enable_input_require_grads()
    model.config.use_cache = False
    model.train()
    model.transformer.h[1].eval()
    settings = model.generation_config
    modes = [module.training for module in model.modules()]
    backend = Transformers(model, case.tokenizer)
    scores = backend.score(case.questions)
    assert scores == case.backend().score(case.questions)
    assert backend.go_on(case.questions, scores) == case.answers
    assert [module.training for module in model.modules()] == modes
    assert model.generation_config is settings
    assert model.config.use_cache is False
    assert torch.is_grad_enabled()
    model(input_ids=torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_a_model_is_left_as_it_was_when_asking_fails(cases: dict[str, Case]) -> None:
    torch, _ = libraries()
    model = made("llama")
    model.train()
    settings = model.generation_config
    with torch.no_grad():
        model.lm_head.weight.fill_(math.nan)
    backend = Transformers(model, cases["llama"].tokenizer, name="the model")
    with pytest.raises(BadInput, match=r"expected numbers as logits of the model, got NaN.*float32"):
        backend.score(cases["llama"].questions)
    assert model.training
    assert model.generation_config is settings


@pytest.mark.parametrize("name", [*UNLIKE_GREEDY, "all"])
def test_no_setting_of_the_model_changes_greedy_decoding(cases: dict[str, Case], name: str) -> None:
    torch, _ = libraries()
    case = cases["llama"]
    questions, answers = case.questions[:8], case.answers[:8]
    model = made("llama")
    model.generation_config.update(**(UNLIKE_GREEDY if name == "all" else {name: UNLIKE_GREEDY[name]}))
    assert Transformers(model, case.tokenizer).go_on(questions, [None] * 8) == answers
    # And it is a setting that would.
    torch.manual_seed(0)
    changed = []
    for question in questions:
        row = torch.tensor([[1, *question.prefix_tokens]])
        said = model.generate(
            input_ids=row,
            attention_mask=torch.ones_like(row),
            max_new_tokens=budget(len(question.target_tokens)),
        )
        changed.append(case.tokenizer.decode(said[0, row.shape[1] :], skip_special_tokens=True))
    assert changed != [answer.text for answer in answers]


def test_every_end_of_text_of_a_model_ends_a_completion(cases: dict[str, Case], tokenizer: Any) -> None:
    case = cases["qwen2"]
    question, answer = next((q, a) for q, a in zip(case.questions, case.answers, strict=True) if not a.ended)
    said, _ = alone(case.model, tokenizer, question.prefix_tokens, 16)
    model = made("qwen2")
    model.generation_config.eos_token_id = [2, said[5]]
    backend = Transformers(model, tokenizer)
    wanted = Said(text=tokenizer.decode(said[: said.index(said[5])]), ended=True)
    assert backend.go_on([question], [None]) == [wanted] != [answer]
    # Also where it is a token of the target that the model says.
    target = replace(question, target_tokens=tuple(said[:9]))
    assert backend.go_on([target], backend.score([target])) == [wanted]


def test_without_an_end_of_text_a_completion_fills_its_budget(cases: dict[str, Case], tokenizer: Any) -> None:
    model = made("llama")
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    bare = importlib.import_module("copy").deepcopy(tokenizer)
    bare.eos_token = None
    found = Transformers(model, bare).go_on(cases["llama"].questions, [None] * 24)
    assert not any(answer.ended for answer in found)


def test_no_row_is_brought_beyond_the_positions_that_a_model_has(
    cases: dict[str, Case], tokenizer: Any
) -> None:
    """A long prompt that has ended would be padded at positions that GPT-2 does not have, beside a long target."""
    rng = random.Random(1)
    questions, answers = [], []
    for before, after in ((CONTEXT - 17, 3), (CONTEXT - 65, 40), (2, 64), (1, 5)):
        prefix, target = ([rng.randrange(6, VOCABULARY) for _ in range(n)] for n in (before, after))
        questions.append(
            Question(prefix="x", target="x", prefix_tokens=tuple(prefix), target_tokens=tuple(target))
        )
        answers.append(alone(cases["gpt2"].model, tokenizer, prefix, budget(after))[1])
    backend = cases["gpt2"].backend()
    assert backend.go_on(questions, backend.score(questions)) == answers
    assert backend.go_on(questions, [None] * 4) == answers
    longer = replace(questions[0], prefix_tokens=(9, *questions[0].prefix_tokens))
    for ask in (lambda: backend.score([longer]), lambda: backend.go_on([longer], [None])):
        with pytest.raises(BadInput, match=rf"at most {CONTEXT} tokens .* got {CONTEXT - 15} and 16"):
            ask()


def test_a_token_that_a_model_has_not_is_bad_input(cases: dict[str, Case]) -> None:
    question = Question(prefix="x", target="y", prefix_tokens=(9,), target_tokens=(VOCABULARY,))
    with pytest.raises(BadInput, match=f"below {VOCABULARY}"):
        cases["llama"].backend().score([question])


def test_a_model_is_asked_in_its_own_dtype(cases: dict[str, Case]) -> None:
    torch, _ = libraries()
    case = cases["llama"]
    model = made("llama").to(torch.bfloat16)
    backend = Transformers(model, case.tokenizer, batch=1)
    for question, scores in zip(case.questions, backend.score(case.questions), strict=True):
        with torch.no_grad():
            row = torch.tensor([[1, *question.prefix_tokens, *question.target_tokens]])
            logits = model(row).logits[0, len(question.prefix_tokens) : -1]
        assert logits.dtype == torch.bfloat16
        table = logits.float().log_softmax(-1)
        target = torch.tensor(question.target_tokens)
        assert scores is not None
        np.testing.assert_allclose(scores.logprobs, table.gather(1, target[:, None])[:, 0], atol=0.15)
    assert len(backend.go_on(case.questions[:3], [None] * 3)) == 3
    assert model.dtype == torch.bfloat16


def blanked(kind: str) -> Any:
    """A tokenizer that puts a begin-of-text token and a blank before every text, as Llama 2's does."""
    _, transformers = libraries()
    library = importlib.import_module("tokenizers")
    parts, decoders = library.pre_tokenizers, library.decoders
    backend = library.Tokenizer(library.models.BPE(unk_token="<unk>"))
    if kind == "metaspace":
        backend.pre_tokenizer = parts.Metaspace(prepend_scheme="first")
        backend.decoder = decoders.Metaspace(prepend_scheme="first")
    elif kind == "prepend":
        normal = library.normalizers
        backend.normalizer = normal.Sequence([normal.Prepend("▁"), normal.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        backend.pre_tokenizer = parts.ByteLevel(add_prefix_space=True)
        backend.decoder = decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=120,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=list("x)=▁\n"),
        show_progress=False,
    )
    backend.train_from_iterator([TEXT] * 5, trainer)
    backend.post_processor = library.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.mark.parametrize("kind", ["metaspace", "prepend", "bytes"])
def test_a_blank_before_every_text_is_not_one_before_a_target(kind: str) -> None:
    tokenizer = blanked(kind)
    words = Words(tokenizer)
    for at in range(1, len(TEXT)):
        prefix, target = TEXT[:at], TEXT[at:]
        prompt = words.open(prefix, words.encode([prefix])[0])
        assert [1, *prompt[1:], 2] == tokenizer(prefix)["input_ids"]
        (tokens,) = words.encode([target])
        assert words.decode(tokens) == target
        whole = tokenizer.decode(prompt[1:] + tokens)
        assert whole.removeprefix(" " if kind == "bytes" else "") == TEXT


def test_prompts_begin_with_what_the_tokenizer_puts_before_a_text(cases: dict[str, Case]) -> None:
    case = cases["llama"]
    assert case.tokenizer("x")["input_ids"][0] == 1
    plain = importlib.import_module("copy").deepcopy(case.tokenizer)
    plain.backend_tokenizer.post_processor = None
    backend = Transformers(case.model, plain)
    assert backend.encode(["def", TEXT]) == case.backend().encode(["def", TEXT])
    question = case.questions[0]
    size = budget(len(question.target_tokens))
    answer = alone(case.model, case.tokenizer, question.prefix_tokens, size, opening=())[1]
    assert backend.go_on([question], [None]) == [answer] != [case.answers[0]]
    begun = replace(question, prefix_tokens=(1, *question.prefix_tokens))
    assert backend.score([begun]) == case.backend().score([question])


def test_marks_in_a_text_are_the_tokens_that_they_spell(cases: dict[str, Case], words: Tokenizer) -> None:
    (tokens,) = cases["llama"].backend().encode(["<|fim_prefix|>def<|fim_suffix|>\n<|fim_middle|>"])
    assert tokens == [words.prefix, *words.encode("def"), words.suffix, *words.encode("\n"), words.middle]


def test_nothing_to_ask_is_nothing_answered(cases: dict[str, Case]) -> None:
    backend = cases["llama"].backend()
    assert (backend.encode([]), backend.score([]), backend.go_on([], [])) == ([], [], [])


@pytest.fixture
def folder(cases: dict[str, Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model and its tokenizer as transformers saves them, with no network to be had."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked for")

    cases["llama"].model.save_pretrained(tmp_path / "model")
    cases["llama"].tokenizer.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path / "model"


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_folder_answers_as_the_model_that_was_saved(cases: dict[str, Case], folder: Path) -> None:
    case = cases["llama"]
    rewrite(folder / "generation_config.json", lambda content: content.update(UNLIKE_GREEDY))
    backend = read(folder, batch=5, samplers=SAMPLERS)
    assert backend.batch == 5
    assert backend.parallel == 1
    scores = backend.score(case.questions)
    assert scores == case.backend(samplers=SAMPLERS, batch=5).score(case.questions)
    assert backend.go_on(case.questions, scores) == case.answers
    about = backend.about
    assert (about.kind, about.name, about.deterministic, about.scores) == (
        "transformers",
        str(folder),
        True,
        True,
    )
    assert about.losses == ()
    assert read(folder, batch=5, samplers=()).about == about
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert read(folder, batch=5, samplers=()).about.identity != about.identity


def test_weights_in_several_files_are_one_model(cases: dict[str, Case], folder: Path, tmp_path: Path) -> None:
    case = cases["llama"]
    case.model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    case.tokenizer.save_pretrained(tmp_path / "parts")
    parts = sorted(path.name for path in (tmp_path / "parts").glob("model-*"))
    assert len(parts) > 1
    backend = read(tmp_path / "parts", batch=16, samplers=())
    assert backend.go_on(case.questions, [None] * 24) == case.answers
    (tmp_path / "parts" / parts[1]).unlink()
    with pytest.raises(BadInput, match=f"without {parts[1]}"):
        read(tmp_path / "parts", batch=16, samplers=())


def test_no_code_of_a_folder_is_run(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    code = f"open({str(trap)!r}, 'w')\nclass C: pass\n"
    (folder / "own.py").write_text(code, encoding="utf-8")
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(code, encoding="utf-8")
    maps = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.C", "AutoTokenizer": ["own.C", "own.C"]}
    rewrite(folder / "config.json", lambda content: content.update(auto_map=maps))
    rewrite(folder / "tokenizer_config.json", lambda content: content.update(auto_map=maps))
    read(folder, batch=16, samplers=())
    rewrite(folder / "config.json", lambda content: content.update(model_type="own"))
    with pytest.raises(BadInput, match=r"expected a .* that transformers loads without code of its own in "):
        read(folder, batch=16, samplers=())
    assert not trap.exists()


def test_a_folder_that_the_library_cannot_read_is_bad_input(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(BadInput, match=r"expected a causal language model .* in .*model, got: [^\n]*$"):
        read(folder, batch=16, samplers=())
    weights.write_bytes(whole)
    rewrite(folder / "config.json", lambda content: content.update(num_hidden_layers=3))
    with pytest.raises(BadInput, match=r"got none for model\.layers\.2.*it would be random"):
        read(folder, batch=16, samplers=())
    rewrite(folder / "config.json", lambda content: content.update(num_hidden_layers=2))
    with pytest.raises(BadInput, match="expected a device that torch has, got 'abacus': set cpu"):
        read(folder, batch=16, samplers=(), device="abacus")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BadInput, match="expected a tokenizer that transformers loads"):
        read(folder, batch=16, samplers=())
