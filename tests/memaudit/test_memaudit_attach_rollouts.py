"""Rollouts: which are answers to a probe, how far off they are, and what many of them come to."""

import asyncio
import json
import os
import pickle
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watched import NAMES, TEXTS, Says, write_probes

from memaudit.attach import Rollouts, Watch, summarise, wrap_reward
from memaudit.attach.summary import Count
from memaudit.errors import BadInput

(PREFIX, TARGET), (OTHER_PREFIX, OTHER) = TEXTS[:2]


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    return write_probes(tmp_path / "probes.jsonl")


def hearer(probes: Path, /, **options: Any) -> Rollouts:
    return Rollouts(**{"probes": probes, "out": probes.parent / "out", **options})


def lines(probes: Path) -> list[dict[str, Any]]:
    files = sorted((probes.parent / "out" / "rollouts").glob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def test_a_rollout_answers_the_probe_whose_prefix_ends_its_prompt(probes: Path) -> None:
    said = hearer(probes).heard(
        [PREFIX, f"# a file\n{OTHER_PREFIX}", PREFIX + "    ", PREFIX.rstrip(), None],
        [TARGET, TARGET, TARGET, TARGET, TARGET],
        step=7,
    )
    assert (said["step"], said["heard"], said["prompted"]) == (7, 5, 2)
    assert [(a["row"], a["probe"]) for a in said["answers"]] == [(0, NAMES[0]), (1, NAMES[1])]
    assert said["answers"][0]["levels"]["exact"] == [0, len(TARGET), len(TARGET)]
    assert said["answers"][1]["levels"]["exact"][0] > 0
    assert list(said["answers"][0]["levels"]) == ["exact", "layout", "code", "renamed"]


@pytest.mark.parametrize("tail", [0, 80])
def test_what_a_chat_template_puts_behind_a_prompt_is_passed_over_if_that_is_said(
    probes: Path, tail: int
) -> None:
    trimmed = f"user\n{PREFIX.strip()}"
    prompts = [
        f"<|im_start|>user\n{PREFIX}<|im_end|>\n<|im_start|>assistant\n",
        f"{trimmed}\nassistant\n",
        f"{trimmed}{'x' * 90}",
        PREFIX,
    ]
    said = hearer(probes, tail=tail).heard(prompts, [TARGET] * 4)
    rows = [answer["row"] for answer in said["answers"]]
    assert rows == ([0, 1, 3] if tail else [3])


def test_of_prefixes_of_any_length_all_that_end_a_prompt_are_found(tmp_path: Path) -> None:
    texts = [("x = f(", "1)\n"), ("# long enough to be more than a key\nx = f(", "2)\n"), ("f(", "3)\n")]
    said = hearer(write_probes(tmp_path / "probes.jsonl", texts=texts)).heard(
        ["# long enough to be more than a key\nx = f(", "y = f("], ["1)\n", "3)\n"]
    )
    assert {(a["row"], a["probe"]) for a in said["answers"]} == {
        (0, NAMES[0]),
        (0, NAMES[1]),
        (0, NAMES[2]),
        (1, NAMES[2]),
    }
    assert said["prompted"] == 2


@given(
    st.lists(st.text("ab\n", min_size=1, max_size=30), min_size=1, max_size=6, unique=True),
    st.text("ab\n", max_size=40),
    st.text("ab", max_size=6),
    st.integers(0, 8),
)
def test_looking_up_prefixes_is_trying_them_all(
    tmp_path_factory: pytest.TempPathFactory, prefixes: list[str], start: str, behind: str, tail: int
) -> None:
    prefixes = [prefix for prefix in prefixes if prefix.strip()] or ["a"]
    path = write_probes(
        tmp_path_factory.mktemp("given") / "probes.jsonl", texts=[(p, "x\n") for p in prefixes]
    )
    prompt = start + prefixes[0] + behind
    said = hearer(path, tail=tail, levels=("exact",)).heard([prompt], ["y"])
    wanted: set[str] = set()
    for end in range(len(prompt), max(-1, len(prompt) - tail - 1), -1):
        forms = [(p, p.rstrip()) if tail else (p,) for p in prefixes]
        wanted = {
            f"probe-{n}" for n, some in enumerate(forms) if any(prompt[:end].endswith(form) for form in some)
        }
        if wanted:
            break
    assert {a["probe"] for a in said["answers"]} == wanted


def test_a_probe_that_fills_in_is_known_by_its_marked_prompt(tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    prompt = "<PRE>a = 1\n<SUF>c = 3\n<MID>"
    record = {"id": "gap", "prefix": "a = 1\n", "target": "b = 2\n", "suffix": "c = 3\n"}
    path.write_text(json.dumps({**record, "prompt": prompt, "language": "python"}))
    said = hearer(path).heard([prompt, "a = 1\n"], ["b = 2\n", "b = 2\n"])
    assert [answer["row"] for answer in said["answers"]] == [0]


def test_a_secret_that_came_out_whole_is_told_and_no_text_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    target = "'hunter2hunter2'\nport = 5432\n"
    record = {"id": "key", "prefix": "password = ", "target": target, "language": "python"}
    path.write_text(json.dumps({**record, "secrets": [[1, 15]]}))
    heard = hearer(path)
    heard.hear(["password = "] * 3, ["'hunter2hunter2' + read_it_from_elsewhere()", "'hunter2", target])
    written = (tmp_path / "out" / "rollouts").glob("*")
    assert "hunter" not in "".join(file.read_text() for file in written)
    found = summarise(tmp_path / "out")
    assert found.secrets == Count(rollouts=2, probes=1)
    assert found.near["exact"] == Count(rollouts=1, probes=1)
    assert [(one.probe, one.times, one.secret, one.closest) for one in found.repeated] == [
        ("key", 2, True, 0.0)
    ]


def test_whole_targets_are_found_in_rollouts_of_any_prompt(probes: Path) -> None:
    inside = f"Sure! Here it is:\n\nx = 1\n{TARGET.replace('        ', '          ')}\n{OTHER}\n"
    completions = [inside, TARGET[: len(TARGET) // 2], "", "x\n" * 50]
    heard = hearer(probes, anywhere=True)
    said = heard.heard([None, None, PREFIX, None], completions, step=1)
    assert said["anywhere"] == [[0, NAMES[0]], [0, NAMES[1]]]
    heard.hear([None] * 4, completions, step=1)
    heard.hear([PREFIX], [TARGET], step=2)
    found = summarise(probes.parent / "out")
    assert found.anywhere == Count(rollouts=3, probes=2)
    # Found twice, as an answer and as a text, it is one rollout.
    assert [(one.probe, one.times, one.first_step, one.last_step) for one in found.repeated] == [
        (NAMES[0], 2, 1, 2),
        (NAMES[1], 1, 1, 1),
    ]
    assert [one.closest for one in found.repeated] == [0.0, None]


def test_a_summary_counts_what_was_heard_when_first_and_how_often(probes: Path) -> None:
    heard = hearer(probes, levels=("exact", "layout"))
    near = TARGET.replace("stream", "straem", 1)
    heard.hear([PREFIX, PREFIX, "no probe"], ["    pass\n", near, TARGET], step=4)
    heard.hear([PREFIX, OTHER_PREFIX], [TARGET, TARGET], step=2)
    heard.hear([OTHER_PREFIX], [OTHER.replace("    ", " " * 12)])
    found = summarise(probes.parent / "out")
    assert (found.heard, found.prompted, found.steps) == (6, Count(rollouts=5, probes=2), (2, 4))
    assert found.near == {"exact": Count(rollouts=2, probes=1), "layout": Count(rollouts=3, probes=2)}
    assert [(one.probe, one.times, one.first_step, one.last_step) for one in found.repeated] == [
        (NAMES[0], 2, 2, 4)
    ]
    assert found.anywhere is None
    assert str(found) == (
        "6 rollouts heard, 5 of them answers to 2 probes; 2 near copies (within 0.1) of 1 probes"
    )
    strict = summarise(probes.parent / "out", threshold=0.0)
    assert strict.near["exact"] == Count(rollouts=1, probes=1)
    kept = json.loads((probes.parent / "out" / "rollouts.json").read_text())
    assert (kept["threshold"], kept["heard"], kept["near"]["exact"]) == (0.0, 6, {"rollouts": 1, "probes": 1})


def test_threads_processes_and_copies_hear_at_once_and_nothing_is_lost(probes: Path) -> None:
    heard = hearer(probes)

    def hear(by: Rollouts) -> None:
        for _ in range(20):
            by.hear([PREFIX], [TARGET])

    threads = [threading.Thread(target=hear, args=(heard,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hear(pickle.loads(pickle.dumps(heard)))
    assert summarise(probes.parent / "out").near["exact"].rollouts == 100
    files = list((probes.parent / "out" / "rollouts").iterdir())
    assert len(files) == 2
    assert all(file.name.startswith(f"{os.getpid()}-") for file in files)


def test_a_line_that_a_kill_cut_short_is_passed_over_and_any_other_fault_is_named(probes: Path) -> None:
    hearer(probes).hear([PREFIX], [TARGET])
    (file,) = (probes.parent / "out" / "rollouts").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:30])
    assert summarise(probes.parent / "out").heard == 1
    for wrong in (b"{}\n", b"[]\n", b"\xff\n"):
        file.write_bytes(whole + wrong)
        with pytest.raises(BadInput, match=r"\.jsonl:2: expected a line that memaudit wrote"):
            summarise(probes.parent / "out")
    with pytest.raises(BadInput, match="expected journals of rollouts"):
        summarise(probes.parent)


def test_a_watched_training_has_a_summary_of_its_rollouts_beside_its_report(probes: Path) -> None:
    hearer(probes).hear([PREFIX], [TARGET], step=0)  # before the first look
    watch = Watch(probes=probes, out=probes.parent / "out", stage="grpo", threshold=0.0)
    watch.begin(Says())
    watch.look(Says([0]), 1, whole=True)
    assert [path.name for path in watch.finish()][-1] == "rollouts.json"
    kept = json.loads((probes.parent / "out" / "rollouts.json").read_text())
    assert (kept["threshold"], kept["near"]["exact"]) == (0.0, {"rollouts": 1, "probes": 1})


@pytest.mark.parametrize(
    ("options", "told"),
    [({"levels": ("shape",)}, "levels"), ({"tail": -1}, "tail"), ({"probes": "nowhere"}, "nowhere")],
)
def test_options_that_cannot_be_are_refused_at_once(probes: Path, options: dict, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        hearer(probes, **options)


def lengths(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Rewards."""
    assert columns["answer"] == ["a"] * len(prompts)
    return [float(len(c)) if c else None for c in completions]


async def slow_lengths(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list:
    """Rewards."""
    await asyncio.sleep(0)
    return lengths(prompts, completions, **columns)


def test_a_wrapped_reward_is_the_reward_and_every_rollout_is_heard(probes: Path) -> None:
    called: dict[str, Any] = {
        "prompts": [PREFIX, "other"],
        "completions": [TARGET, ""],
        "completion_ids": [[1], []],
        "answer": ["a", "a"],
        "trainer_state": SimpleNamespace(global_step=3),
    }
    wrapped = wrap_reward(lengths, hearer(probes))
    assert (wrapped.__name__, wrapped.__doc__) == ("lengths", "Rewards.")
    assert wrapped(**called) == [float(len(TARGET)), None]
    later = wrap_reward(slow_lengths, hearer(probes))
    assert asyncio.iscoroutinefunction(later)
    assert asyncio.run(later(**called)) == [float(len(TARGET)), None]
    assert wrap_reward(None, hearer(probes))(**called) == [0.0, 0.0]
    without = {name: value for name, value in called.items() if name != "trainer_state"}
    wrap_reward(None, hearer(probes), step=lambda: 9)(**without)
    wrap_reward(None, hearer(probes))(**without)
    assert sorted(line["step"] or 0 for line in lines(probes)) == [0, 3, 3, 3, 9]
    assert all((line["heard"], line["prompted"]) == (2, 1) for line in lines(probes))
    assert all(line["answers"][0]["levels"]["exact"][0] == 0 for line in lines(probes))


def test_of_conversations_the_last_message_counts(probes: Path) -> None:
    prompt = [{"role": "system", "content": "Complete."}, {"role": "user", "content": PREFIX}]
    parts = [{"type": "image"}, {"type": "text", "text": TARGET[:9]}, {"type": "text", "text": TARGET[9:]}]
    wrap_reward(None, hearer(probes))(
        prompts=[prompt] * 4,
        completions=[
            [{"role": "assistant", "content": TARGET}],
            [{"role": "assistant", "content": parts}],
            [{"role": "assistant", "content": None, "tool_calls": []}],
            [],
        ],
    )
    (line,) = lines(probes)
    assert [answer["levels"]["exact"][0] for answer in line["answers"]] == [0, 0, len(TARGET), len(TARGET)]


@pytest.mark.parametrize("reward", ["a/model", SimpleNamespace(forward=len), 3])
def test_a_model_cannot_be_wrapped_as_a_function(probes: Path, reward: Any) -> None:
    with pytest.raises(BadInput, match=r"put wrap_reward\(None, ...\) beside it"):
        wrap_reward(reward, hearer(probes))
