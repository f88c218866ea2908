"""Arrays lie where a layout puts them, before and after updates, and what is learnt is what one device learns.

A process has to be told at its start how many devices it has, so these run in one of their own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rlhf.mesh import ONE_DEVICE, Layout

ROOT = Path(__file__).parents[2]

FACTS = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from benchmarks.stages import OPTIMISER, LORA, decoder_of, parent
from rlhf.checkpoint import flatten
from rlhf.mesh import Layout
from rlhf.model import zero_head
from rlhf.optimiser import prepare, update
from rlhf.sft import CrossEntropy

decoder = decoder_of(1)
params = parent(decoder)
layout = Layout(2, 2, 2)
said = {"devices": jax.device_count()}

def refusal(call):
    try:
        call()
    except ValueError as error:
        return str(error)

def shards(tree):
    return {n: [list(x.shape), list(x.sharding.shard_shape(x.shape))] for n, x in flatten(tree).items()}

rng = np.random.default_rng(0)
batch = {"tokens": rng.integers(3, 300, (8, 12)).astype(np.int32), "weights": np.ones((8, 12), np.float32)}
loss, key = CrossEntropy(decoder), jax.random.key(0)
state, frozen = prepare({"model": params}, OPTIMISER, None, key)
alone = update.lower(state, frozen, batch, 0.1, loss=loss, adam=OPTIMISER.adam).compile()
placed = layout.place(state)
again = layout.place(placed)
said["before"] = shards(placed)
fed = layout.feed(batch)
said["batch"] = shards(fed)
said["refed"] = shards(layout.feed({"tokens": jnp.asarray(batch["tokens"])}))
lowered = update.lower(placed, frozen, fed, 0.1, loss=loss, adam=OPTIMISER.adam, layout=layout)
said["pins"] = [lowered.as_text().count("sharding_constraint"), len(jax.tree.leaves((placed, placed.parts)))]
program = lowered.compile()
said["work"] = program.cost_analysis()["flops"] / alone.cost_analysis()["flops"]
_, one, _ = alone(state, frozen, batch, 0.1)
placed, many, _ = program(placed, frozen, fed, 0.1)
said["after"] = shards(placed)
placed, _, _ = program(placed, frozen, fed, 0.1)
said["losses"] = [float(one["loss"]), float(many["loss"])]
said["untouched"] = all((a == b).all() for a, b in zip(jax.tree.leaves(parent(decoder)), jax.tree.leaves(params)))
said["copied"] = not any(x.is_deleted() for x in jax.tree.leaves(again))
found = layout.fetch({"a": again.parts, "b": 1})
said["fetched"] = all(
    type(a) is np.ndarray and (a == b).all()
    for a, b in zip(jax.tree.leaves(found["a"]), jax.tree.leaves({"model": params}))
) and found["b"] == 1
parts = {"model": params, "head": zero_head(48)}
adapted, frozen = prepare(parts, OPTIMISER, LORA, key)
said["adapters"], said["frozen"] = shards(layout.place(adapted.parts)), shards(layout.place(frozen))
def where(layout, tree, shape):
    (path, _), = jax.tree_util.tree_leaves_with_path(tree)
    return list(layout.sharding(path, shape).spec)

said["odd"] = [
    where(Layout(1, 5, 1), {"q": {"kernel": 0}}, (48, 40)),
    where(Layout(1, 4, 2), {"embed": 0}, (300, 48)),
    where(Layout(1, 4, 2), {"q": {"b": 0}}, (6, 50)),
    where(Layout(1, 4, 2), [0], (8, 8)),
]
said["rows"] = refusal(lambda: layout.feed({"tokens": np.zeros((6, 2), np.int32)}))
said["devices wanted"] = refusal(lambda: Layout(4, 4, 1).mesh)
print(json.dumps(said))
"""


def in_a_process(*command: str) -> Any:
    """What a new Python with eight devices prints, as JSON."""
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }
    ended = subprocess.run(
        [sys.executable, *command], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout)


@pytest.fixture(scope="session")
def facts() -> dict[str, Any]:
    """Of SFT's update on 2 x 2 x 2 devices."""
    return in_a_process("-c", FACTS)


MODEL = {
    "embed": ([304, 48], [76, 48]),
    "lm": ([304, 48], [76, 48]),
    "block_0/attention/q/kernel": ([48, 48], [24, 24]),
    "block_0/attention/q/bias": ([48], [48]),
    "block_0/attention/k/kernel": ([48, 24], [24, 12]),
    "block_0/attention/o/kernel": ([48, 48], [24, 24]),
    "block_0/attention_norm/scale": ([48], [48]),
    "block_0/mlp/up/kernel": ([48, 160], [24, 80]),
    "block_0/mlp/down/kernel": ([160, 48], [80, 24]),
}


