"""tunix's trainers with an audit attached: what it sees of them, and that it changes nothing of what they learn."""

import importlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from watched import NAMES, TEXTS, page, write_probes

from memaudit.attach import Rollouts, Watch, summarise
from memaudit.attach.tunix import Tunix, audit_hooks, wrap_reward
from memaudit.backends import Question, Said, budget
from memaudit.documents import open_ledger
from memaudit.errors import BadInput
from memaudit.tally import tally
from rlhf.tokenizer import Tokenizer

pytest.importorskip("tunix")

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

SHOWN = 4
"""Of `TEXTS`, those that are trained on."""
TIME = 64


def libraries(*names: str) -> list[Any]:
    return [importlib.import_module(name) for name in names]


@dataclass(frozen=True, kw_only=True)
class Given:
    """A tokenizer and a file of probes."""

    folder: Path
    words: Tokenizer

    @property
    def probes(self) -> Path:
        return self.folder / "probes.jsonl"

    def tokenizer(self) -> Any:
        (transformers,) = libraries("transformers")
        return transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(self.folder / "tokenizer.json"),
            bos_token=self.words_of(self.words.bos),
            eos_token=self.words_of(self.words.eos),
            pad_token=self.words_of(self.words.pad),
        )

    def words_of(self, token: int) -> str:
        tokenizers = importlib.import_module("tokenizers")
        return tokenizers.Tokenizer.from_file(str(self.folder / "tokenizer.json")).id_to_token(token)

    def model(self, seed: int = 0) -> Any:
        nnx, qwen = libraries("flax.nnx", "tunix.models.qwen2.model")
        config = qwen.ModelConfig(
            num_layers=2,
            vocab_size=self.words.vocabulary,
            embed_dim=64,
            hidden_dim=128,
            num_heads=4,
            head_dim=16,
            num_kv_heads=2,
            rope_theta=10_000,
            norm_eps=1e-6,
            use_tied_embedding=True,
        )
        model = qwen.Qwen2(config, rngs=nnx.Rngs(seed))
        # tunix initialises for weights that are read from elsewhere.
        state = jax.tree.map(lambda leaf: leaf * 0.05 if leaf.ndim > 1 else leaf, nnx.state(model, nnx.Param))
        nnx.update(model, state)
        return model


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("given")
    words = Tokenizer.train([prefix + target for prefix, target in TEXTS], 400)
    words.write(folder)
    write_probes(folder / "probes.jsonl")
    return Given(folder=folder, words=words)


def batch(given: Given) -> Any:
    (trainers,) = libraries("tunix.sft.peft_trainer")
    rows = [[given.words.bos, *given.words.encode(p + t), given.words.eos] for p, t in TEXTS[:SHOWN]]
    tokens = np.array([row + [given.words.pad] * (TIME - len(row)) for row in rows], np.int32)
    lengths = np.array([[len(row)] for row in rows])
    return trainers.TrainingInput(input_tokens=tokens, input_mask=np.arange(TIME) < lengths)


def trainer(given: Given, model: Any, steps: int, **options: Any) -> Any:
    trainers, utils = libraries("tunix.sft.peft_trainer", "tunix.sft.utils")

    def inputs(given: Any) -> dict[str, Any]:
        return {
            "input_tokens": given.input_tokens,
            "input_mask": given.input_mask,
            "positions": utils.build_positions_from_mask(given.input_mask),
            "attention_mask": utils.make_causal_attn_mask(given.input_mask),
        }

    config = trainers.TrainingConfig(eval_every_n_steps=1000, max_steps=steps, **options)
    return trainers.PeftTrainer(model, optax.adamw(5e-3), config).with_gen_model_input_fn(inputs)


def weights(model: Any) -> list[bytes]:
    (nnx,) = libraries("flax.nnx")
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]


