"""Bytes in, bytes out, and special tokens only where they were put."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from rlhf.tokenizer import Tokenizer

SPECIAL = ["<|pad|>", "<|bos|>", "<|eos|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]
IDS = [0, 1, 2, 3, 4, 5]
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
    assert not set(IDS) & set(ids)
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
    roles = (
        tokenizer.pad,
        tokenizer.bos,
        tokenizer.eos,
        tokenizer.prefix,
        tokenizer.suffix,
        tokenizer.middle,
    )
    assert list(roles) == IDS
    assert tokenizer.decode_bytes(IDS) == b""
    singles = [tokenizer.decode_bytes([i]) for i in range(tokenizer.vocabulary)]
    assert {bytes([b]) for b in range(256)} <= set(singles)
    assert len(set(singles)) == tokenizer.vocabulary - 5  # the six special ones are one empty string


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
    with pytest.raises(ValueError, match="at least 262, got 261"):
        Tokenizer.train(CORPUS, 261)
    bytes_only = Tokenizer.train(CORPUS, 262)
    assert bytes_only.vocabulary == 262
    assert len(bytes_only.encode(CORPUS[1])) == len(CORPUS[1].encode())


def test_dumps_without_roles_are_refused(tokenizer: Tokenizer) -> None:
    data = json.loads(tokenizer.dumps())
    del data["roles"]
    with pytest.raises(ValueError, match=r"`roles`.*Tokenizer\.read"):
        Tokenizer.loads(json.dumps(data))


# --- tokenizers of others

QWEN = [
    "<|endoftext|>",
    "<|im_end|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<tool call>",
]
PATTERN = "|".join(
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


def lay_out(
    folder: Path, change: Callable[[dict[str, Any]], object] = lambda data: None, **files: Any
) -> Path:
    """A folder like Qwen2's: special tokens behind the vocabulary, text cut by a pattern, NFC, one token of text."""
    backend = Backend(models.BPE(ignore_merges=True))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_tokens([AddedToken(name, special=name.endswith("|>"), normalized=False) for name in QWEN])
    backend.enable_truncation(5)
    backend.enable_padding(length=9)
    data = json.loads(backend.to_str())
    change(data)
    folder.mkdir(exist_ok=True)
    contents = {
        "tokenizer": data,
        "tokenizer_config": {"eos_token": "<|im_end|>", "bos_token": None},
        **files,
    }
    contents.setdefault("config", {"vocab_size": 320, "bos_token_id": 300})
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.read(lay_out(tmp_path_factory.mktemp("theirs")))


foreign_text = st.lists(
    st.one_of(st.text(max_size=8), st.sampled_from([*QWEN, "<|", "|>", " def", "1234"]))
).map("".join)


@given(foreign_text)
@example("<|endoftext|><|fim_prefix|><tool call>")
@example("e\u0301 \u212b")
@example(" \u2581 leading\u2581")
def test_foreign_text_comes_back_without_loss_or_special_tokens(theirs: Tokenizer, text: str) -> None:
    """Whatever it spells, however long it is, composed or not."""
    ids = theirs.encode(text)
    assert theirs.decode_bytes(ids) == text.encode()
    assert all(0 <= i < 300 for i in ids)
    assert theirs.encode_batch([text, ""]) == [ids, []]


@given(st.lists(st.integers(0, 319), max_size=12), st.lists(st.integers(0, 319), max_size=12))
def test_bytes_of_foreign_tokens_are_laid_end_to_end(
    theirs: Tokenizer, left: list[int], right: list[int]
) -> None:
    """Also of ids that the model has and the tokenizer has not."""
    assert theirs.vocabulary == 320
    assert theirs.decode_bytes(left + right) == theirs.decode_bytes(left) + theirs.decode_bytes(right)


def test_foreign_special_tokens_are_found(theirs: Tokenizer) -> None:
    """The pad is the unused one with "pad" in its name; only the token that is no special one stands for text."""
    assert (theirs.bos, theirs.eos, theirs.pad) == (300, 301, 305)
    assert (theirs.prefix, theirs.middle, theirs.suffix) == (302, 303, 304)
    assert theirs.decode_bytes(range(300, 320)) == b"<tool call>"
    back = Tokenizer.loads(theirs.dumps())
    assert back.dumps() == theirs.dumps()
    assert (back.pad, back.suffix, back.vocabulary) == (305, 304, 320)
    assert Tokenizer.pad == 0  # the class is as it was


