"""Models of Hugging Face transformers: a folder on disk, or one that is alive in somebody's trainer.

torch and transformers are the extra `hf` and are imported where they are needed. What a folder holds is not trusted:
nothing is fetched, no code of it is run, and pickled weights are not opened.
"""

import importlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from memaudit.backends.folder import BRIEF, files_of, identity_of
from memaudit.backends.likelihood import likelihood
from memaudit.backends.protocol import About, Question, Said, budget
from memaudit.errors import BadInput
from memaudit.records import Scores
from memaudit.sources import printable
from rlhf.sampling import Sampler

_LOGITS_AT_ONCE = 2**24  # float32: 64 MiB, and a handful of tables of that size
_MARKS = ("\n", "x", ")", "=")  # behind which a text is one inside another


class Transformers:
    """A causal language model and its tokenizer. While it is asked it is in eval mode, and it is left as it was."""

    parallel = 1  # calls would disturb each other's modes

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        batch: int = 16,
        samplers: Sequence[Sampler] = (),
        name: str = "live",
        identity: str = "live",
    ) -> None:
        """`model` stays on its device and in its dtype; PEFT's wrappers are models too.

        Of every sampler, the log-probability that it draws the target belongs to the scores. `name` and `identity` are
        what `about` says.
        """
        self._transformers = _library("transformers")
        self._torch = _library("torch")
        self._model, self._words = model, Words(tokenizer)
        self.batch = batch
        self._samplers = tuple(samplers)
        self._name, self._identity = name, identity
        text = model.config.get_text_config()
        self._context: float = getattr(text, "max_position_embeddings", None) or math.inf
        self._vocabulary: int = text.vocab_size
        self._ends = _ends(model, tokenizer)
        # A wrapper's own signature says nothing of what it passes on.
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._takes = frozenset(inspect.signature(inner.forward).parameters)

    @property
    def about(self) -> About:
        """What is to be known of it."""
        exact = self._model.device.type == "cpu" or self._torch.are_deterministic_algorithms_enabled()
        return About(
            kind="transformers", name=self._name, identity=self._identity, deterministic=exact, scores=True
        )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text as it stands inside another, without special ones around it.

        A text that spells a special token is read as that token, as the library does everywhere: a prompt to fill in
        the middle has its marks so.
        """
        return self._words.encode(texts)

    def score(self, questions: Sequence[Question]) -> list[Scores | None]:
        """One teacher-forced pass over each prefix and target, in float32 from the logits on.

        Raises BadInput where a question does not fit into the model, or the model's logits are no numbers.
        """
        prompts = [self._prompt(question) for question in questions]
        found: list[Scores | None] = [None] * len(questions)
        with self._asked():
            for part in self._parts(prompts, [0] * len(prompts), range(len(prompts))):
                targets = [questions[i].target_tokens for i in part]
                width = max(map(len, targets))
                logits = self._logits([prompts[i] for i in part], targets, width)
                for row, (index, target) in enumerate(zip(part, targets, strict=True)):
                    found[index] = self._scores(logits[row, : len(target)], target)
        return found

    def go_on(self, questions: Sequence[Question], scores: Sequence[Scores | None]) -> list[Said]:
        """Decode each prefix greedily, up to the budget of its target.

        Where scores are given it is decoded from where the model leaves the target: up to there, the target is what
        it says. Raises BadInput where a question does not fit into the model.
        """
        said = [self._agreed(q, s) for q, s in zip(questions, scores, strict=True)]
        starts = [self._prompt(q) + tokens for q, tokens in zip(questions, said, strict=True)]
        budgets = [budget(len(q.target_tokens)) for q in questions]
        left = [size - len(tokens) for size, tokens in zip(budgets, said, strict=True)]
        with self._asked():
            for part in self._parts(starts, left, [row for row, more in enumerate(left) if more]):
                decoded = self._decode([starts[i] for i in part], max(left[i] for i in part))
                for index, tokens in zip(part, decoded, strict=True):
                    said[index] += tokens
        return [self._said(tokens[:size]) for tokens, size in zip(said, budgets, strict=True)]

    def _prompt(self, question: Question) -> list[int]:
        prompt = self._words.open(question.prefix, question.prefix_tokens)
        size = len(prompt) + budget(len(question.target_tokens))
        if size > self._context:
            raise BadInput(
                f"expected a prompt and the budget of its target to be at most {self._context} tokens together, the "
                f"context of {self._name}, got {len(prompt)} and {size - len(prompt)}: set shorter prefixes or targets"
            )
        if (highest := max([*prompt, *question.target_tokens])) >= self._vocabulary:
            raise BadInput(
                f"expected tokens below {self._vocabulary}, the vocabulary of {self._name}, got {highest}: "
                "set the tokenizer that belongs to the model"
            )
        return prompt

    def _agreed(self, question: Question, scores: Scores | None) -> list[int]:
        """The target's tokens that greedy decoding says too, as far as a pass has told."""
        hits = scores.argmax if scores else ()
        return [token for token, _ in zip(question.target_tokens, takewhile(bool, hits), strict=False)]

    def _said(self, tokens: Sequence[int]) -> Said:
        said = list(takewhile(lambda token: token not in self._ends, tokens))
        return Said(text=self._words.decode(said), ended=len(said) < len(tokens))

    def _parts(
        self, starts: Sequence[Sequence[int]], left: Sequence[int], rows: Sequence[int]
    ) -> Iterator[list[int]]:
        """Which rows go together: those with as much left to say, and of those the ones of about one length.

        A row that has ended goes on as padding, at ever higher positions, until the last of its part has: no part may
        be such that one of its rows is brought beyond the model's context by that.
        """
        part: list[int] = []
        for row in sorted(rows, key=lambda i: (left[i], len(starts[i]))):
            longest = max(len(starts[i]) for i in [*part, row])
            if part and (len(part) == self.batch or longest + left[row] > self._context):
                yield part
                part = []
            part.append(row)
        if part:
            yield part

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """In eval mode, without gradients, and without the generation settings that came with the model.

        Those fill up whatever a call leaves open: penalties, forced and suppressed tokens, and whatever else comes up.
        """
        modes = [(module, module.training) for module in self._model.modules()]
        defaults = [
            (module, module.generation_config) for module, _ in modes if "generation_config" in vars(module)
        ]
        self._model.eval()
        for module, _ in defaults:
            module.generation_config = self._transformers.GenerationConfig()
        try:
            with self._torch.inference_mode():
                yield
        finally:
            for module, mode in modes:
                module.training = mode
            for module, own in defaults:
                module.generation_config = own

    def _table(self, before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Rows that all meet at one column: `before` is padded on the left, `after` on the right."""
        starts, ends = max(map(len, before)), max(map(len, after))
        rows, masks = [], []
        for left, right in zip(before, after, strict=True):
            pads = [0] * (starts - len(left)), [0] * (ends - len(right))
            rows.append([*pads[0], *left, *right, *pads[1]])
            masks.append([*pads[0], *[1] * (len(left) + len(right)), *pads[1]])
        device = self._model.device
        return {
            "input_ids": self._torch.tensor(rows, device=device),
            "attention_mask": self._torch.tensor(masks, device=device),
        }

    def _logits(self, prompts: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], width: int) -> Any:
        """Logits ``[batch, width, vocabulary]`` of the targets' tokens, in the model's dtype."""
        table = {name: tensor[:, :-1] for name, tensor in self._table(prompts, targets).items()}
        if "position_ids" in self._takes:
            # Pads have no place of their own, and one that exists.
            table["position_ids"] = (table["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        if "logits_to_keep" in self._takes:
            table["logits_to_keep"] = width
        return self._model(**table, use_cache=False).logits[:, -width:]

    def _scores(self, logits: Any, target: Sequence[int]) -> Scores:
        """From the logits ``[n, vocabulary]`` of a target's n tokens."""
        rows = max(1, _LOGITS_AT_ONCE // logits.shape[-1])
        wanted = self._torch.tensor(target, device=logits.device)
        parts = [
            likelihood(some.float(), tokens, self._samplers)
            for some, tokens in zip(logits.split(rows), wanted.split(rows), strict=True)
        ]
        logprobs, argmax, entropies, deviations, *drawn = (
            [value for values in column for value in values.tolist()] for column in zip(*parts, strict=True)
        )
        if any(map(math.isnan, logprobs)):
            raise BadInput(
                f"expected numbers as logits of {self._name}, got NaN: load it in another dtype than "
                f"{str(self._model.dtype).removeprefix('torch.')}"
            )
        return Scores(
            logprobs=tuple(round(value, 6) for value in logprobs),
            argmax=tuple(argmax),
            entropies=tuple(round(value, 6) for value in entropies),
            deviations=tuple(round(value, 6) for value in deviations),
            sampled={
                sampler.name: round(math.fsum(values), 6)
                for sampler, values in zip(self._samplers, drawn, strict=True)
            },
        )

    def _decode(self, starts: Sequence[Sequence[int]], more: int) -> list[list[int]]:
        """Up to `more` tokens of each row; what stands behind an end of text means nothing."""
        table = self._table(starts, [()] * len(starts))
        greedy = self._transformers.GenerationConfig(
            max_new_tokens=more,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            eos_token_id=sorted(self._ends) or None,
            pad_token_id=0,
        )
        said = self._model.generate(**table, generation_config=greedy)
        return said[:, table["input_ids"].shape[1] :].tolist()


class Words:
    """A tokenizer whose texts can be put together.

    Some put a blank before every text and take it off what they decode: right at the start of a file, and wrong behind
    a prefix. So a text is encoded and decoded behind a mark where that makes a difference, and the mark is cut off.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        (bare,) = self._plain(["x"])
        whole = list(tokenizer("x", verbose=False)["input_ids"])
        places = (at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
        self._opening = whole[: next(places, 0)]
        """What the tokenizer puts before a text by itself: the begin-of-text token, or nothing."""
        self._mark, self._marked = bare, self._text(bare)
        self._joins = self.decode(bare) == "x"

    def open(self, prefix: str, tokens: Sequence[int]) -> list[int]:
        """A prefix with what the tokenizer puts before a text."""
        return [*self._opening, *(tokens if self._joins else self._plain([prefix])[0])]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text as they are inside of one."""
        found = self._plain(texts)
        if self._joins:
            return found
        behind = range(len(texts))
        for mark in _MARKS:
            (own,) = self._plain([mark])
            marked = self._plain([mark + texts[i] for i in behind])
            behind, tried = [], behind
            for i, tokens in zip(tried, marked, strict=True):
                if tokens[: len(own)] == own:
                    found[i] = tokens[len(own) :]
                else:  # a token goes across: another mark
                    behind.append(i)
        return found

    def decode(self, tokens: Sequence[int]) -> str:
        """Their text, as it is inside of one."""
        return self._text([*self._mark, *tokens])[len(self._marked) :]

    def _text(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        found = self._tokenizer(
            list(texts), add_special_tokens=False, padding=False, truncation=False, verbose=False
        )
        return [list(tokens) for tokens in found["input_ids"]]


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a text: the model's, or else the tokenizer's."""
    for keeper in (getattr(model, "generation_config", None), model.config.get_text_config(), tokenizer):
        ends = getattr(keeper, "eos_token_id", None)
        if ends is not None:
            return frozenset([ends] if isinstance(ends, int) else ends)
    return frozenset()


def read(
    folder: str | Path, *, batch: int, samplers: Sequence[Sampler], device: str | None = None
) -> Transformers:
    """The model of a folder, in the dtype it is kept in, on `device`: a GPU if there is one, if that is None.

    Raises BadInput, which names the folder and what is missing, where it is no model or a library is missing.
    """
    folder = Path(folder)
    name = printable(str(folder))
    files = files_of(folder)
    torch, transformers = _library("torch"), _library("transformers")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"expected a device that torch has, got {device!r}: set cpu") from error
    where: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    path = str(folder.absolute())
    tokenizer = _loaded(name, "tokenizer", lambda: transformers.AutoTokenizer.from_pretrained(path, **where))
    model, told = _loaded(
        name,
        "causal language model",
        lambda: transformers.AutoModelForCausalLM.from_pretrained(
            path, use_safetensors=True, dtype="auto", output_loading_info=True, **where
        ),
    )
    if told["missing_keys"]:
        raise BadInput(
            f"expected all weights of {type(model).__name__} in {name}, got none for "
            f"{printable(min(told['missing_keys']))}: it would be random"
        )
    return Transformers(
        model.to(device), tokenizer, batch=batch, samplers=samplers, name=name, identity=identity_of(files)
    )


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BadInput(
            f"expected {name}, which models of transformers need, got no such library: pip install 'memaudit[hf]'"
        ) from error


def _loaded(name: str, what: str, load: Callable[[], Any]) -> Any:
    """What the library makes of a folder; its many kinds of error as one."""
    try:
        return load()
    except MemoryError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise BadInput(
            f"expected a {what} that transformers loads without code of its own in {name}, got: "
            f"{printable(lines[0])[:BRIEF]}"
        ) from error
