"""Processes that carry out tasks: what becomes of a task whose process is killed, and that no two are at one stage."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memaudit.course import Leg
from memaudit.errors import BadInput
from memaudit.study import cluster as on_a_cluster
from memaudit.study import engines
from memaudit.study.cluster import cluster
from memaudit.study.engines import LOCK, ONE_THREAD, Engine, Local, Task, carry_out, local

PATIENCE = 20.0  # seconds; what is waited for takes none of them
LARGE = os.urandom(1 << 22)  # more than a pipe holds, as a population is


def task(folder: Path, does: str, **needs: str) -> Task:
    leg = Leg(stage=does, twins=("A",), key=f"{does}-1", needs=needs, position=0)
    return Task(run="base-0", folder=folder, leg=leg, population=LARGE)


def fake(task: Task) -> Any:
    """What stands for a stage: it notes the process that is at it, and does what its name says."""
    did = noted(task)
    with (task.folder / task.leg.key).open("a") as file:
        file.write(f"{os.getpid()}\n")
    match task.leg.stage:
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "dies-once" if not did:
            os.kill(os.getpid(), signal.SIGKILL)
        case "complains":
            raise BadInput("expected something else")
        case "waits":
            until(lambda: (task.folder / "go").exists())
        case "sleeps":
            time.sleep(600)
    return os.getpid(), {name: os.environ.get(name) for name in ONE_THREAD}


def noted(task: Task) -> list[int]:
    file = task.folder / task.leg.key
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """A process is there and has not ended yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def told(engine: Engine, count: int) -> list[tuple[Task, Any]]:
    """What an engine tells until so many tasks are done."""
    found: list[tuple[Task, Any]] = []
    until(lambda: len(found) >= count or found.extend(engine.finished(1.0)))
    return found


@pytest.fixture(scope="module")
def engine() -> Iterator[Local]:
    """Two processes that are used by one test after the other: one takes a second to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "carry_out", fake)
        patch.setattr(engines, "ATTEMPTS", 2)
        with local(2) as found:
            assert isinstance(found, Local)
            yield found


@pytest.fixture(autouse=True)
def forgotten(request: pytest.FixtureRequest) -> Iterator[None]:
    """An engine that has raised is at an end; for the next test, it is not."""
    yield
    if "engine" in request.fixturenames:
        found = request.getfixturevalue("engine")
        found._error = None
        found._lost.clear()


def test_a_killed_process_costs_no_other_its_task(engine: Local, tmp_path: Path) -> None:
    waits, dies, next_one = (task(tmp_path, does) for does in ("waits", "dies-once", "next"))
    for each in (waits, dies, next_one):
        engine.submit(each)
    (first, (last, _)), *rest = told(engine, 1)
    assert not rest
    assert first == dies
    assert noted(dies)[-1] == last
    assert len(noted(dies)) == 2
    os.kill(
        noted(waits)[0], signal.SIGINT
    )  # a terminal sends it to all, and it is for this process to answer
    (tmp_path / "go").touch()
    found = {done.leg.stage: pid for done, (pid, _) in told(engine, 2)}
    assert [found["waits"]] == noted(waits)
    assert found["next"] in (found["waits"], last)


def test_a_process_that_is_killed_while_it_is_idle_is_replaced(engine: Local, tmp_path: Path) -> None:
    engine.submit(task(tmp_path, "one"))
    ((_, (pid, _)),) = told(engine, 1)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    for does in ("two", "three"):
        engine.submit(task(tmp_path, does))
    assert pid not in [other for _, (other, _) in told(engine, 2)]


def test_what_ends_every_process_is_bad_input(engine: Local, tmp_path: Path) -> None:
    engine.submit(task(tmp_path, "dies"))
    with pytest.raises(
        BadInput, match=r"base-0: dies, twin A: expected a worker to live.*2 were lost.*--workers"
    ):
        told(engine, 1)
    assert len(noted(task(tmp_path, "dies"))) == 2


def test_bad_input_is_raised_as_it_is_and_after_what_is_done(engine: Local, tmp_path: Path) -> None:
    tasks = [task(tmp_path, does) for does in ("complains", "fine")]
    for each in tasks:
        engine.submit(each)
    until(lambda: all(future.done() for future in engine._running))
    assert [done for done, _ in engine.finished(1.0)] == tasks[1:]
    with pytest.raises(BadInput, match=r"^expected something else$"):
        engine.finished(1.0)


def test_processes_have_one_thread_and_this_one_keeps_its_own(
    engine: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.submit(task(tmp_path, "one"))
    ((_, (_, environment)),) = told(engine, 1)
    assert environment == ONE_THREAD
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("NPROC")
    before = dict(os.environ)
    with local(1):
        assert os.environ["OMP_NUM_THREADS"] == "1"
    assert dict(os.environ) == before


MAIN = """
import sys
from pathlib import Path
from memaudit.study import engines
from test_memaudit_study_engines import fake, task
if __name__ == "__main__":
    engines.carry_out = fake
    with engines.local(1) as engine:
        engine.submit(task(Path(sys.argv[1]), sys.argv[2]))
        engine.finished(600)
