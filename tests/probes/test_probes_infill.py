"""How models are asked to fill in the middle, held to the prompts that the models' authors print."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.infill import FORMATS, HoldsSentinel, middle, prompt

# (format, order, prompt), each spelled out as its source has it; {p} is the prefix, {s} the suffix.
PUBLISHED = [
    ("santacoder", "psm", "<fim-prefix>{p}<fim-suffix>{s}<fim-middle>"),
    ("santacoder", "spm", "<fim-prefix><fim-suffix>{s}<fim-middle>{p}"),
    ("starcoder", "psm", "<fim_prefix>{p}<fim_suffix>{s}<fim_middle>"),
    ("starcoder", "spm", "<fim_prefix><fim_suffix>{s}<fim_middle>{p}"),
    ("starcoder2", "psm", "<fim_prefix>{p}<fim_suffix>{s}<fim_middle>"),
    ("starcoder2", "spm", "<fim_prefix><fim_suffix>{s}<fim_middle>{p}"),
    ("codellama", "psm", "<PRE> {p} <SUF>{s} <MID>"),
    ("codellama", "spm", "<PRE> <SUF>{s} <MID> {p}"),
    (
        "deepseek",
        "psm",
        "<\uff5cfim\u2581begin\uff5c>{p}<\uff5cfim\u2581hole\uff5c>{s}<\uff5cfim\u2581end\uff5c>",
    ),
    ("qwen", "psm", "<|fim_prefix|>{p}<|fim_suffix|>{s}<|fim_middle|>"),
    ("codegemma", "psm", "<|fim_prefix|>{p}<|fim_suffix|>{s}<|fim_middle|>"),
    ("codestral", "spm", "[SUFFIX]{s}[PREFIX]{p}"),
]
ORDERS = [(name, order) for name, order, _ in PUBLISHED]
formats = st.sampled_from(ORDERS)
plain = st.text(st.sampled_from("abc <>|[]_-\n\té{}%"), max_size=30)


@pytest.mark.parametrize(("name", "order", "published"), PUBLISHED)
def test_prompts_are_spelled_as_published(name, order, published):
    assert prompt("{p}", "{s}", format=name, order=order) == published
    assert FORMATS[name].source


def test_all_formats_and_orders_are_known_and_the_first_order_is_the_default():
    assert [(form.name, order) for form in FORMATS.values() for order in form.orders] == ORDERS
    assert list(FORMATS) == [form.name for form in FORMATS.values()]
    assert prompt("a", "b", format="codellama") == "<PRE> a <SUF>b <MID>"
    assert prompt("a", "b", format="codestral") == "[SUFFIX]b[PREFIX]a"


@given(formats, plain, plain)
def test_prefix_and_suffix_stand_in_the_prompt_as_they_are(form, prefix, suffix):
    name, order = form
    published = next(text for *of, text in PUBLISHED if tuple(of) == form)
    filled = re.sub(r"\{[ps]\}", lambda found: prefix if found[0] == "{p}" else suffix, published)
    assert prompt(prefix, suffix, format=name, order=order) == filled


@given(formats, st.data())
def test_a_text_with_a_sentinel_or_an_end_is_refused_and_the_message_says_where(form, data):
    name, order = form
    marks = [*FORMATS[name].sentinels, *FORMATS[name].ends]
    mark = data.draw(st.sampled_from(marks))
    before = data.draw(plain)
    for prefix, suffix, part in ((before + mark, "b", "prefix"), ("a", before + mark, "suffix")):
        with pytest.raises(HoldsSentinel, match=rf"expected a {part} without .* {name} .* another format"):
            prompt(prefix, suffix, format=name, order=order)
    with pytest.raises(HoldsSentinel, match="at character 3;"):
        prompt("abc" + marks[0], "", format=name)


def test_every_sentinel_that_a_prompt_holds_is_refused_in_a_text():
    for name, order, published in PUBLISHED:
        form = FORMATS[name]
        left = published.replace("{p}", "").replace("{s}", "")
        for mark in sorted(form.sentinels, key=len, reverse=True):
            left = left.replace(mark, "")
        assert not set(left) & set("<>[]|"), (name, order)


@given(formats, plain, st.data())
def test_a_completion_ends_at_the_first_end_or_sentinel(form, text, data):
    name, _ = form
    marks = [*FORMATS[name].ends, *FORMATS[name].sentinels]
    first, second = data.draw(st.sampled_from(marks)), data.draw(st.sampled_from(marks))
    ended = middle(text + first + "more" + second, format=name)
    # Code Llama may write a blank before its end, which is part of the end.
    assert ended == (text.removesuffix(" ") if first == "<EOT>" else text)
    assert middle(text, format=name) == text
    assert middle(ended, format=name) == ended


@pytest.mark.parametrize(
    ("completion", "name", "kept"),
    [
        ("return x <EOT>\n", "codellama", "return x"),
        ("return x<EOT>", "codellama", "return x"),
        ("sys\n<|file_separator|>", "codegemma", "sys\n"),
        ("a<|endoftext|>b", "starcoder", "a"),
        ("a<file_sep>b", "starcoder2", "a"),
        ("a<file_sep>b", "starcoder", "a<file_sep>b"),
        ("a<|fim_pad|>b<|im_end|>", "qwen", "a"),
        ("a</s>", "codestral", "a"),
        ("", "deepseek", ""),
    ],
)
def test_what_is_kept_of_a_completion(completion, name, kept):
    assert middle(completion, format=name) == kept


def test_an_unknown_format_or_order_is_refused():
    for call in (lambda: prompt("", "", format="gpt"), lambda: middle("", format="gpt")):
        with pytest.raises(ValueError, match=r"expected a format of santacoder, .*, got 'gpt'"):
            call()
    with pytest.raises(ValueError, match="expected an order of qwen: psm, got 'spm'"):
        prompt("", "", format="qwen", order="spm")
    with pytest.raises(ValueError, match="expected an order of codestral: spm, got 'psm'"):
        prompt("", "", format="codestral", order="psm")