@pytest.mark.parametrize("when", ["before", "after"])
def test_parameters_and_moments_are_divided(facts: dict[str, Any], when: str) -> None:
    """Each device holds a part, of the moments as of the parameters, and an update leaves it so."""
    assert facts["devices"] == 8
    found = facts[when]
    for tree in ("parts", "mu", "nu"):
        names = [name for name in found if f"{tree}/model/" in name]
        for end, (shape, shard) in MODEL.items():
            (name,) = (name for name in names if name.endswith(f"{tree}/model/{end}"))
            assert found[name] == [shape, shard], name
    held, whole = (sum(np.prod(pair[n], dtype=int) for pair in found.values()) for n in (1, 0))
    assert held / whole < 0.27


def test_an_update_pins_its_gradient_and_all_that_it_returns(facts: dict[str, Any]) -> None:
    """On some layouts (1 x 8 x 1) the compiler would return the norms' scales divided, and compile again for them."""
    found, leaves = facts["pins"]
    assert found == leaves


def test_batches_are_divided_and_so_is_the_work(facts: dict[str, Any]) -> None:
    assert facts["batch"] == {"tokens": [[8, 12], [2, 12]], "weights": [[8, 12], [2, 12]]}
    assert facts["refed"] == {"tokens": [[8, 12], [2, 12]]}
    assert facts["work"] < 0.2  # of one device's, on each of eight


def test_the_loss_is_that_of_one_device(facts: dict[str, Any]) -> None:
    one, many = facts["losses"]
    assert one > 1
    assert many == pytest.approx(one, abs=1e-5)


def test_what_is_placed_is_a_copy(facts: dict[str, Any]) -> None:
    """An update gives its state away: neither the given arrays nor another copy of them may go with it."""
    assert facts["untouched"]
    assert facts["copied"]


def test_what_is_fetched_is_whole(facts: dict[str, Any]) -> None:
    assert facts["fetched"]


def test_adapters_and_what_they_adapt_are_divided_and_a_head_is_whole(facts: dict[str, Any]) -> None:
    assert facts["adapters"]["model/block_0/attention/q/a"] == [[48, 8], [24, 4]]
    assert facts["adapters"]["model/block_0/attention/q/b"] == [[8, 48], [4, 24]]
    assert facts["adapters"]["model/block_0/mlp/down/a"] == [[160, 8], [80, 4]]
    assert facts["adapters"]["model/block_0/mlp/down/b"] == [[8, 48], [4, 24]]
    assert facts["adapters"]["head/kernel"] == [[48], [48]]
    assert facts["frozen"]["model/block_0/mlp/down/kernel"] == [[160, 48], [80, 24]]


def test_a_dimension_that_an_axis_does_not_divide_stays_whole(facts: dict[str, Any]) -> None:
    assert facts["odd"] == [
        [],
        ["tensor", "fsdp"],  # a vocabulary of 300, not to be divided by 8: then the width is
        [None, "tensor"],  # adapters of a rank that does not fit
        ["fsdp"],  # any other matrix, whatever it is called
    ]


def test_what_does_not_fit_is_refused_and_what_to_set_is_named(facts: dict[str, Any]) -> None:
    assert facts["rows"] == (
        "expected the rows of a batch to be a multiple of data * fsdp = 2 * 2, got 6 in `tokens`: set the batch (or "
        "minibatch) to a multiple of 4, or `data` and `fsdp` of the layout smaller"
    )
    assert facts["devices wanted"] == (
        "expected 16 devices for Layout(data=4, fsdp=4, tensor=1), got 8: set its axes smaller"
    )
    with pytest.raises(ValueError, match="expected `fsdp` to be at least 1, got 0"):
        Layout(2, 0, 1)


def test_one_device_leaves_arrays_alone() -> None:
    given = {"tokens": np.arange(3)}
    assert ONE_DEVICE.feed(given)["tokens"] is given["tokens"]
    placed = ONE_DEVICE.place(leaf := jax.numpy.ones(3))
    assert placed is not leaf
    placed.delete()
    assert ONE_DEVICE.fetch(leaf).tolist() == [1, 1, 1]
    assert ONE_DEVICE.pin(leaf) is leaf