def sharpened(given: Given) -> Any:
    """Weights by which every part matters, and which end a text now and then."""
    (nnx,) = libraries("flax.nnx")
    model, rng = given.model(), np.random.default_rng(3)
    state = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.4, leaf.shape), leaf.dtype) if leaf.ndim > 1 else leaf,
        nnx.state(model, nnx.Param),
    )
    nnx.update(model, state)
    return model


def oracle(model: Any) -> Callable[[Sequence[int]], np.ndarray]:
    """Logits ``[time, vocabulary]`` of one row."""
    mask, places = jnp.tril(jnp.ones((1, TIME, TIME), bool)), jnp.arange(TIME)[None]
    run = jax.jit(lambda table: model(table, places, None, mask)[0][0])

    def logits(tokens: Sequence[int]) -> np.ndarray:
        # Nothing looks at what stands behind it.
        table = np.array([[*tokens, *[0] * (TIME - len(tokens))]], np.int32)
        return np.asarray(run(table), np.float64)[: len(tokens)]

    return logits


def test_a_living_model_says_and_scores_what_it_does_one_token_at_a_time(given: Given) -> None:
    model, rng = sharpened(given), np.random.default_rng(5)
    backend, logits = Tunix(model, given.tokenizer(), batch=4), oracle(model)
    texts = [prefix for prefix, _ in TEXTS] + [target for _, target in TEXTS]
    assert backend.encode(texts) == given.words.encode_batch(texts)
    questions = []
    for size in (1, 3, 9, 17, 20):
        prefix = rng.integers(6, given.words.vocabulary, size + 2).tolist()
        target = rng.integers(6, given.words.vocabulary, size).tolist()
        questions.append(
            Question(
                prefix=given.words.decode(prefix),
                target=given.words.decode(target),
                prefix_tokens=tuple(prefix),
                target_tokens=tuple(target),
            )
        )
    answers = []
    for question in questions:
        said, most = [], budget(len(question.target_tokens))
        while len(said) < most:
            row = logits([given.words.bos, *question.prefix_tokens, *said])[-1]
            token = int(row.argmax())
            if token == given.words.eos:
                break
            said.append(token)
        answers.append(Said(text=given.words.decode(said), ended=len(said) < most))
    assert backend.go_on(questions, [None] * 5) == answers
    assert backend.go_on(questions[::-1][:3], [None] * 3) == answers[::-1][:3]
    for question, scores in zip(questions, backend.score(questions), strict=True):
        target = list(question.target_tokens)
        table = logits([given.words.bos, *question.prefix_tokens, *target])
        table = table[len(question.prefix_tokens) : -1]
        table -= np.log(np.exp(table - table.max(-1, keepdims=True)).sum(-1, keepdims=True)) + table.max(
            -1, keepdims=True
        )
        assert scores is not None
        np.testing.assert_allclose(scores.logprobs, table[np.arange(len(target)), target], atol=1e-3)
        assert list(scores.argmax) == (table.argmax(-1) == target).tolist()
        mean = (np.exp(table) * table).sum(-1)
        np.testing.assert_allclose(scores.entropies, -mean, atol=1e-3)
        spread = np.sqrt((np.exp(table) * (table - mean[:, None]) ** 2).sum(-1))
        np.testing.assert_allclose(scores.deviations, spread, atol=1e-3)


def test_a_tokenizer_of_another_model_is_refused(given: Given) -> None:
    backend = Tunix(given.model(), given.tokenizer())
    question = Question(prefix="x", target="y", prefix_tokens=(5,), target_tokens=(given.words.vocabulary,))
    with pytest.raises(BadInput, match="set the tokenizer that belongs to it"):
        backend.go_on([question], [None])


