"""Studies on a Ray cluster: whatever is killed, the ledger is that of processes of one machine, bit for bit.

The cluster is a real one of two nodes on this machine. They need `memaudit[distributed]`.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY, Quiet

from memaudit.course import Leg
from memaudit.errors import BadInput
from memaudit.instruments import STAGES
from memaudit.ledger import LEDGER
from memaudit.study import cluster as on_a_cluster
from memaudit.study.cluster import cluster
from memaudit.study.conduct import conduct, schedule
from memaudit.study.design import load
from memaudit.study.engines import LOCK, ONE_THREAD, Engine, Task, local

pytestmark = [
    pytest.mark.peers,
    # The nodes of a test are forked off a process that has used jax.
    pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning"),
]
ray = pytest.importorskip("ray")

STUDY = """
name = "tiny-study"
recipe = "recipe.toml"
seeds = [3]
[arms.kl-0]
set.stages.ppo.kl_coefficient = 0.0
"""
RECIPE = f"{TINY}\n[checkpoints]\nevery = 1\n"
PATIENCE = 60.0  # seconds
TIMES = ("seconds", "audit_seconds", "started", "finished")


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of all processes below this one: Ray's makers are not told, and what one has compiled others read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("programs")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
        # Whoever is killed while it writes a program would leave half of it.
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1e9")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        yield


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study as one process of this machine carries it out."""
    folder = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch, local(1) as engine:
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        carry_through(folder, engine, Quiet())
    return folder


class Nodes:
    """A cluster on this machine: a node with one CPU, and one with two that can be lost."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.all = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.other = self.all.add_node(num_cpus=2)
        self.address: str = self.all.address

    def is_on_other(self, pid: int) -> bool:
        (raylet,) = self.other.all_processes["raylet"]
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == str(
                raylet.process.pid
            )
        except FileNotFoundError:
            return False


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    yield made
    made.all.shutdown()


def carry_through(folder: Path, engine: Engine, progress: Any) -> None:
    (folder / "study.toml").write_text(STUDY)
    (folder / "recipe.toml").write_text(RECIPE)
    study, text = load(folder / "study.toml")
    conduct(schedule(study, text, folder / "out", progress), engine, progress, study.name)


def rows(folder: Path) -> dict[str, list[Any]]:
    """All tables of a study's ledger but times, each row under names that do not depend on the order of stages."""
    (file,) = folder.glob(f"out/*/{LEDGER}")
    db = sqlite3.connect(file)
    found = {}
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = [column for _, column, *_ in db.execute(f"PRAGMA table_info({table})")]
        names = [f"t.{c}" for c in columns if c not in TIMES]
        joins = ""
        if "observation_id" in columns:
            names += ["o.probe_id", "o.asking"]
            joins += (
                " JOIN observations o ON o.id = t.observation_id JOIN checkpoints c ON c.id = o.checkpoint_id"
            )
        elif "checkpoint_id" in columns:
            joins += " JOIN checkpoints c ON c.id = t.checkpoint_id"
        if joins:
            names += ["c.stage_id", "c.step"]
        numbered = {"t.observation_id", "t.checkpoint_id"}
        numbered |= {"t.id"} if table in ("observations", "checkpoints") else set()
        kept = ", ".join(name for name in names if name not in numbered)
        where = f" WHERE key NOT IN {TIMES}" if table == "settings" else ""
        found[table] = sorted(db.execute(f"SELECT {kept} FROM {table} t{joins}{where}").fetchall(), key=repr)
    db.close()
    return found


class Diary(Quiet):
    """What happens to the stages of a run, with the time of day; it looks at the files they write."""

    def __init__(self, folder: Path, act: Callable[["Diary"], None]) -> None:
        super().__init__()
        self.folder, self.act = folder, act
        self.holders: dict[str, list[int]] = {}
        self.states: dict[str, list[int]] = {}
        self.written: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Diary":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def say(self, text: str) -> None:
        line = f"{datetime.now():%H:%M:%S.%f}"[:-3] + f"  {text}"
        self.written.append(line)
        print(line, flush=True)

    def end(self, outcome: str) -> None:
        self.say(outcome)

    def _watch(self) -> None:
        while not self._over.wait(0.002):
            for lock in sorted(self.folder.glob(f"out/*/{STAGES}/*/{LOCK}")):
                self._look(lock)
            self.act(self)

    def _look(self, lock: Path) -> None:
        stage, said = lock.parent.name, lock.read_text().split()
        pids = self.holders.setdefault(stage, [])
        if len(said) == 2 and pids[-1:] != [int(said[1])]:
            pids.append(int(said[1]))
            self.say(f"{stage}: {'on pid' if len(pids) == 1 else 'again, on pid'} {pids[-1]}")
        steps = [path.name.removeprefix("step-") for path in lock.parent.glob("state/step-*")]
        latest = max((int(step) for step in steps if step.isdecimal()), default=0)
        seen = self.states.setdefault(stage, [])
        if latest and seen[-1:] != [latest]:
            seen.append(latest)


