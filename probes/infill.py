"""How code models are asked to fill in the middle: their sentinels, as published, and the order of the parts.

A model that was trained to fill in (Bavarian et al. 2022, arXiv 2207.14255) saw each text cut into prefix, middle
and suffix, with sentinels between, as prefix-suffix-middle (`psm`) or suffix-prefix-middle (`spm`; of the paper's two
spellings the second, in which prefix and middle stand side by side without a sentinel between them). The formats
here spell what the tokenizer of the model reads as its special tokens, without the token that begins a text, which
tokenizers add themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Order = Literal["psm", "spm"]


@dataclass(frozen=True, kw_only=True)
class InfillFormat:
    """How one family of models is asked. Each order is spelled as before, between and after the two given parts."""

    name: str
    source: str
    """Where the format is published."""
    psm: tuple[str, str, str] | None = None
    """What stands before the prefix, between prefix and suffix, and after the suffix."""
    spm: tuple[str, str, str] | None = None
    """What stands before the suffix, between suffix and prefix, and after the prefix."""
    sentinels: tuple[str, ...]
    """What no prefix and no suffix may hold, and no completion goes beyond."""
    ends: tuple[str, ...]
    """What the model ends a middle or a text with. No prefix and no suffix may hold it either."""

    @property
    def orders(self) -> tuple[Order, ...]:
        """The orders the model was trained on, the one to take first."""
        found: list[Order] = []
        if self.psm is not None:
            found.append("psm")
        if self.spm is not None:
            found.append("spm")
        return tuple(found)


def _bigcode(name: str, source: str, separator: str, *more_ends: str) -> InfillFormat:
    prefix, middle, suffix, pad = (
        f"<fim{separator}{part}>" for part in ("prefix", "middle", "suffix", "pad")
    )
    return InfillFormat(
        name=name,
        source=source,
        psm=(prefix, suffix, middle),
        spm=(prefix + suffix, middle, ""),
        sentinels=(prefix, middle, suffix, pad),
        ends=("<|endoftext|>", *more_ends),
    )


FORMATS: Mapping[str, InfillFormat] = MappingProxyType(
    {
        form.name: form
        for form in (
            _bigcode("santacoder", "Ben Allal et al. 2023, arXiv 2301.03988; its tokenizer has hyphens", "-"),
            _bigcode("starcoder", "Li et al. 2023, arXiv 2305.06161", "_", "<filename>"),
            _bigcode("starcoder2", "Lozhkov et al. 2024, arXiv 2402.19173, section 5", "_", "<file_sep>"),
            InfillFormat(
                name="codellama",
                # The spaces belong to it: the vocabulary spells the sentinels with one in front, and a prefix is
                # encoded with one in front, a suffix without.
                source="Roziere et al. 2023, arXiv 2308.12950; infilling_prompt_tokens in the authors' code",
                psm=("<PRE> ", " <SUF>", " <MID>"),
                spm=("<PRE> <SUF>", " <MID> ", ""),
                sentinels=("<PRE>", "<SUF>", "<MID>"),
                ends=(" <EOT>", "<EOT>", "</s>"),
            ),
            InfillFormat(
                name="deepseek",
                # Not ASCII: the bars are U+FF5C, the blanks U+2581.
                source="Guo et al. 2024, arXiv 2401.14196, section 3.1.2; code insertion in the model's own page",
                psm=("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
                sentinels=("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
                ends=("<｜end▁of▁sentence｜>", "<|EOT|>"),
            ),
            InfillFormat(
                name="qwen",
                source="Hui et al. 2024, arXiv 2409.12186 (Qwen2.5-Coder); examples/Qwen2.5-Coder.md of its authors",
                psm=("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
                sentinels=("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>"),
                ends=("<|endoftext|>", "<|file_sep|>", "<|repo_name|>", "<|im_end|>"),
            ),
            InfillFormat(
                name="codegemma",
                # Its report (arXiv 2406.11409) says that it also knows spm, but not how that is spelled.
                source="CodeGemma Team 2024, https://ai.google.dev/gemma/docs/codegemma/prompt-structure",
                psm=("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
                sentinels=("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
                ends=("<|file_separator|>", "<eos>", "<end_of_turn>"),
            ),
            InfillFormat(
                name="codestral",
                source="mistral-common, tokenizer version 2 and later; the middle has no sentinel of its own",
                spm=("[SUFFIX]", "[PREFIX]", ""),
                sentinels=("[SUFFIX]", "[PREFIX]", "[MIDDLE]"),
                ends=("</s>",),
            ),
        )
    }
)
"""By name."""


class HoldsSentinel(ValueError):
    """A text holds what a model would read as a sentinel, so that no prompt can be made of it."""


def prompt(prefix: str, suffix: str, *, format: str, order: Order | None = None) -> str:
    """Return the text that asks a model for what stands between `prefix` and `suffix`.

    Args:
        prefix: What stands before the gap. It may be empty.
        suffix: What stands behind it. It may be empty.
        format: One of `FORMATS`.
        order: One of the format's orders; None for its first.

    Raises:
        HoldsSentinel: A part holds a sentinel or an end of the format.
        ValueError: There is no such format, or it has no such order.
    """
    form = _format(format)
    for name, text in (("prefix", prefix), ("suffix", suffix)):
        for sentinel in (*form.sentinels, *form.ends):
            if sentinel in text:
                raise HoldsSentinel(
                    f"expected a {name} without {sentinel!r}, which {form.name} reads as a sentinel, got one at "
                    f"character {text.index(sentinel)}; leave the example out, or set another format"
                )
    if order is not None and order not in form.orders:
        raise ValueError(
            f"expected an order of {form.name}: {', '.join(form.orders)}, got {order!r}; set order"
        )
    if (order or form.orders[0]) == "psm":
        assert form.psm is not None
        before, between, after = form.psm
        return before + prefix + between + suffix + after
    assert form.spm is not None
    before, between, after = form.spm
    return before + suffix + between + prefix + after


def middle(completion: str, *, format: str) -> str:
    """Return the part of a completion that fills the gap: all before the first end or sentinel of the format.

    Raises:
        ValueError: There is no such format.
    """
    form = _format(format)
    ends = [at for mark in (*form.ends, *form.sentinels) if (at := completion.find(mark)) >= 0]
    return completion[: min(ends, default=len(completion))]


def _format(name: str) -> InfillFormat:
    if name not in FORMATS:
        raise ValueError(f"expected a format of {', '.join(FORMATS)}, got {name!r}; set format")
    return FORMATS[name]
