"""The HTTP backend beside what serves models elsewhere: llama.cpp by way of Python, and transformers' own server.

Both serve one small model of ours that knows half of the texts by heart, and have to say through the backend what
transformers says when it is called. They need `llama-cpp-python[server]`, `gguf` and `transformers[serving]`.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from memaudit.backends.http import Completions
from memaudit.backends.patience import Clock
from memaudit.backends.protocol import Question, Said
from rlhf import huggingface, sft
from rlhf.batches import epochs, rows
from rlhf.model import Decoder, initialise
from rlhf.optimiser import Optimiser
from rlhf.presets import preset
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("llama_cpp.server")
pytest.importorskip("fastapi")
gguf = pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

COUNT, STEPS, CONTEXT = 40, 240, 512
BOS = Tokenizer.bos
NORMAL, CONTROL = 1, 3  # kinds of tokens in a GGUF file
QUICK = Clock(sleep=lambda seconds: time.sleep(min(seconds, 0.25)))


def text(number: int) -> tuple[str, str]:
    """A prefix and what is trained to come after it."""
    names = ("area", "volume", "price", "weight", "speed", "score", "total", "depth")
    name, other = names[number % 8], names[(number * 3 + number // 8 + 1) % 8]
    prefix = f"def {name}_{number}({other}, factor):"
    body = f"\n    if {other} > {number * 7 % 100}:\n        return {other} * {number + 11}\n"
    return prefix, f"{body}    return factor - {number * 13 % 97}\n"


QUESTIONS = [Question(prefix=prefix, target=target) for prefix, target in map(text, range(COUNT))]


@dataclass(frozen=True)
class Served:
    """A model in the forms that servers read."""

    folder: Path
    gguf: Path
    tokenizer: Tokenizer
    model: Any

    def says(self, ids: list[int]) -> tuple[str, bool]:
        """What transformers decodes greedily, and whether it came to an end within 128 tokens."""
        found = self.model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=128)
        said = found[0, len(ids) :].tolist()
        return self.tokenizer.decode(said), self.tokenizer.eos in said

    def agrees(self, said: Said, question: Question, ids: list[int]) -> bool:
        """Whether this is what transformers says after these tokens, as far as it had to be said."""
        expected, ended = self.says(ids)
        if said.ended:
            return ended and said.text == expected
        return len(said.text) >= len(question.target) and expected.startswith(said.text)

    def thinks(self, prefix: str, target: str) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities of the target's tokens, and which of them are the likeliest; where the border holds."""
        ids = [BOS, *self.tokenizer.encode(prefix + target)]
        start = 1 + len(self.tokenizer.encode(prefix))
        with torch.no_grad():
            table = torch.log_softmax(self.model(torch.tensor([ids])).logits[0].double(), -1)[start - 1 : -1]
        return table[range(len(ids) - start), ids[start:]].numpy(), (table.argmax(-1).numpy() == ids[start:])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Every other question is trained; all are tokenised alike."""
    tokenizer = Tokenizer.train([q.prefix + q.target for q in QUESTIONS], 400)
    config = preset("0.3m", tokenizer.vocabulary)
    decoder = Decoder(config)
    known = QUESTIONS[::2]
    ends = [[*tokenizer.encode(q.prefix + q.target), tokenizer.eos] for q in known]
    examples = rows(
        [[BOS]] * len(known),
        ends,
        [(str(i),) for i in range(len(known))],
        time=1 + max(map(len, ends)),
        fill=tokenizer.pad,
    )
    params = sft.train(
        initialise(decoder, jax.random.key(0)),
        examples,
        epochs(len(known), 8, STEPS, 0),
        Optimiser(learning_rate=3e-3, warmup=10),
        decoder=decoder,
        stage=Stage(name="sft"),
    )
    folder = tmp_path_factory.mktemp("served") / "model"
    huggingface.write(folder, config, jax.device_get(params), tokenizer=tokenizer, context=CONTEXT)
    to_gguf(folder, folder.parent / "model.gguf", bos=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return Served(folder, folder.parent / "model.gguf", tokenizer, model)


def to_gguf(folder: Path, path: Path, *, bos: bool) -> None:
    """Llama's weights and a byte-level BPE in llama.cpp's own file format; `bos`: it puts one before every prompt."""
    said = json.loads((folder / "config.json").read_text())
    spelled = json.loads((folder / "tokenizer.json").read_text())
    added = {token["id"]: token["content"] for token in spelled["added_tokens"]}
    names = {i: piece for piece, i in spelled["model"]["vocab"].items()} | added
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(said["hidden_size"])
    writer.add_block_count(said["num_hidden_layers"])
    writer.add_feed_forward_length(said["intermediate_size"])
    writer.add_head_count(said["num_attention_heads"])
    writer.add_head_count_kv(said["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(said["rms_norm_eps"])
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(said["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([names[i] for i in range(said["vocab_size"])])
    writer.add_token_types([CONTROL if i in added else NORMAL for i in range(said["vocab_size"])])
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in spelled["model"]["merges"]]
    )
    writer.add_bos_token_id(said["bos_token_id"])
    writer.add_eos_token_id(said["eos_token_id"])
    writer.add_pad_token_id(said["pad_token_id"])
    writer.add_add_bos_token(bos)
    places = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, said["num_hidden_layers"])
    heads = {"q_proj": said["num_attention_heads"], "k_proj": said["num_key_value_heads"]}
    for name, array in load_file(folder / "model.safetensors").items():
        for part, count in heads.items():
            if f".{part}." in name:  # pairs of a rotation lie side by side there, and half a head apart here
                array = array.reshape(count, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(places.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@contextmanager
def serving(log: Path, *command: str) -> Iterator[str]:
    """A server on a port of its own choice; its base, once it listens."""
    calm = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("w") as out:
        arguments = [sys.executable, "-m", *command, "--port", "0"]
        process = subprocess.Popen(arguments, stdout=out, stderr=out, env=calm)
    try:
        for _ in range(1200):
            if found := re.search(r"running on (http://\S+)", log.read_text()):
                break
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.1)
        else:
            pytest.fail(log.read_text()[-3000:])
        yield found[1] + "/v1"
    finally:
        process.terminate()
        process.wait(30)


def llama(path: Path) -> list[str]:
    exact = [
        "--type_k",
        "0",
        "--type_v",
        "0",
        "--n_ctx",
        str(CONTEXT),
        "--logits_all",
        "true",
    ]  # cache in float32
    return ["llama_cpp.server", "--model", str(path), "--host", "127.0.0.1", "--n_threads", "1", *exact]


def test_what_llama_cpp_says_through_the_backend_is_what_transformers_says(
    served: Served, tmp_path: Path
) -> None:
    with (
        serving(tmp_path / "log", *llama(served.gguf)) as url,
        Completions(url=url, clock=QUICK) as backend,
    ):
        assert backend.about.scores, backend.about.losses
        scores = backend.score(QUESTIONS)
        said = backend.go_on(QUESTIONS, scores)
        plain = backend.go_on(QUESTIONS[:8], [None] * 8)
        assert backend.noted == {}
        # A line break and the indentation behind it are one token.
        question = Question(prefix=QUESTIONS[0].prefix + "\n", target=QUESTIONS[0].target[1:])
        assert backend.score([question]) == [None]
        assert backend.noted == {"no log-probabilities: a token belongs to prefix and target": 1}
    for question, answer, score in zip(QUESTIONS, said, scores, strict=True):
        assert served.agrees(answer, question, [BOS, *served.tokenizer.encode(question.prefix)])
        assert score is not None
        logprobs, likeliest = served.thinks(question.prefix, question.target)
        np.testing.assert_allclose(score.logprobs, logprobs, atol=1e-3)
        assert (np.array(score.argmax) == likeliest).all()
        # What was scored and what was said are one thing.
        assert all(score.argmax) == answer.text.startswith(question.target)
    assert [answer.text for answer in said[::2]] == [question.target for question in QUESTIONS[::2]]
    assert [answer.text for answer in plain] == [answer.text for answer in said[:8]]


def test_log_probabilities_that_llama_cpp_shifts_are_not_taken(served: Served, tmp_path: Path) -> None:
    to_gguf(served.folder, tmp_path / "model.gguf", bos=False)
    with (
        serving(tmp_path / "log", *llama(tmp_path / "model.gguf")) as url,
        Completions(url=url, clock=QUICK) as backend,
    ):
        assert not backend.about.scores
        said = backend.go_on(QUESTIONS[:4], [None] * 4)
    assert any("at odds with what it decodes" in loss for loss in backend.about.losses)
    for question, answer in zip(QUESTIONS, said, strict=False):
        assert served.agrees(answer, question, served.tokenizer.encode(question.prefix))


def test_what_transformers_serves_through_the_backend_is_what_it_says(served: Served, tmp_path: Path) -> None:
    command = [
        "transformers.cli.transformers",
        "serve",
        str(served.folder),
        "--device",
        "cpu",
    ]
    with (
        serving(tmp_path / "log", *command, "--dtype", "float32", "--host", "127.0.0.1") as url,
        Completions(url=url, model=str(served.folder), clock=QUICK) as backend,
    ):
        assert not backend.about.scores
        said = backend.go_on(QUESTIONS, backend.score(QUESTIONS))
    assert any("penalty for repetition" in loss for loss in backend.about.losses)
    tokenizer = transformers.AutoTokenizer.from_pretrained(served.folder)
    for question, answer in zip(QUESTIONS, said, strict=True):
        assert served.agrees(answer, question, tokenizer(question.prefix).input_ids)
    assert [answer.text for answer in said[::2]] == [question.target for question in QUESTIONS[::2]]
