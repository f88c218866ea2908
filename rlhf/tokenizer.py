"""A byte-level BPE tokenizer, trained on the spot or read from a Hugging Face folder.

Special tokens are added by id, never parsed out of text, so that a text that spells one stays text. The pad is
an id of its own: where the pad is the end-of-text token, ends get masked away and models never learn to stop.
Text is not normalised either (Qwen2 asks for NFC), so that its bytes come back as they were.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as _Backend
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from rlhf.specials import ROLES, find_roles, settings

_SPECIAL = ("<|pad|>", "<|bos|>", "<|eos|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
_BYTES = 256
_NEVER_IN_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}


def _byte_alphabet() -> dict[str, int]:
    """The printable stand-ins that byte-level BPE writes its bytes in (the GPT-2 table), inverted."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in kept}
    table |= {chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in kept)}
    return table


_ALPHABET = _byte_alphabet()


class Tokenizer:
    """Text to token ids and back, without loss."""

    pad, bos, eos = range(3)
    prefix: int | None
    suffix: int | None
    middle: int | None
    prefix, suffix, middle = range(3, 6)
    """Around the parts of a text whose middle is to be filled in; None in a foreign tokenizer without such tokens."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        """From what `dumps` writes, parsed."""
        self._data = data
        for role in ROLES:
            setattr(self, role, data["roles"][role])
        aside = {token["content"] for token in data["added_tokens"] if self._is_aside(token)}
        model = data["model"]
        vocabulary = {piece: i for piece, i in model["vocab"].items() if piece not in aside}
        merged = {
            merge.replace(" ", "") if isinstance(merge, str) else "".join(merge) for merge in model["merges"]
        }
        if made := sorted(aside & merged):
            raise ValueError(
                f"expected special tokens that no text is made into, got {made[0]!r} among the merges"
            )
        # As added tokens they would be found inside texts.
        plain = {**data, "model": {**model, "vocab": vocabulary}, "added_tokens": []}
        plain |= dict.fromkeys(("normalizer", "post_processor", "truncation", "padding"))
        self._backend = _Backend.from_str(json.dumps(_foreign(plain)))
        self._bytes = [b""] * data["vocabulary"]
        for token in data["added_tokens"]:
            if not self._is_aside(token):
                self._bytes[token["id"]] = _bytes_of(token["content"])
        for piece, i in vocabulary.items():
            self._bytes[i] = _bytes_of(piece)

    def _is_aside(self, token: Mapping[str, Any]) -> bool:
        """Whether an added token stands beside the text, with no bytes of its own."""
        return token["special"] or token["id"] in {getattr(self, role) for role in ROLES}

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int) -> "Tokenizer":
        """Learn `vocabulary` tokens (six special ones and all 256 bytes included) from `texts`."""
        smallest = len(_SPECIAL) + _BYTES
        if vocabulary < smallest:
            raise ValueError(f"expected a vocabulary of at least {smallest}, got {vocabulary}")
        backend = _Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(_SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        # Whoever reads the folder with another library begins texts as the pipeline does.
        backend.post_processor = processors.TemplateProcessing(
            single=f"{_SPECIAL[cls.bos]} $A",
            pair=f"{_SPECIAL[cls.bos]} $A $B:1",
            special_tokens=[(_SPECIAL[cls.bos], cls.bos)],
        )
        size = backend.get_vocab_size()
        roles = {role: getattr(cls, role) for role in ROLES}
        return cls({**json.loads(backend.to_str()), "roles": roles, "vocabulary": size})

    @classmethod
    def loads(cls, text: str) -> "Tokenizer":
        """Read what `dumps` wrote."""
        data = json.loads(text)
        if not isinstance(data, dict) or set(data.get("roles", ())) != set(ROLES):
            raise ValueError(
                f"expected a tokenizer with `roles` {', '.join(ROLES)}, got one without: "
                "a Hugging Face tokenizer is read from its folder by `Tokenizer.read`"
            )
        return cls(data)

    @classmethod
    def read(
        cls,
        folder: str | Path,
        *,
        pad: str | None = None,
        bos: str | None = None,
        eos: str | None = None,
    ) -> "Tokenizer":
        """The byte-level BPE tokenizer of a Hugging Face folder (Llama 3, Qwen2, GLM-4).

        `pad`, `bos` and `eos` name special tokens to use instead of those that the folder's configuration names. A
        pad that is also the beginning or the end gives way to a special token with "pad" in its name; where there is
        none, ValueError asks for one. `vocabulary` is the model's, where the folder has a model: it may have more
        ids than the tokenizer has tokens, and those stand for no bytes.
        """
        folder = Path(folder)
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ValueError(
                f"expected a tokenizer.json in {folder}, got none: convert the tokenizer with transformers"
            )
        data = {"added_tokens": [], **settings(path)}
        _check_lossless(data, path)
        data["add_bos_token"] = settings(folder / "tokenizer_config.json").get("add_bos_token") is True
        roles, vocabulary = find_roles(folder, data, {"pad": pad, "bos": bos, "eos": eos})
        return cls({**data, "roles": roles, "vocabulary": vocabulary})

    def dumps(self) -> str:
        """The tokenizer as JSON, in the format of the `tokenizers` library and with the `roles` of special tokens."""
        return json.dumps(self._data, ensure_ascii=False)

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return len(self._bytes)

    @property
    def opening(self) -> tuple[int, ...]:
        """What every text of this tokenizer begins with: the begin-of-text token, or nothing (Qwen2).

        As its post-processor says, or `add_bos_token` of its configuration.
        """
        whole = self._data.get("post_processor") or {}
        for step in whole.get("processors", [whole]):
            first = next(iter(step.get("single", ())), {})
            if "SpecialToken" in first:
                named = step["special_tokens"][first["SpecialToken"]["id"]]
                return tuple(named["ids"])
        return (self.bos,) if self._data.get("add_bos_token") else ()

    def write(self, folder: str | Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json` as Hugging Face's libraries read them."""
        spelled = {token["id"]: token["content"] for token in self._data["added_tokens"]}
        config = {f"{role}_token": spelled[getattr(self, role)] for role in ("pad", "bos", "eos")}
        config |= {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        for name, content in (("tokenizer.json", _foreign(self._data)), ("tokenizer_config.json", config)):
            text = json.dumps(content, ensure_ascii=False, indent=2)
            (Path(folder) / name).write_text(text + "\n", encoding="utf-8")

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, in parallel."""
        return [e.ids for e in self._backend.encode_batch(list(texts), add_special_tokens=False)]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that `ids` stand for; special tokens stand for none."""
        return b"".join(self._bytes[i] for i in ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")


def _foreign(data: Mapping[str, Any]) -> dict[str, Any]:
    """Without what the `tokenizers` library knows nothing of."""
    return {
        name: value for name, value in data.items() if name not in ("roles", "vocabulary", "add_bos_token")
    }


def _bytes_of(piece: str) -> bytes:
    """What a piece of the vocabulary stands for: its letters are bytes, unless one of them is no such letter."""
    letters = [_ALPHABET.get(letter) for letter in piece]
    return piece.encode() if None in letters else bytes(letter for letter in letters if letter is not None)


def _check_lossless(data: Mapping[str, Any], path: Path) -> None:
    """Refuse what is no byte-level BPE, or one that gives back other bytes than it was given."""

    def refuse(expected: str, got: object) -> None:
        raise ValueError(f"expected {expected} in {path}, got {got}")

    model = data.get("model") or {}
    if model.get("type") != "BPE":
        refuse("a BPE model", f"type {model.get('type')!r}")
    if model.get("byte_fallback"):
        refuse(
            "a byte-level BPE (Llama 3, Qwen2, GLM-4)",
            "one with byte fallback (Llama 2), which adds a blank before texts and reads U+2581 as a blank",
        )
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            refuse(f"no `{name}`", repr(model[name]))
    normalizer = data.get("normalizer")
    if normalizer is not None and normalizer != {"type": "NFC"}:
        refuse("a normalizer that is null or NFC", normalizer.get("type"))
    whole: dict[str, Any] = data.get("pre_tokenizer") or {"type": "null"}
    steps: list[dict[str, Any]] = whole.get("pretokenizers", [whole])
    if steps[-1]["type"] != "ByteLevel":
        refuse("a pre-tokenizer that ends with ByteLevel", steps[-1]["type"])
    for step in steps:
        if step["type"] not in ("Split", "Digits", "ByteLevel") or step.get("behavior") == "Removed":
            refuse("pre-tokenizers that only cut (Split, Digits, ByteLevel)", step)
        if step.get("add_prefix_space"):
            refuse("`add_prefix_space` to be false", "true: it puts a blank before texts")
    wanted = {letter for letter, byte in _ALPHABET.items() if byte not in _NEVER_IN_UTF8}
    if missing := sorted(wanted - set(model.get("vocab", ()))):
        refuse("a token for each byte of UTF-8", f"none for byte {_ALPHABET[missing[0]]}")
