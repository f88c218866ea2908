"""TRL's trainers with an audit attached: what it sees of them, and that it changes nothing of what they learn."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import pytest
from watched import NAMES, TEXTS, page, write_probes

from memaudit.attach import Rollouts, Watch, summarise
from memaudit.attach.reward import text_of
from memaudit.attach.trl import audit_callback, note_examples, wrap_reward
from memaudit.backends import Question
from memaudit.backends.huggingface import Transformers
from memaudit.documents import open_ledger
from memaudit.errors import BadInput
from memaudit.tally import tally
from reports import Tally
from rlhf import huggingface
from rlhf.model import Decoder, initialise
from rlhf.presets import preset
from rlhf.tokenizer import Tokenizer

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

SHOWN = 4
"""Of `TEXTS`, those that are trained on."""
QUIET: dict[str, Any] = {
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
    "save_strategy": "no",
    "logging_strategy": "no",
    "seed": 5,
}


def libraries(*names: str) -> list[Any]:
    return [importlib.import_module(name) for name in names]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only wait for more."""
    (torch,) = libraries("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True, kw_only=True)
class Given:
    """A tiny model of random weights, and a file of probes."""

    folder: Path

    @property
    def probes(self) -> Path:
        return self.folder / "probes.jsonl"

    def model(self, path: Path | None = None) -> Any:
        (transformers,) = libraries("transformers")
        return transformers.AutoModelForCausalLM.from_pretrained(path or self.folder / "model")

    def tokenizer(self) -> Any:
        (transformers,) = libraries("transformers")
        return transformers.AutoTokenizer.from_pretrained(self.folder / "model")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("given")
    words = Tokenizer.train([prefix + target for prefix, target in TEXTS], 400)
    decoder = Decoder(preset("tiny", words.vocabulary))
    params = initialise(decoder, jax.random.key(1))
    huggingface.write(folder / "model", decoder.config, params, tokenizer=words)
    write_probes(folder / "probes.jsonl")
    return Given(folder=folder)


def sft(given: Given, folder: Path, *, evaluated: bool = False, **options: Any) -> Any:
    trl, datasets = libraries("trl", "datasets")
    rows = [
        {"prompt": prefix, "completion": target, "id": name}
        for name, (prefix, target) in zip(NAMES[:SHOWN], TEXTS, strict=False)
    ]
    settings = {"max_steps": 100, "learning_rate": 1e-2, "warmup_steps": 5, "per_device_train_batch_size": 2}
    return trl.SFTTrainer(
        model=given.model(),
        args=trl.SFTConfig(output_dir=str(folder), **{**QUIET, **settings, **options}),
        train_dataset=datasets.Dataset.from_list(rows),
        eval_dataset=datasets.Dataset.from_list(rows) if evaluated else None,
        processing_class=given.tokenizer(),
    )


def dpo(given: Given, folder: Path, **options: Any) -> Any:
    trl, datasets = libraries("trl", "datasets")
    rows = [
        {"prompt": prefix, "chosen": target, "rejected": "    return None\n", "id": name, "other": "none"}
        for name, (prefix, target) in zip(NAMES[:SHOWN], TEXTS, strict=False)
    ]
    settings = {"max_steps": 12, "learning_rate": 1e-3, "per_device_train_batch_size": 2}
    return trl.DPOTrainer(
        model=given.model(),
        ref_model=given.model(),
        args=trl.DPOConfig(output_dir=str(folder), **{**QUIET, **settings, **options}),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=given.tokenizer(),
    )


def lengths(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    return [float(len(text_of(completion))) for completion in completions]


def grpo(
    given: Given, folder: Path, reward: Callable[..., Any], *, conversation: bool = False, **options: Any
) -> Any:
    trl, datasets = libraries("trl", "datasets")
    tokenizer = given.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    prompts = [[{"role": "user", "content": p}] if conversation else p for p, _ in TEXTS]
    settings = {
        "max_steps": 4,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 8,
    }
    return trl.GRPOTrainer(
        model=given.model(),
        reward_funcs=reward,
        args=trl.GRPOConfig(output_dir=str(folder), **{**QUIET, **settings, **options}),
        train_dataset=datasets.Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        processing_class=tokenizer,
    )


def trained(trainer: Any, **options: Any) -> dict[str, bytes]:
    """The weights after training, bit for bit."""
    trainer.train(**options)
    assert trainer.model.training
    return {name: weight.numpy().tobytes() for name, weight in trainer.model.state_dict().items()}


def read(folder: Path) -> Tally:
    with open_ledger(folder) as ledger:
        return tally(ledger)


def test_sft_is_seen_until_its_texts_come_out_and_learns_the_same(given: Given, tmp_path: Path) -> None:
    alone = sft(given, tmp_path / "alone")
    before = trained(alone)
    watch = Watch(probes=given.probes, out=tmp_path / "out", every=10, levels=("exact", "code"))
    attached = sft(given, tmp_path / "attached", remove_unused_columns=False)
    attached.add_callback(audit_callback(watch, batch=4))
    note_examples(attached, watch, {"target": "id"})
    assert trained(attached) == before
    found = read(tmp_path / "out")
    (passage,) = found.passages
    assert passage.steps == list(range(0, 101, 10))
    assert sum(passage.first_out) == SHOWN
    assert passage.first_out[:2] == [0, 0]
    assert passage.never == len(TEXTS) - SHOWN
    assert {leak.probe for leak in found.leaks} == set(NAMES[:SHOWN])
    assert found.weak_control
    assert found.asked[0].name == str(given.folder / "model")
    assert (tmp_path / "out" / "report.html").is_file()
    with open_ledger(tmp_path / "out") as ledger:
        shown = ledger.shown()
    assert [(name, role) for name, _, _, role, *_ in shown] == [(name, "target") for name in NAMES[:SHOWN]]
    assert sum(times for *_, times, _, _ in shown) == 200
    assert (min(row[-2] for row in shown), max(row[-1] for row in shown)) == (0, 99)


def test_a_training_that_goes_on_from_a_checkpoint_goes_on_with_its_audit(
    given: Given, tmp_path: Path
) -> None:
    options = {"save_strategy": "steps", "save_steps": 8, "remove_unused_columns": False}
    (transformers,) = libraries("transformers")

    class Killed(Exception):
        """Stands for whatever ends a process."""

    class Dies(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 13:
                raise Killed

    def attached(out: Path, folder: Path) -> Any:
        trainer = sft(given, folder, max_steps=20, **options)
        watch = Watch(probes=given.probes, out=out, every=4, levels=("exact",))
        trainer.add_callback(audit_callback(watch))
        note_examples(trainer, watch, {"target": "id"})
        return trainer

    whole = trained(attached(tmp_path / "whole", tmp_path / "one"))
    dying = attached(tmp_path / "parts", tmp_path / "two")
    dying.add_callback(Dies())
    with pytest.raises(Killed):
        dying.train()
    with pytest.raises(BadInput, match="got one that begins"):
        attached(tmp_path / "parts", tmp_path / "two").train()
    again = attached(tmp_path / "parts", tmp_path / "two")
    assert trained(again, resume_from_checkpoint=True) == whole
    answers = []
    for name in ("whole", "parts"):
        with open_ledger(tmp_path / name) as ledger:
            steps = ledger.answers.steps("sft")
            said = [(step, list(ledger.answers.of(number))) for step, number, _ in steps]
            answers.append((said, ledger.shown()))
    assert [step for step, _ in answers[0][0]] == [0, 4, 8, 12, 16, 20]
    assert answers[0] == answers[1]


def test_dpo_follows_in_the_same_audit_and_learns_the_same(given: Given, tmp_path: Path) -> None:
    first = sft(given, tmp_path / "sft", max_steps=4)
    first.add_callback(audit_callback(Watch(probes=given.probes, out=tmp_path / "out", levels=("exact",))))
    first.train()
    before = trained(dpo(given, tmp_path / "alone"))
    watch = Watch(probes=given.probes, out=tmp_path / "out", stage="dpo", levels=("exact",), every=6)
    attached = dpo(given, tmp_path / "attached", remove_unused_columns=False)
    attached.add_callback(audit_callback(watch))
    note_examples(attached, watch, {"preferred": "id", "rejected": "other"})
    assert trained(attached) == before
    found = read(tmp_path / "out")
    assert list(dict.fromkeys((row.stage, row.step) for row in found.rows)) == [
        ("sft", 4),
        ("dpo", 0),
        ("dpo", 6),
        ("dpo", 12),
    ]
    with open_ledger(tmp_path / "out") as ledger:
        assert {(row[2], row[3]) for row in ledger.shown()} == {("dpo", "preferred")}
        assert sum(row[4] for row in ledger.shown()) == 24


@pytest.mark.parametrize("conversation", [False, True])
def test_grpo_is_seen_every_rollout_is_heard_and_it_learns_the_same(
    given: Given, tmp_path: Path, conversation: bool
) -> None:
    before = trained(grpo(given, tmp_path / "alone", lengths, conversation=conversation))
    watch = Watch(probes=given.probes, out=tmp_path / "out", stage="grpo", levels=("exact",), every=2)
    rollouts = Rollouts(probes=given.probes, out=tmp_path / "out", levels=("exact",))
    wrapped = wrap_reward(lengths, rollouts)
    attached = grpo(given, tmp_path / "attached", wrapped, conversation=conversation)
    attached.add_callback(audit_callback(watch))
    assert attached.reward_func_names == ["lengths"]
    assert trained(attached) == before
    found = summarise(tmp_path / "out")
    # Every prompt is that of a probe.
    assert (found.heard, found.prompted.rollouts) == (4 * 8, 4 * 8)
    assert found.steps == (0, 3)
    assert found.near["exact"].rollouts == 0
    assert {(row.stage, row.step) for row in read(tmp_path / "out").rows} == {("grpo", 2), ("grpo", 4)}
    assert (tmp_path / "out" / "rollouts.json").is_file()


def test_zeros_beside_another_reward_change_nothing(given: Given, tmp_path: Path) -> None:
    before = trained(grpo(given, tmp_path / "alone", lengths))
    rollouts = Rollouts(probes=given.probes, out=tmp_path / "out")
    both: Any = [lengths, wrap_reward(None, rollouts)]
    assert trained(grpo(given, tmp_path / "both", both)) == before
    assert summarise(tmp_path / "out").heard == 4 * 8


def test_the_model_that_is_brought_back_is_asked_as_what_it_is(given: Given, tmp_path: Path) -> None:
    trainer = sft(
        given,
        tmp_path / "trainer",
        evaluated=True,
        max_steps=6,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=True,  # the first one then
    )
    trainer.add_callback(audit_callback(Watch(probes=given.probes, out=tmp_path / "out", levels=("exact",))))
    trainer.train()
    assert trainer.state.best_global_step == 2
    backend = Transformers(given.model(tmp_path / "trainer" / "checkpoint-2"), given.tokenizer())
    with open_ledger(tmp_path / "out") as ledger:
        (_, _, _), (step, number, _) = ledger.answers.steps("sft")
        kept = [o.completion for o in ledger.answers.of(number)]
        questions = [
            Question(
                prefix=p.prefix, target=p.target, prefix_tokens=p.prefix_tokens, target_tokens=p.target_tokens
            )
            for p in ledger.probes()
        ]
    assert step == 2
    assert kept == [said.text for said in backend.go_on(questions, [None] * len(questions))]


def test_of_several_processes_one_asks_and_the_batches_of_all_are_noted(given: Given, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__]
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parent), *sys.path]
    done = subprocess.run(
        [*command, str(given.folder), str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with open_ledger(tmp_path / "out") as ledger:
        assert [step for step, *_ in ledger.answers.steps("sft")] == [0, 2, 4]
        # Two processes, two rows each, four steps: each of the four texts once a step.
        assert [row[4:] for row in ledger.shown()] == [(4, 0, 3)] * SHOWN


def test_the_page_on_trl(given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trl, datasets = libraries("trl", "datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name in ("SFTConfig", "GRPOConfig"):
        monkeypatch.setattr(trl, name, partial(getattr(trl, name), **QUIET))
    Path("models").mkdir()
    Path("models/base").symlink_to(given.folder / "model")
    write_probes(Path("probes.jsonl"))
    Path("train.jsonl").write_text("".join(json.dumps({"text": p + t}) + "\n" for p, t in TEXTS))
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p, _ in TEXTS))
    names: dict[str, Any] = {}
    first, second = page("attach-trl.md")
    exec(first, names)
    assert Path("audits/mine/report.html").is_file()
    exec(second, names)
    found = read(Path("audits/mine"))
    assert list(dict.fromkeys((row.stage, row.step) for row in found.rows)) == [
        ("sft", 50),
        ("sft", 100),
        ("grpo", 0),
        ("grpo", 2),
    ]
    heard = json.loads(Path("audits/mine/rollouts.json").read_text())
    assert heard["heard"] == heard["prompted"]["rollouts"] == 2 * 8


def distributed(folder: Path, out: Path) -> None:
    """One of several processes that train together."""
    trainer = sft(
        Given(folder=folder),
        out.with_name("trainer"),
        max_steps=4,
        remove_unused_columns=False,
        ddp_backend="gloo",
    )
    watch = Watch(probes=folder / "probes.jsonl", out=out, every=2, levels=("exact",))
    trainer.add_callback(audit_callback(watch))
    note_examples(trainer, watch, {"target": "id"})
    trainer.train()


def test_a_trainer_that_cannot_be_seen_is_refused_before_it_trains(given: Given, tmp_path: Path) -> None:
    watch = Watch(probes=given.probes, out=tmp_path / "out")
    trainer = sft(given, tmp_path / "trainer")
    with pytest.raises(BadInput, match="remove_unused_columns=False"):
        note_examples(trainer, watch, {"target": "id"})
    with pytest.raises(BadInput, match="expected a column name in the training set"):
        note_examples(trainer, watch, {"target": "name"})
    with pytest.raises(BadInput, match="got one that rolls out"):
        note_examples(grpo(given, tmp_path / "grpo", lengths), watch, {"prompt": "prompt"})
    trainer.add_callback(audit_callback(watch))
    next(trainer.model.parameters()).ds_id = 0
    with pytest.raises(BadInput, match="divided among them"):
        trainer.train()
    assert not (tmp_path / "out").exists()


if __name__ == "__main__":
    distributed(Path(sys.argv[1]), Path(sys.argv[2]))
