import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from misbehaving import misbehave, sizes
from probe_texts import functions

import probes.workers
from probes.levels import LEVELS
from probes.match import Match, compare_completion
from probes.scoring import Job, Refusal, Result, score


def job(completion: str = "", **fields) -> Job:
    return Job(target=b"x = 1", completion=completion.encode(), levels=("exact",), **fields)


def outcome(result: Result) -> int | str:
    return result.reason if isinstance(result, Refusal) else result["exact"].distance


def scored(completions: list[str], **options) -> list[int | str]:
    options = {"workers": 2, "timeout": 20.0, "function": misbehave} | options
    return [outcome(result) for result in score((job(text) for text in completions), **options)]


def children() -> list[int]:
    """Processes of this one that run, or ran and were not waited for. (The resource tracker ends with us.)"""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"resource_tracker" not in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return sorted(found)


@pytest.fixture(autouse=True)
def _no_process_is_left_behind() -> Iterator[None]:
    before = children()
    yield
    assert multiprocessing.active_children() == []
    assert children() == before


def real_jobs(number: int) -> list[Job]:
    draw = random.Random(7)
    found = []
    for _ in range(number):
        code = draw.choice(functions()).encode()
        at, cut, end = sorted(draw.sample(range(len(code)), 3))
        completion = code[at:cut] + draw.choice([b"", b"\xff\x00", b" # note\n", b"'"]) + code[cut:end]
        found.append(
            Job(
                target=code[at:end],
                completion=completion,
                prompt=code[:at],
                language=draw.choice(["python", "cobol"]),
                secrets=draw.choice([(), (b"self",)]),
                levels=draw.choice([LEVELS, ("code", "exact")]),
            )
        )
    return found


# --- the same answers as without workers


def test_workers_give_what_a_plain_loop_gives_in_the_order_of_the_jobs():
    jobs = real_jobs(150)
    plain = [
        compare_completion(
            job.target,
            job.completion,
            prompt=job.prompt,
            language=job.language,
            secrets=job.secrets,
            levels=job.levels,
        )
        for job in jobs
    ]
    assert list(score(jobs, workers=0)) == plain
    assert list(score(jobs, workers=2)) == plain
    assert [[*result] for result in plain] == [[*job.levels] for job in jobs]


def test_the_order_of_the_jobs_changes_no_answer():
    jobs = real_jobs(40)
    order = random.Random(1).sample(range(40), 40)
    shuffled = list(score([jobs[at] for at in order], workers=2))
    plain = list(score(jobs, workers=0))
    assert shuffled == [plain[at] for at in order]


def test_many_small_jobs_keep_their_order_though_some_are_slow():
    completions = ["sleep 0.1" if number % 97 == 5 else str(number) for number in range(3000)]
    expected = [0 if text.startswith("sleep") else int(text) for text in completions]
    assert scored(completions) == expected


def test_both_workers_work():
    assert len(set(scored(["tell"] * 40 + ["sleep 0.2", "sleep 0.2"] + ["tell"] * 200)) - {0}) == 2


