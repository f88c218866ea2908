"""The unattended run on a GPU, gone through in tiny shapes on whatever is here."""

import json
from pathlib import Path
from typing import Any

import jax
import pytest

from benchmarks import gpu
from rlhf.model import Decoder, initialise
from rlhf.presets import preset


@pytest.mark.slow
def test_the_whole_script_runs_in_tiny(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for people and one of JSON for every figure, and the file is added to, never begun anew."""
    file = tmp_path / "figures.jsonl"
    file.write_text('{"cell": "before"}\n')
    assert gpu.main(["--tiny", "--json", str(file)]) == 0
    [before, *records] = [json.loads(text) for text in file.read_text().splitlines()]
    assert before == {"cell": "before"}
    assert [record["cell"] for record in records] == [
        "sft/tiny",
        "decoding/tiny",
        "decoding/tiny",
        "ppo/tiny",
    ]
    assert all(record["device"] == jax.devices()[0].device_kind for record in records)
    assert all(record["tokens_per_second"] > 0 for record in records if "milliseconds" in record)
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(records[0]["device"])
    assert [text.split()[0] for text in told[1:]] == [record["cell"] for record in records]


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "_gpu", lambda: None)
    assert gpu.main([]) == 2
    told = capsys.readouterr()
    assert "needs a CUDA GPU" in told.err
    assert len(told.err.splitlines()) == 1
    assert not told.out


def test_figures_are_written_as_they_come(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was measured before the run is ended is in the file; a cell gets its share of seconds."""
    file, granted = tmp_path / "figures.jsonl", []

    def interrupted(cell: str, seconds: float) -> Any:
        granted.append(seconds)
        yield {"cell": cell, "tokens_per_second": 5.0}
        if len(granted) == 2:
            assert len(file.read_text().splitlines()) == 2
            raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "_gpu", lambda: "NVIDIA H200")
    monkeypatch.setattr(gpu, "apart", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gpu.main(["--json", str(file), "--share", "0.5"])
    assert granted == [gpu.SECONDS["sft"] / 2] * 2
    assert "peak 989 TFLOP/s, 4800 GB/s" in capsys.readouterr().out


def test_a_batch_that_does_not_fit_gives_way_to_a_smaller_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = gpu.update

    def scarce(state: Any, frozen: Any, batch: Any, *rest: Any, **settings: Any) -> Any:
        if len(batch["tokens"]) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return real(state, frozen, batch, *rest, **settings)

    monkeypatch.setattr(gpu, "update", scarce)
    records = list(gpu.sft("tiny", gpu.TINY))
    assert [(record["batch"], record.get("note")) for record in records] == [(4, "does not fit"), (2, None)]
    assert records[1]["tokens_per_second"] > 0

    def broken(*_: Any, **__: Any) -> Any:
        raise jax.errors.JaxRuntimeError("INTERNAL: no kernel")

    monkeypatch.setattr(gpu, "update", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="no kernel"):
        list(gpu.sft("tiny", gpu.TINY))


def test_a_cell_that_takes_too_long_or_fails_is_ended() -> None:
    assert list(gpu.apart("sft/0.5b", 0.2)) == [{"cell": "sft/0.5b", "note": "ended after its 0.2 s"}]
    [record] = gpu.apart("sft/none", 120)
    assert "failed with code 2" in record["note"]
    assert "got sft/none" in record["note"]


def test_the_seconds_of_all_cells_leave_room_in_eight_minutes() -> None:
    assert sum(gpu.SECONDS[cell.split("/")[0]] for cell in gpu.cells(gpu.Sizes())) <= 450


@pytest.mark.parametrize(
    ("device", "found"),
    [
        ("NVIDIA H100 80GB HBM3", (989e12, 3350e9)),
        ("NVIDIA H100 PCIe", (756e12, 2000e9)),
        ("NVIDIA H200", (989e12, 4800e9)),
        ("NVIDIA A100-SXM4-80GB", (312e12, 2039e9)),
        ("NVIDIA A100-SXM4-40GB", (312e12, 1555e9)),
        ("NVIDIA L40S", (362e12, 864e9)),
        ("NVIDIA L4", (121e12, 300e9)),
        ("cpu", None),
    ],
)
def test_peaks_are_found_by_the_devices_name(device: str, found: tuple[float, float] | None) -> None:
    assert gpu.peak(device) == found


@pytest.mark.parametrize("name", ["tiny", "tiny-glm"])
def test_what_is_counted_is_what_the_model_has(name: str) -> None:
    """Against the arrays: matrices but for an embedding that is only looked up."""
    config = preset(name, 100)
    params = initialise(Decoder(config), jax.random.key(0))
    sizes = {
        jax.tree_util.keystr(p): x.size for p, x in jax.tree_util.tree_leaves_with_path(params) if x.ndim == 2
    }
    matrices = sum(size for path, size in sizes.items() if config.tied or "embed" not in path)
    assert gpu.entries(config) == matrices
    heads = config.layers * config.heads * config.head_size
    # Forward and backward are 3 times 2 operations; causal scores and mixing meet half of the positions.
    assert gpu.operations(config, 10) == 3 * (2 * matrices + 2 * 2 * heads * 10 / 2)
    pairs = config.layers * 2 * config.kv_heads * config.head_size
    assert gpu.bytes_read(config, 3, 7) == 2 * (matrices + 3 * 7 * pairs)


def test_wrong_arguments_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--share", "0"], "expected --share to be positive, got 0"),
        (["--only", "sft/9b"], "expected a cell out of sft/0.5b, sft/1.5b, decoding/0.5b"),
    ):
        with pytest.raises(SystemExit) as caught:
            gpu.main(arguments)
        assert caught.value.code == 2
        assert message in capsys.readouterr().err