class Harm:
    """Kills a worker in the middle of pretraining, and a node in the middle of a stage after fine-tuning."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self.struck: dict[str, tuple[int, int]] = {}
        """Stage -> the process that was at it, and the step it had saved."""
        self._node_is_there = True

    def __call__(self, diary: Diary) -> None:
        for stage, pids in diary.holders.items():
            states = diary.states[stage]
            if stage in self.struck or not pids or not states:
                continue
            if stage.startswith("pretrain-") and 5 <= states[-1] < 15:
                os.kill(pids[-1], signal.SIGKILL)
                self.struck[stage] = pids[-1], states[-1]
                diary.say(f"{stage}: killed pid {pids[-1]}, which had saved step {states[-1]}")
            elif (
                stage.startswith(("reward-", "ppo-", "ipo-"))
                and self._node_is_there
                and self._nodes.is_on_other(pids[-1])
            ):
                self._node_is_there = False
                self.struck[stage] = pids[-1], states[-1]
                diary.say(
                    f"{stage}: killing the node that pid {pids[-1]} is on, which had saved step {states[-1]}"
                )
                self._nodes.all.remove_node(self._nodes.other, allow_graceful=False)


def task(folder: Path, does: str) -> Task:
    leg = Leg(stage=does, twins=("A",), key=f"{does}-1", needs={}, position=0)
    return Task(run="base-3", folder=folder, leg=leg, population=os.urandom(1 << 20))


def fake(task: Task, population: bytes, digest: str) -> Any:
    """What stands for a stage, in a worker."""
    (task.folder / f"{task.leg.stage}-{os.getpid()}").touch()
    match task.leg.stage:
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "fails":
            raise ZeroDivisionError
        case "sleeps":
            time.sleep(600)
    return task.population, population, {name: os.environ.get(name) for name in ONE_THREAD}


def told(engine: Engine, count: int) -> list[tuple[Task, Any]]:
    found: list[tuple[Task, Any]] = []
    end = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < end, "they were not done"
        found += engine.finished(1.0)
    return found


def test_tasks_of_a_run_share_what_is_stored_once(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_a_cluster, "_carried_out", fake)
    stored, put = [], ray.put
    monkeypatch.setattr(ray, "put", lambda value: stored.append(value) or put(value))
    first = task(tmp_path, "one")
    second = Task(run=first.run, folder=tmp_path, leg=first.leg, population=first.population)
    with cluster(nodes.address) as engine:
        assert engine.workers == 3
        for each in (first, second):
            engine.submit(each)
        found = told(engine, 2)
    assert stored == [first.population]
    for done, (sent, population, environment) in found:
        assert done in (first, second)
        assert sent == b""
        assert population == first.population
        assert environment == ONE_THREAD
    assert not ray.is_initialized()


def test_what_a_task_raises_is_raised(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster(nodes.address) as engine:
        engine.submit(task(tmp_path / "elsewhere", "sft"))
        with pytest.raises(BadInput, match=r"^\S*elsewhere: expected every worker to see") as caught:
            told(engine, 1)
        assert type(caught.value) is BadInput
    monkeypatch.setattr(on_a_cluster, "code_digest", lambda: "of another version")
    with cluster(nodes.address, 1) as engine:
        engine.submit(task(tmp_path, "sft"))
        with pytest.raises(BadInput, match="expected the memaudit and the jax of the machine that conducts"):
            told(engine, 1)
    monkeypatch.setattr(on_a_cluster, "_carried_out", fake)
    monkeypatch.setattr(on_a_cluster, "ATTEMPTS", 2)
    with cluster(nodes.address) as engine:
        engine.submit(task(tmp_path, "fails"))
        with pytest.raises(ZeroDivisionError):
            told(engine, 1)
    assert len(list(tmp_path.glob("fails-*"))) == 1
    with cluster(nodes.address) as engine:
        engine.submit(task(tmp_path, "dies"))
        with pytest.raises(BadInput, match=r"dies, twin A: expected a worker to live through it"):
            told(engine, 1)
    assert len(list(tmp_path.glob("dies-*"))) == 2


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379"])
def test_where_there_is_no_cluster_is_bad_input(address: str) -> None:
    with pytest.raises(BadInput, match=f"expected a Ray cluster at {address}.*`ray start`"), cluster(address):
        pass


MAIN = """
import sys
from pathlib import Path
from memaudit.study import cluster
from test_memaudit_peers_ray import fake, task
cluster._carried_out = fake
with cluster.cluster(sys.argv[1]) as engine:
    engine.submit(task(Path(sys.argv[2]), "sleeps"))
    engine.finished(600)
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_no_task_outlives_the_process_that_conducts(
    nodes: Nodes, tmp_path: Path, end: signal.Signals
) -> None:
    command = [sys.executable, "-c", MAIN, nodes.address, str(tmp_path)]
    deadline = time.monotonic() + PATIENCE
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as main:
        while not (noted := list(tmp_path.glob("sleeps-*"))):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        main.send_signal(end)
    worker = Path("/proc", noted[0].name.removeprefix("sleeps-"))
    while worker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_study_that_loses_a_worker_and_a_node_is_that_of_one_machine(
    at_home: Path, nodes: Nodes, tmp_path: Path
) -> None:
    harm = Harm(nodes)
    with Diary(tmp_path, harm) as diary:
        diary.say(f"Ray {ray.__version__}: a node with one CPU, and one with two")
        with cluster(nodes.address) as engine:
            carry_through(tmp_path, engine, diary)
        expected, found = rows(at_home), rows(tmp_path)
        assert found.keys() == expected.keys()
        for table in expected:
            assert found[table] == expected[table], table
        diary.say(
            "equal to the ledger of one process: " + ", ".join(f"{len(r)} {t}" for t, r in found.items())
        )
    (tmp_path / "ray.log").write_text("\n".join(diary.written) + "\n")
    assert len(harm.struck) == 2
    for stage, (pid, step) in harm.struck.items():
        pids, states = diary.holders[stage], diary.states[stage]
        assert len(pids) == 2
        assert pids[0] == pid
        # It went on where it was.
        assert states == sorted(states)
        assert states[-1] > step