def test_no_jobs_have_no_results_and_start_no_process():
    assert list(score([], workers=2)) == []
    assert list(score([], workers=0)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_job_above_the_limit_is_refused_and_the_limit_itself_is_not(workers):
    fits = Job(target=b"a" * 60, completion=b"1" * 20, prompt=b"p" * 15, secrets=(b"s" * 5,))
    wide = Job(target=b"a" * 60, completion=b"1" * 20, prompt=b"p" * 15, secrets=(b"s" * 6,))
    results = list(score([wide, fits, wide], workers=workers, limit=100, function=sizes))
    assert results[0] == results[2] == Refusal(reason="too large: 101 bytes, limit 100")
    assert results[1] == sizes(
        b"", b"1" * 20, prompt=b"p" * 15, language="python", levels=LEVELS, secrets=(b"",)
    )


def test_a_line_of_ten_megabytes_is_refused_at_once():
    line = Job(target=b"x = 1", completion=b"(" * 10_000_000)
    began = time.monotonic()
    assert list(score([line], workers=0)) == [Refusal(reason="too large: 10,000,005 bytes, limit 262,144")]
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("text", [b"(" * 100_000, b'"{' * 50_000, b"\x00\xff\r\n\t" * 20_000, b"x" * 100_000])
def test_hostile_text_within_the_limit_is_answered(text):
    [result] = score([Job(target=text[:3000], completion=text, prompt=b"x = [")], workers=1)
    assert isinstance(result, dict)
    assert result["exact"].equal


# --- what goes wrong in one job


def test_a_job_that_hangs_is_lost_and_no_other_is():
    completions = [str(number) for number in range(100)]
    completions[3], completions[50] = "spin", "sleep 60"
    began = time.monotonic()
    found = scored(completions, timeout=0.5)
    assert time.monotonic() - began < 15
    assert found[3] == found[50] == "timed out after 0.5 s"
    assert found[:3] + found[4:50] + found[51:] == [n for n in range(100) if n not in (3, 50)]


def test_a_job_that_hangs_while_no_one_reads_is_ended_and_not_tried_again(tmp_path):
    mark = tmp_path / "mark"
    jobs = [job("1"), job(f"spin {mark}"), job("2")]
    results = score(jobs, workers=1, timeout=0.3, function=misbehave)
    assert outcome(next(results)) == 1
    time.sleep(2.2)  # more than twice the timeout and a second
    assert [outcome(result) for result in results] == ["timed out after 0.3 s", 2]
    assert mark.read_text() == "begun\n"


def test_the_time_is_that_of_one_job_not_of_all():
    assert scored(["sleep 0.1"] * 12, timeout=0.9, workers=1) == [0] * 12


def test_a_job_that_waits_for_a_slow_reader_has_not_timed_out():
    results = score([job("sleep 0.01") for _ in range(30)], workers=1, timeout=0.3, function=misbehave)
    found = []
    for result in results:
        found.append(outcome(result))
        time.sleep(0.4 if len(found) < 4 else 0)
    assert found == [0] * 30


def test_a_worker_that_waited_for_a_slow_source_has_not_timed_out():
    def jobs() -> Iterator[Job]:
        for _ in range(4):
            time.sleep(0.6)
            yield job("tell")

    results = score(jobs(), workers=1, timeout=0.5, function=misbehave)
    assert len({outcome(result) for result in results}) == 1, "one worker has done all"


@pytest.mark.parametrize(
    ("deed", "how"),
    [
        ("kill SIGKILL", "signal 9, Killed"),
        ("kill SIGSEGV", "signal 11, Segmentation fault"),
        ("exit 3", "exit code 3"),
    ],
)
def test_a_job_that_ends_its_worker_is_lost_and_no_other_is(deed, how):
    completions = [str(number) for number in range(60)]
    completions[20] = completions[59] = deed
    found = scored(completions)
    assert found[20] == found[59] == f"worker died: {how}"
    assert found[:20] + found[21:59] == [n for n in range(59) if n != 20]


def test_a_job_whose_worker_ended_once_is_tried_again(tmp_path):
    assert scored(["1", f"exit-once {tmp_path / 'mark'}", "2"]) == [1, 0, 2]
    assert (tmp_path / "mark").exists()


def test_a_job_that_wants_too_much_memory_is_lost_and_no_other_is():
    wants = f"hoard {1 << 32}"
    reason = "out of memory: 21 bytes of text took more than there is"
    assert scored(["1", wants, "2"], memory=1 << 30) == [1, reason, 2]
    assert scored(["1", f"hoard {1 << 60}", "2"], workers=0)[::2] == [1, 2]
    [lost] = scored([f"hoard {1 << 60}"], workers=0)
    assert str(lost).startswith("out of memory: ")


def test_a_worker_that_is_killed_from_outside_is_replaced_and_no_job_is_lost():
    jobs = [job("tell"), *(job("sleep 0.05") for _ in range(20)), job("tell")]
    results = score(jobs, workers=1, function=misbehave)
    first = outcome(next(results))
    assert isinstance(first, int)
    os.kill(first, signal.SIGKILL)
    *slept, last = map(outcome, results)
    assert slept == [0] * 20
    assert isinstance(last, int)
    assert last != first


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_raised_in_its_jobs_turn(workers):
    jobs = [job("1"), job("2"), job("raise"), job("3")]
    results = score(jobs, workers=workers, function=misbehave)
    assert [outcome(next(results)), outcome(next(results))] == [1, 2]
    with pytest.raises(LookupError, match="nothing there") as caught:
        next(results)
    assert bool(workers) == any("in misbehave" in note for note in getattr(caught.value, "__notes__", []))


def test_an_error_that_survives_no_pipe_is_raised_by_its_name():
    with pytest.raises(RuntimeError, match="Awkward: all"):
        scored(["raise-awkward"], workers=1)


def test_an_error_of_the_iterable_is_raised():
    def jobs() -> Iterator[Job]:
        yield from (job(str(number)) for number in range(10))
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(score(jobs(), workers=2, function=misbehave))


# --- the processes end with the iterator


@pytest.mark.parametrize("ending", ["close", "forget"])
def test_an_iterator_that_is_left_early_ends_its_processes(ending):
    results = score((job("tell") for _ in range(10_000)), workers=2, function=misbehave)
    worker = outcome(next(results))
    assert worker in children()
    if ending == "close":
        results.close()
    else:
        del results
    assert worker not in children()


def test_jobs_are_taken_only_some_way_ahead_of_the_results(monkeypatch):
    monkeypatch.setattr(probes.workers, "_AHEAD", 100)
    taken = []

    def jobs() -> Iterator[Job]:
        for number in range(2000):
            taken.append(number)
            yield job(str(number) if number else "sleep 1")

    results = score(jobs(), workers=2, function=misbehave)
    assert outcome(next(results)) == 0
    assert len(taken) <= 101
    assert [outcome(result) for result in results] == list(range(1, 2000))


PROGRAM = """
import signal

from misbehaving import misbehave
from probes.scoring import Job, score

def jobs():
    yield Job(target=b"", completion=b"tell", levels=("exact",))
    while True:
        yield Job(target=b"", completion=b"%s", levels=("exact",))

def main():
    # A shell that runs the tests in the background has interrupts ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for result in score(jobs(), workers=2, timeout=%s, function=misbehave):
        print(result["exact"].distance, flush=True)

%smain()
"""


def program(
    folder: Path, *, then: str = "sleep 0.02", timeout: float = 60, guard: bool = True
) -> subprocess.Popen:
    path = folder / "program.py"
    path.write_text(PROGRAM % (then, timeout, 'if __name__ == "__main__": ' if guard else ""))
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([here, *sys.path])},
        start_new_session=True,
    )


def runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(process: int, *, within: float) -> bool:
    deadline = time.monotonic() + within
    while runs(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not runs(process)


def test_an_interrupt_from_the_keyboard_ends_all_processes_without_noise(tmp_path):
    with program(tmp_path) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        parent.stdout.readline()
        os.killpg(parent.pid, signal.SIGINT)
        _, errors = parent.communicate(timeout=20)
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert gone(worker, within=5)


@pytest.mark.parametrize("then", ["sleep 0.02", "spin"])
def test_workers_do_not_outlive_a_parent_that_was_killed(tmp_path, then):
    with program(tmp_path, then=then, timeout=0.5) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        parent.kill()
    assert gone(worker, within=10)


def test_a_script_without_a_guard_is_told_of_it(tmp_path):
    with program(tmp_path, guard=False) as parent:
        _, errors = parent.communicate(timeout=30)
    assert parent.returncode == 1
    assert 'start the work under `if __name__ == "__main__":`' in errors


def test_importing_the_probes_starts_nothing_heavy():
    code = textwrap.dedent("""
        import sys, probes.scoring
        print([name for name in ("numpy", "jax", "tree_sitter", "concurrent.futures") if name in sys.modules])
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- arguments


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"workers": -1}, ValueError, "workers of at least 0, got -1"),
        ({"workers": 1.0}, TypeError, "workers as a whole number, got 1.0"),
        ({"workers": True}, TypeError, "workers as a whole number, got True"),
        ({"timeout": 0}, ValueError, "timeout of more than 0 seconds, got 0"),
        ({"timeout": float("inf")}, ValueError, "finite timeout"),
        ({"timeout": float("nan")}, ValueError, "finite timeout"),
        ({"timeout": "1"}, TypeError, "timeout in seconds, got '1'"),
        ({"timeout": True}, TypeError, "timeout in seconds, got True"),
        ({"limit": 0}, ValueError, "limit of at least 1, got 0"),
        ({"limit": None}, TypeError, "limit as a whole number, got None"),
        ({"memory": 0}, ValueError, "memory of at least 1, got 0"),
        ({"memory": 1e9}, TypeError, "memory as a whole number"),
        ({"function": "compare"}, TypeError, "a function that compares, got 'compare'"),
        ({"function": lambda **_: {}}, TypeError, "a function that workers can import"),
    ],
)
def test_wrong_options_are_told_before_any_work(options, error, message):
    with pytest.raises(error, match=message):
        score([], **({"workers": 1} | options))


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"target": "x"}, TypeError, "expected target as bytes, got str; encode it"),
        ({"completion": None}, TypeError, "expected completion as bytes, got NoneType"),
        ({"prompt": bytearray(b"x")}, TypeError, "expected prompt as bytes, got bytearray"),
        ({"language": b"python"}, TypeError, "expected the name of a language, got b'python'"),
        ({"secrets": [b"x"]}, TypeError, "expected secrets as a tuple of bytes"),
        ({"secrets": ("x",)}, TypeError, "expected secrets as a tuple of bytes"),
        ({"secrets": b"xy"}, TypeError, "expected secrets as a tuple of bytes"),
        ({"secrets": (b"x", b"")}, ValueError, "an empty one; leave it out"),
        ({"levels": ()}, TypeError, "expected a tuple of at least one level"),
        ({"levels": "exact"}, TypeError, "expected a tuple of at least one level"),
        ({"levels": ("exact", "fine")}, ValueError, "got 'fine'"),
    ],
)
def test_a_wrong_job_is_told_when_it_is_made(fields, error, message):
    with pytest.raises(error, match=message):
        Job(**({"target": b"", "completion": b""} | fields))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_no_job_is_told(workers):
    with pytest.raises(TypeError, match="expected jobs of class Job, got tuple"):
        list(score([(b"x", b"y")], workers=workers))  # type: ignore[list-item]


def test_a_reason_quotes_nothing_of_the_job():
    secret = "hunter2" * 20
    [reason] = scored([f"exit 3 {secret}"], workers=1, limit=50)
    assert isinstance(reason, str)
    assert "hunter2" not in reason


def test_a_result_is_made_of_matches():
    [result] = score([job("x")], workers=0)
    assert result == {
        "exact": Match(level="exact", distance=4, target_length=5, completion_length=1, lexer="python")
    }