@pytest.mark.parametrize("dummy", [False, True])
def test_a_tokenizer_of_sentencepiece_does_not_lose_what_stands_at_the_seam(
    given: Given, dummy: bool
) -> None:
    (sentencepiece,) = libraries("sentencepiece")
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([p + t for p, t in TEXTS]),
        model_writer=written,
        vocab_size=324,
        model_type="bpe",
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        byte_fallback=True,
        add_dummy_prefix=dummy,
        pad_id=-1,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor()
    pieces.LoadFromSerializedProto(written.getvalue())
    model = sharpened(given)
    backend, logits = Tunix(model, pieces, batch=2), oracle(model)
    prefix, target = "import json\n", "    x = 1\n"
    before, after = backend.encode([prefix, target])
    question = Question(prefix=prefix, target=target, prefix_tokens=tuple(before), target_tokens=tuple(after))
    opened = [pieces.bos_id(), *pieces.EncodeAsIds(prefix)]
    assert pieces.DecodeIds([*opened, *after]) == prefix + target
    tokens = list(opened)
    while len(tokens) < len(opened) + 16 and int(logits(tokens)[-1].argmax()) != pieces.eos_id():
        tokens.append(int(logits(tokens)[-1].argmax()))
    (said,) = backend.go_on([question], [None])
    known = [token for token in tokens if token < pieces.GetPieceSize()]
    assert len(known) < len(tokens)  # the model knows more than the tokenizer
    assert pieces.DecodeIds(known) == prefix + said.text
    assert said.text


def test_a_tokenizer_stays_as_it_is_and_has_to_end_texts(given: Given) -> None:
    tokenizer = given.tokenizer()
    tokenizer.pad_token = None
    Tunix(given.model(), tokenizer)
    assert tokenizer.pad_token_id is None
    tokenizer.eos_token = None
    with pytest.raises(BadInput, match="set its eos token"):
        Tunix(given.model(), tokenizer)


def test_sft_is_seen_until_its_texts_come_out_and_learns_the_same(given: Given, tmp_path: Path) -> None:
    alone = trainer(given, given.model(), 120)
    alone.train([batch(given)] * 200)
    attached = trainer(given, given.model(), 120)
    watch = Watch(probes=given.probes, out=tmp_path / "out", every=40, levels=("exact", "code"))
    attached.with_training_hooks(audit_hooks(watch, given.tokenizer(), batch=4))
    attached.train([batch(given)] * 200)
    assert weights(attached.model) == weights(alone.model)
    with open_ledger(tmp_path / "out") as ledger:
        found = tally(ledger)
    (passage,) = found.passages
    assert passage.steps == [0, 40, 80, 120]
    assert passage.first_out[0] == 0
    assert sum(passage.first_out) == SHOWN
    assert {leak.probe for leak in found.leaks} == set(NAMES[:SHOWN])
    assert found.asked[0].kind == "tunix"
    assert (tmp_path / "out" / "report.html").is_file()


def test_every_look_is_at_the_model_after_so_many_updates(given: Given, tmp_path: Path) -> None:
    """Also where several batches make one update."""
    accumulated = trainer(given, sharpened(given), 6, gradient_accumulation_steps=2)
    watch = Watch(probes=given.probes, out=tmp_path / "out", every=2, levels=("exact",))
    hooks = audit_hooks(watch, given.tokenizer())
    accumulated.with_training_hooks(hooks)
    accumulated.train([batch(given)] * 40)
    said_before: list[str] = []
    for steps in (2, 4, 6):
        again = trainer(given, sharpened(given), steps, gradient_accumulation_steps=2)
        again.train([batch(given)] * 40)
        backend = Tunix(again.model, given.tokenizer())
        with open_ledger(tmp_path / "out") as ledger:
            number = next(number for step, number, _ in ledger.answers.steps("sft") if step == steps)
            kept = [o.completion for o in ledger.answers.of(number)]
            questions = [
                Question(
                    prefix=p.prefix,
                    target=p.target,
                    prefix_tokens=p.prefix_tokens,
                    target_tokens=p.target_tokens,
                )
                for p in ledger.probes()
            ]
        assert [said.text for said in backend.go_on(questions, [None] * len(questions))] == kept
        assert kept != said_before
        said_before = kept