"""


def test_no_process_outlives_the_one_that_started_it(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(MAIN)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    tasks: dict[str, Task] = {}
    mains: dict[str, subprocess.Popen[str]] = {}
    for end in ("interrupted", "killed"):
        (tmp_path / end).mkdir()
        tasks[end] = task(tmp_path / end, "sleeps")
        mains[end] = subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / end), "sleeps"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    until(lambda: all(map(noted, tasks.values())))
    os.killpg(mains["interrupted"].pid, signal.SIGINT)  # as a terminal does
    mains["killed"].kill()
    for end, main in mains.items():
        (pid,) = noted(tasks[end])
        until(lambda pid=pid: not alive(pid))
        _, said = main.communicate()
        # What is typed is said to all, and one answers.
        assert said.count("Traceback") == (end == "interrupted")


class Instruments:
    """Stand for those of a run: whoever is at a stage is there until told to leave."""

    def __init__(self) -> None:
        self.at: list[str] = []
        self.leave = threading.Event()

    def carry_out(self, leg: Leg, progress: object) -> str:
        self.at.append(leg.key)
        assert self.leave.wait(PATIENCE)
        return leg.key


@pytest.fixture
def instruments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instruments:
    made = Instruments()
    monkeypatch.setattr(engines, "_instruments", lambda *_: made)
    (tmp_path / "stages").mkdir()
    return made


def locked_out(file: Path) -> bool:
    """Whether somebody holds a stage alone."""
    with file.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def start(tasks: list[Task]) -> list[threading.Thread]:
    threads = [threading.Thread(target=carry_out, args=(each,)) for each in tasks]
    for thread in threads:
        thread.start()
    return threads


def test_no_two_are_at_one_stage(tmp_path: Path, instruments: Instruments) -> None:
    threads = start([task(tmp_path, "sft"), task(tmp_path, "sft")])
    until(lambda: instruments.at)
    time.sleep(0.1)
    assert instruments.at == ["sft-1"]
    lock = tmp_path / "stages" / "sft-1" / LOCK
    assert locked_out(lock)
    assert lock.read_text().split()[1] == str(os.getpid())
    instruments.leave.set()
    for thread in threads:
        thread.join()
    assert instruments.at == ["sft-1", "sft-1"]
    assert not locked_out(lock)


def test_what_others_read_is_not_made_anew_and_they_share_it(
    tmp_path: Path, instruments: Instruments
) -> None:
    (tmp_path / "stages" / "sft-1").mkdir()
    readers = start([task(tmp_path, does, sft="sft-1") for does in ("ppo", "dpo")])
    until(lambda: sorted(instruments.at) == ["dpo-1", "ppo-1"])
    (late,) = start([task(tmp_path, "sft")])
    time.sleep(0.1)
    assert "sft-1" not in instruments.at
    instruments.leave.set()
    for thread in (*readers, late):
        thread.join()
    assert instruments.at[-1] == "sft-1"


def test_a_directory_that_a_worker_does_not_see_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"elsewhere: expected every worker to see .* that all machines share"):
        carry_out(task(tmp_path / "elsewhere", "sft"))
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_bad_input(
    tmp_path: Path, instruments: Instruments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(file: int, operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(
        BadInput, match=r"sft-1/lock: expected a file system with locks .* Function not implemented"
    ):
        carry_out(task(tmp_path, "sft"))


def test_a_study_on_a_cluster_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(on_a_cluster.importlib, "import_module", missing)
    with pytest.raises(BadInput, match=r"pip install 'memaudit\[distributed\]'"), cluster():
        pass