@pytest.mark.parametrize(
    ("files", "roles"),
    [
        (  # ids of generation_config.json go before those of config.json, and names before ids
            {
                "tokenizer_config": {},
                "generation_config": {"eos_token_id": [301]},
                "config": {"bos_token_id": 300, "eos_token_id": 306},
            },
            (305, 300, 301),
        ),
        (
            {"tokenizer_config": {"eos_token": {"content": "<|im_end|>"}, "pad_token": "<tool call>"}},
            (306, 300, 301),
        ),
        ({"tokenizer_config": {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}}, (305, 300, 300)),
        ({"tokenizer_config": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}}, (305, 300, 301)),
    ],
)
def test_special_tokens_are_found_where_they_are_said(
    tmp_path: Path, files: dict[str, Any], roles: tuple[int, int, int]
) -> None:
    found = Tokenizer.read(lay_out(tmp_path, **files))
    assert (found.pad, found.bos, found.eos) == roles


def test_special_tokens_may_be_chosen(tmp_path: Path) -> None:
    lay_out(tmp_path, tokenizer_config={}, config={})
    found = Tokenizer.read(tmp_path, bos="<|im_end|>", eos="<|endoftext|>", pad="<tool call>")
    assert (found.pad, found.bos, found.eos) == (306, 301, 300)
    assert found.decode_bytes([306]) == b""  # a pad stands for nothing
    assert found.vocabulary == 307


def without_pad(data: dict[str, Any]) -> None:
    for token in data["added_tokens"]:
        token["content"] = token["content"].replace("<|fim_", "<|reserved_")
        token["content"] = token["content"].replace("reserved_pad", "reserved_9")


def test_a_pad_that_is_the_end_is_refused_and_the_way_out_named(tmp_path: Path) -> None:
    both = {"eos_token": "<|endoftext|>", "bos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    lay_out(tmp_path, without_pad, tokenizer_config=both)
    with pytest.raises(ValueError, match=r"'<\|endoftext\|>' for both: set `pad` .*'<\|reserved_prefix\|>'"):
        Tokenizer.read(tmp_path)
    with pytest.raises(ValueError, match=r"neither `bos` nor `eos`, got '<\|im_end\|>'"):
        Tokenizer.read(tmp_path, pad="<|im_end|>")
    found = Tokenizer.read(tmp_path, pad="<|reserved_9|>")
    assert found.pad == 305
    assert (found.prefix, found.suffix, found.middle) == (None, None, None)
    lay_out(tmp_path, without_pad, tokenizer_config={**both, "pad_token": None})
    with pytest.raises(ValueError, match="got no pad token: set `pad`"):
        Tokenizer.read(tmp_path)
    lay_out(tmp_path, tokenizer_config={"eos_token": "<|fim_pad|>", "pad_token": "<|fim_pad|>"})
    with pytest.raises(ValueError, match=r"'<\|fim_pad\|>' for both: set `pad`"):
        Tokenizer.read(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config": {}}, r"name its `bos` token, got none: set `bos` to one of '<\|endoftext\|>'"),
        ({"tokenizer_config": {}}, r"name its `eos` token, got none"),
        (
            {"tokenizer_config": {"eos_token": "<eos>"}},
            r"`eos` to name a token of .*tokenizer\.json, got '<eos>'",
        ),
        (
            {"tokenizer_config": {}, "generation_config": {"eos_token_id": [300, 301]}},
            r"one `eos` token in .*, got '<\|endoftext\|>', '<\|im_end\|>': set `eos`",
        ),
        ({"config": {"bos_token_id": 999}}, r"special tokens below 307 in .*'bos': 999"),
    ],
)
def test_special_tokens_that_are_not_clear_are_refused(
    tmp_path: Path, files: dict[str, Any], message: str
) -> None:
    lay_out(tmp_path, **files)
    with pytest.raises(ValueError, match=message):
        Tokenizer.read(tmp_path)


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return change