def test_hooks_that_saw_nothing_have_nothing_to_finish(given: Given, tmp_path: Path) -> None:
    watch = Watch(probes=given.probes, out=tmp_path / "out")
    with pytest.raises(BadInput, match="got none: set them on a trainer"):
        audit_hooks(watch, given.tokenizer()).finish()


def lengths(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(completion)) for completion in completions]


def make_cluster(given: Given) -> Any:
    """Everything in one process and on one device."""
    clusters, rollout = libraries("tunix.rl.rl_cluster", "tunix.rl.rollout.base_rollout")
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
    roles = clusters.Role
    config = clusters.ClusterConfig(
        role_to_mesh=dict.fromkeys((roles.ACTOR, roles.REFERENCE, roles.ROLLOUT), mesh),
        rollout_engine="vanilla",
        offload_to_cpu=False,
        training_config=clusters.RLTrainingConfig(
            actor_optimizer=optax.adamw(1e-3), eval_every_n_steps=100, max_steps=4
        ),
        rollout_config=rollout.RolloutConfig(
            max_tokens_to_generate=8, max_prompt_length=16, kv_cache_size=64, temperature=1.0, top_p=1.0
        ),
    )
    return clusters.RLCluster(
        actor=given.model(), reference=given.model(), tokenizer=given.tokenizer(), cluster_config=config
    )


def make_learner(cluster: Any, *, reward_fns: Any) -> Any:
    (grpo,) = libraries("tunix.rl.grpo.grpo_learner")
    algorithm = grpo.GRPOConfig(num_generations=4, num_iterations=1)
    return grpo.GRPOLearner(rl_cluster=cluster, reward_fns=reward_fns, algo_config=algorithm)


PROMPTS = [{"prompts": np.array([prefix for prefix, _ in TEXTS[:2]])} for _ in range(4)]


def test_grpo_is_seen_every_rollout_is_heard_and_it_learns_the_same(given: Given, tmp_path: Path) -> None:
    cluster = make_cluster(given)
    make_learner(cluster, reward_fns=lengths).train(PROMPTS)
    before = weights(cluster.actor_trainer.model)
    watch = Watch(probes=given.probes, out=tmp_path / "out", stage="grpo", levels=("exact",), every=2)
    rollouts = Rollouts(probes=given.probes, out=tmp_path / "out", levels=("exact",))
    cluster = make_cluster(given)
    reward = wrap_reward(lengths, rollouts, step=lambda: cluster.global_steps)
    hooks = audit_hooks(watch, given.tokenizer())
    cluster.actor_trainer.with_training_hooks(hooks)
    make_learner(cluster, reward_fns=reward).train(PROMPTS)
    hooks.finish()
    assert weights(cluster.actor_trainer.model) == before
    found = summarise(tmp_path / "out")
    assert (found.heard, found.prompted.rollouts) == (4 * 2 * 4, 4 * 2 * 4)
    assert found.steps == (0, 3)
    with open_ledger(tmp_path / "out") as ledger:
        assert [step for step, *_ in ledger.answers.steps("grpo")] == [0, 2, 4]


def test_the_page_on_tunix(given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_probes(Path("probes.jsonl"))
    names = {
        "trainer": trainer(given, given.model(), 60),
        "tokenizer": given.tokenizer(),
        "batches": [batch(given)] * 100,
        "reward": lengths,
        "make_cluster": lambda: make_cluster(given),
        "make_learner": make_learner,
        "prompts": PROMPTS,
    }
    for block in page("attach-tunix.md"):
        exec(block, names)
    with open_ledger(Path("audits/mine")) as ledger:
        found = tally(ledger)
    assert list(dict.fromkeys((row.stage, row.step) for row in found.rows)) == [
        ("sft", 50),
        ("sft", 60),
        ("grpo", 0),
        ("grpo", 4),
    ]
    assert Path("audits/mine/report.html").is_file()
    assert Path("audits/mine/rollouts.json").is_file()
