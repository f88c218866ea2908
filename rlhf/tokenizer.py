"""A byte-level BPE tokenizer, trained on the spot.

Special tokens are added by id, never parsed out of text, so that a text that spells one stays text. The pad is
an id of its own: where the pad is the end-of-text token, ends get masked away and models never learn to stop.
"""

import json
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer as _Backend
from tokenizers import models, pre_tokenizers, trainers

_SPECIAL = ("<|pad|>", "<|bos|>", "<|eos|>")
_BYTES = 256


def _byte_alphabet() -> dict[str, int]:
    """The printable stand-ins that byte-level BPE writes its bytes in (the GPT-2 table), inverted."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in kept}
    table |= {chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in kept)}
    return table


class Tokenizer:
    """Text to token ids and back, without loss."""

    pad, bos, eos = range(3)

    def __init__(self, backend: _Backend) -> None:
        self._backend = backend
        alphabet = _byte_alphabet()
        pieces = sorted((i, piece) for piece, i in backend.get_vocab(with_added_tokens=False).items())
        self._bytes = [
            b"" if i < len(_SPECIAL) else bytes(alphabet[letter] for letter in piece) for i, piece in pieces
        ]

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int) -> "Tokenizer":
        """Learn `vocabulary` tokens (three special ones and all 256 bytes included) from `texts`."""
        smallest = len(_SPECIAL) + _BYTES
        if vocabulary < smallest:
            raise ValueError(f"expected a vocabulary of at least {smallest}, got {vocabulary}")
        backend = _Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(_SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        return cls.loads(backend.to_str())

    @classmethod
    def loads(cls, text: str) -> "Tokenizer":
        """Read what `dumps` wrote."""
        data = json.loads(text)
        # As added tokens the special ones would be found inside texts; here they are plain entries.
        data["added_tokens"] = []
        return cls(_Backend.from_str(json.dumps(data)))

    def dumps(self) -> str:
        """The tokenizer as JSON, in the format of the `tokenizers` library."""
        return self._backend.to_str()

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return len(self._bytes)

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
