"""Bytes in, bytes out, and special tokens only where they were put."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rlhf.tokenizer import Tokenizer

SPECIAL = ["<|pad|>", "<|bos|>", "<|eos|>"]
CORPUS = [
    "def add(a, b):\n    return a + b\n",
    "class Ünïcode:\n\tname = '名前 😀'\n",
    "for i in range(10):\r\n    print(i, '<|eos|>')\n",
    " ".join(SPECIAL) * 20,
    "".join(SPECIAL) * 20,
] * 5

spelled = st.lists(st.one_of(st.text(max_size=8), st.sampled_from([*SPECIAL, "<|", "|>", "eos"]))).map(
    "".join
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(CORPUS, 300)


@given(spelled)
@example("")
@example("\x00")
@example("<|eos|>")
@example("<|pad|><|bos|> <|eos|>\x00\r\n\t \u2028\ufeff\ufffd")
@example("e\u0301\U0001f468\u200d\U0001f469 \U0010ffff")
def test_text_comes_back_without_loss_or_special_tokens(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert tokenizer.decode(ids) == text
    assert not {tokenizer.pad, tokenizer.bos, tokenizer.eos} & set(ids)
    assert all(0 <= i < tokenizer.vocabulary for i in ids)


@given(st.lists(spelled, max_size=5))
def test_a_batch_is_encoded_text_by_text(tokenizer: Tokenizer, texts: list[str]) -> None:
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


@given(st.lists(st.integers(0, 299), max_size=12), st.lists(st.integers(0, 299), max_size=12))
def test_bytes_of_tokens_are_laid_end_to_end(tokenizer: Tokenizer, left: list[int], right: list[int]) -> None:
    """Any ids, also those that cut a character in two: no byte depends on its neighbours."""
    assert tokenizer.vocabulary == 300
    whole = tokenizer.decode_bytes(left + right)
    assert whole == tokenizer.decode_bytes(left) + tokenizer.decode_bytes(right)
    assert tokenizer.decode(left + right) == whole.decode("utf-8", errors="replace")


def test_every_byte_has_a_token_and_special_ones_have_no_bytes(tokenizer: Tokenizer) -> None:
    assert len({tokenizer.pad, tokenizer.bos, tokenizer.eos}) == 3
    assert tokenizer.decode_bytes([tokenizer.pad, tokenizer.bos, tokenizer.eos]) == b""
    singles = [tokenizer.decode_bytes([i]) for i in range(tokenizer.vocabulary)]
    assert {bytes([b]) for b in range(256)} <= set(singles)
    assert len(set(singles)) == tokenizer.vocabulary - 2  # the three special ones are one empty string


def test_merges_shorten_what_was_often_seen(tokenizer: Tokenizer) -> None:
    text = CORPUS[0]
    assert len(tokenizer.encode(text)) < 0.8 * len(text.encode())


@given(spelled)
def test_dumps_and_loads_round_trip(tokenizer: Tokenizer, loaded: Tokenizer, text: str) -> None:
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.decode_bytes(loaded.encode(text)) == text.encode()


@pytest.fixture(scope="module")
def loaded(tokenizer: Tokenizer) -> Tokenizer:
    back = Tokenizer.loads(tokenizer.dumps())
    assert back.dumps() == tokenizer.dumps()
    assert back.vocabulary == tokenizer.vocabulary
    return back


def test_training_is_deterministic(tokenizer: Tokenizer) -> None:
    assert all(Tokenizer.train(CORPUS, 300).dumps() == tokenizer.dumps() for _ in range(3))
    assert Tokenizer.train(iter(CORPUS), 300).dumps() == tokenizer.dumps()


def test_a_vocabulary_without_room_for_all_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 259, got 258"):
        Tokenizer.train(CORPUS, 258)
    bytes_only = Tokenizer.train(CORPUS, 259)
    assert bytes_only.vocabulary == 259
    assert len(bytes_only.encode(CORPUS[1])) == len(CORPUS[1].encode())
