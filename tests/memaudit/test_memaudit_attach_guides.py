"""The code in the pages on verl and OpenRLHF runs as it stands; those on TRL and tunix run among the peers."""

import json
import re
from pathlib import Path

import jax
import pytest
from typer.testing import CliRunner
from watched import NAMES, TEXTS, page, write_probes

from memaudit.cli.app import app
from rlhf import huggingface
from rlhf.model import Decoder, initialise
from rlhf.presets import preset
from rlhf.tokenizer import Tokenizer

PREFIX, TARGET = TEXTS[0]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with probes and models, in which the code of a page is run."""
    monkeypatch.chdir(tmp_path)
    write_probes(tmp_path / "probes.jsonl", texts=TEXTS[:1])
    words = Tokenizer.train([prefix + target for prefix, target in TEXTS], 300)
    decoder = Decoder(preset("tiny", words.vocabulary))
    for seed, name in enumerate(
        (
            "models/base",
            "checkpoints/global_step_50/actor/huggingface",
            "ckpt/checkpoints_ppo_ray/global_step50_hf",
        )
    ):
        params = initialise(decoder, jax.random.key(seed))
        huggingface.write(tmp_path / name, decoder.config, params, tokenizer=words)
    return tmp_path


def reported(out: Path) -> tuple[list[tuple[str, int]], dict]:
    """The checkpoints of a report, and the summary of the rollouts beside it."""
    found = json.loads((out / "findings.json").read_text())
    rows = dict.fromkeys((row["stage"], row["step"]) for row in found["rows"])
    assert "<html" in (out / "report.html").read_text()
    return list(rows), json.loads((out / "rollouts.json").read_text())


def summing(name: str) -> str:
    """The call that a page's prose names."""
    text = (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8")
    call = re.search(r"`(memaudit\.attach\.summarise\(.*?\))`", text)
    assert call
    return f"import memaudit.attach\nfound = {call[1]}"


def test_the_page_on_verl(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, reward = page("attach-verl.md")
    (here / "rollouts").mkdir()
    record = {"input": f"user\n{PREFIX}\nassistant\n", "output": TARGET, "gts": "", "score": 1.0, "step": 7}
    (here / "rollouts" / "7.jsonl").write_text(json.dumps(record) + "\n")
    exec(files, {})
    assert capsys.readouterr().out.startswith("1 rollouts heard, 1 of them answers to 1 probes")
    checkpoints, rollouts = reported(here / "audits" / "mine")
    assert checkpoints == [("grpo", 50)]
    assert (rollouts["steps"], rollouts["near"]["exact"]["rollouts"]) == ([7, 7], 1)
    # The file that verl loads, called as verl calls it.
    names: dict = {}
    exec(reward, names)
    told = {"data_source": "ours", "ground_truth": "", "extra_info": {"probe": NAMES[0]}}
    assert names["compute_score"](solution_str=TARGET, **told) == 0.0
    exec(summing("attach-verl.md"), names := {})
    assert (names["found"].prompted.rollouts, names["found"].anywhere.rollouts) == (1, 1)


def test_the_page_on_openrlhf(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reward, looks = page("attach-openrlhf.md")
    names: dict = {}
    exec(reward, names)
    prompt = f"<|user|>{PREFIX}<|assistant|>"
    assert names["reward_func"]([prompt + TARGET], [prompt], [""])["rewards"] == 0.0
    exec(looks, {})
    assert capsys.readouterr().out.startswith("1 rollouts heard, 1 of them answers to 1 probes")
    checkpoints, rollouts = reported(here / "audits" / "mine")
    assert checkpoints == [("ppo", 50)]
    assert (rollouts["steps"], rollouts["near"]["exact"]["rollouts"]) == (None, 1)
    report = here / "audits" / "mine" / "report.html"
    report.unlink()
    assert CliRunner().invoke(app, ["report", "audits/mine"]).exit_code == 0
    assert report.is_file()