def _spell_a_special_token_by_merges(data: dict[str, Any]) -> None:
    merge = data["model"]["merges"][0]
    data["added_tokens"][0]["content"] = "".join(merge)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("model", "byte_fallback", to=True), r"byte-level BPE .*byte fallback \(Llama 2\)"),
        (_set("model", "type", to="Unigram"), "a BPE model in .*'Unigram'"),
        (_set("model", "dropout", to=0.1), r"no `dropout` in .*, got 0\.1"),
        (_set("model", "end_of_word_suffix", to="</w>"), "no `end_of_word_suffix`"),
        (_set("normalizer", to={"type": "Lowercase"}), "null or NFC in .*, got Lowercase"),
        (_set("pre_tokenizer", to=None), "ends with ByteLevel in .*, got null"),
        (_set("pre_tokenizer", to={"type": "Whitespace"}), "ends with ByteLevel in .*, got Whitespace"),
        (_set("pre_tokenizer", "pretokenizers", 0, "behavior", to="Removed"), "only cut"),
        (
            _set("pre_tokenizer", "pretokenizers", 1, "add_prefix_space", to=True),
            "`add_prefix_space` to be false",
        ),
        (
            lambda data: data["model"]["vocab"].pop("A"),
            "a token for each byte of UTF-8 in .*, got none for byte 65",
        ),
        (_spell_a_special_token_by_merges, "no text is made into, got"),
    ],
)
def test_tokenizers_that_lose_text_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    lay_out(tmp_path, change, tokenizer_config={"eos_token": "<|im_end|>", "bos_token": "<|im_end|>"})
    with pytest.raises(ValueError, match=message):
        Tokenizer.read(tmp_path)


def test_bytes_that_no_text_has_need_no_token(tmp_path: Path) -> None:
    """0xF5 stands as `õ` in the alphabet of bytes."""
    lay_out(tmp_path, lambda data: data["model"]["vocab"].pop("õ"))
    assert Tokenizer.read(tmp_path).decode(Tokenizer.read(tmp_path).encode("õ")) == "õ"


def test_a_special_token_within_the_vocabulary_is_not_matched_as_a_whole(tmp_path: Path) -> None:
    """`ignore_merges` takes pieces of text that are in the vocabulary as they are."""

    def move(data: dict[str, Any]) -> None:
        data["added_tokens"][0]["content"] = "end"
        data["model"]["vocab"]["end"] = 300

    lay_out(tmp_path, move)
    found = Tokenizer.read(tmp_path)
    assert 300 not in found.encode("end")
    assert found.decode(found.encode("the end")) == "the end"


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tokenizer\.json in .*, got none"):
        Tokenizer.read(tmp_path)


def test_ours_is_written_and_read_as_theirs(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.write(tmp_path)
    back = Tokenizer.read(tmp_path)
    assert [getattr(back, role) for role in ("pad", "bos", "eos", "prefix", "suffix", "middle")] == IDS
    text = "".join(CORPUS[:4])
    assert back.encode(text) == tokenizer.encode(text)
    assert [back.decode_bytes([i]) for i in range(300)] == [tokenizer.decode_bytes([i]) for i in range(300)]


PLAIN = [
    *CORPUS[:3],
    "x = [1234567, 'ab']  # \u540d\n\n\tif True:\r\n",
    "  a\u00e9 don't   ",
    "\U0001f600" * 3,
    "",
]


@pytest.mark.peers
def test_a_foreign_tokenizer_encodes_as_in_transformers(tmp_path: Path) -> None:
    """Texts that spell no added token and are composed: of those our ids are not theirs, and are to differ."""
    transformers = pytest.importorskip("transformers")

    def unlimited(data: dict[str, Any]) -> None:
        data.update(truncation=None, padding=None)

    lay_out(
        tmp_path,
        unlimited,
        tokenizer_config={"eos_token": "<|im_end|>", "tokenizer_class": "PreTrainedTokenizerFast"},
        config={"model_type": "llama", "bos_token_id": 300},
    )
    peer, ours = transformers.AutoTokenizer.from_pretrained(tmp_path), Tokenizer.read(tmp_path)
    assert peer.eos_token_id == ours.eos

    @given(st.one_of(st.sampled_from(PLAIN), st.text(max_size=30)))
    def agree(text: str) -> None:
        text = unicodedata.normalize("NFC", text)
        ids = ours.encode(text)
        assert ids == peer.encode(text, add_special_tokens=False)
        assert ours.decode(ids) == peer.decode(ids, clean_up_tokenization_spaces=False)

    agree()
    assert peer.encode("<|im_end|>", add_special_tokens=False) == [301]
    assert len(ours.encode("<|im_end|>")) > 1


@pytest.mark.peers
def test_our_tokenizer_works_in_transformers(tokenizer: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer.write(tmp_path)
    peer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (peer.pad_token_id, peer.bos_token_id, peer.eos_token_id) == (0, 1, 2)
    assert len(peer) == tokenizer.vocabulary
    for text in PLAIN:
        if any(name in text for name in SPECIAL):
            continue
        ids = tokenizer.encode(text)
        assert peer.encode(text, add_special_tokens=False) == ids
        assert peer.decode([1, *ids, 2], skip_special_tokens=True) == text
    assert peer.encode("<|fim_middle|>", add_special_tokens=False) == [tokenizer.middle]
