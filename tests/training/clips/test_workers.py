"""Worker processes: results in order, and whatever a video does to one of them, the others' work goes on."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from schemas.errors import FailureClass, ResourceError
from schemas.records import Failure
from training.clips import workers
from training.clips.records import Example
from training.clips.workers import ClipWorkers, Watch

LONGEST_SECONDS = 300  # for what a busy machine does late


class Deeds:
    """A source whose videos do as their ids say: "exit", "kill", "bus", "crash", "hang", "slow" or "raise".

    "doom" kills even where it is known to be broken.
    """

    def __init__(self, deeds: Mapping[int, str], count: int, processes: int, result_bytes: int = 8) -> None:
        self.examples = [Example(f"{deeds.get(n, 'fine')} {n}", f"/videos/{n}.mp4") for n in range(count)]
        self.broken: dict[str, Failure] = {}
        self.result_bytes = result_bytes
        self.watch = Watch(processes)

    def load(self, key: int) -> Tensor:
        """The number of an example and whether it is broken, and this process."""
        self.watch.note(key)
        name = self.examples[key].video_id
        if name not in self.broken or name.startswith("doom"):
            _do(name.split()[0])
        self.watch.note(-1)
        return torch.tensor([key, name in self.broken, os.getpid()])


def _do(deed: str) -> None:
    match deed:
        case "exit":
            os._exit(3)
        case "kill" | "doom":
            os.kill(os.getpid(), signal.SIGKILL)
        case "bus":
            signal.signal(signal.SIGBUS, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGBUS)
        case "crash":
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            ctypes.string_at(0)
        case "hang":
            time.sleep(3600)
        case "slow":
            time.sleep(3)
        case "raise":
            raise RuntimeError("a defect of the program")


@pytest.fixture
def running() -> Iterator[list[ClipWorkers[int, Tensor]]]:
    """Workers to be closed at the end."""
    found: list[ClipWorkers[int, Tensor]] = []
    yield found
    for one in found:
        one.close()


def results(
    source: Deeds, processes: int, running: list[ClipWorkers[int, Tensor]], keys: Iterable[int] | None = None
) -> list[list[int]]:
    """The number of each example and whether it counted as broken."""
    started = ClipWorkers(source, processes)
    running.append(started)
    return [found[:2].tolist() for found in started.results(range(len(source.examples)) if keys is None else keys)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_end(pids: Iterable[int]) -> None:
    end = time.monotonic() + LONGEST_SECONDS
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < end, "a worker is still running"
        time.sleep(0.05)


def test_a_watch_tells_who_is_where_and_who_is_late() -> None:
    watch = Watch(2)
    assert watch.of(0) == -1
    assert watch.late(0) == []
    watch.note(7)
    assert watch.of(0) == 7
    assert watch.late(60) == []
    time.sleep(0.02)
    assert watch.late(0.01) == [7]
    watch.note(-1)
    assert watch.late(0) == []


def test_without_processes_results_come_from_this_one(running: list[ClipWorkers[int, Tensor]]) -> None:
    assert results(Deeds({}, 5, 0), 0, running) == [[n, 0] for n in range(5)]


def test_results_of_a_process_come_in_order_and_it_ends(running: list[ClipWorkers[int, Tensor]]) -> None:
    """One process, for the quick tests: it leaves no handlers behind, and takes other keys."""
    handler, mask = signal.getsignal(signal.SIGCHLD), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    started: ClipWorkers[int, Tensor] = ClipWorkers(Deeds({}, 9, 1), 1)
    running.append(started)
    endless = started.results(n % 9 for n in iter(int, 1))
    assert [int(next(endless)[0]) for _ in range(3)] == [0, 0, 0]
    found = list(started.results([4, 2, 8]))
    assert [int(result[0]) for result in found] == [4, 2, 8]
    pids = {int(result[2]) for result in found}
    assert os.getpid() not in pids
    assert len(pids) == 1
    assert signal.getsignal(signal.SIGCHLD) is handler
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    started.close()
    started.close()
    wait_for_end(pids)


@pytest.mark.slow
def test_more_processes_than_cores_are_the_users_choice(running: list[ClipWorkers[int, Tensor]]) -> None:
    processes = (os.cpu_count() or 1) + 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert results(Deeds({}, 12, processes), processes, running) == [[n, 0] for n in range(12)]
    assert not [one for one in caught if "DataLoader" in str(one.message)]


@pytest.mark.slow
def test_videos_that_kill_their_worker_are_named_and_the_rest_goes_on(
    running: list[ClipWorkers[int, Tensor]],
) -> None:
    deeds, processes = {2: "exit", 3: "kill", 7: "crash"}, 3
    source = Deeds(deeds, 12, processes)
    assert results(source, processes, running) == [[n, n in deeds] for n in range(12)]
    assert {name: failure.failure for name, failure in source.broken.items()} == {
        f"{deed} {n}": FailureClass.DECODER_CRASHED for n, deed in deeds.items()
    }
    message = source.broken["exit 2"].message
    assert message == "/videos/2.mp4 ended its process. Leave it out, or encode it again"


@pytest.mark.slow
def test_a_video_that_hangs_is_named_and_the_rest_goes_on(
    running: list[ClipWorkers[int, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_DEADLINE_SECONDS", 4.0)
    monkeypatch.setattr(workers, "_POLL_SECONDS", 1)
    source = Deeds({4: "hang", 1: "slow", 9: "slow"}, 12, 2)
    assert results(source, 2, running) == [[n, n == 4] for n in range(12)]
    assert {name: failure.failure for name, failure in source.broken.items()} == {"hang 4": FailureClass.TIMED_OUT}


@pytest.mark.slow
def test_a_result_that_takes_long_is_waited_for_while_no_video_is_late(
    running: list[ClipWorkers[int, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_POLL_SECONDS", 1)
    source = Deeds({0: "slow", 1: "slow"}, 2, 1)
    assert results(source, 1, running) == [[0, 0], [1, 0]]
    assert not source.broken


@pytest.mark.slow
def test_a_death_between_two_results_does_not_disturb_what_the_process_does_meanwhile(
    running: list[ClipWorkers[int, Tensor]],
) -> None:
    """torch would raise in whatever line runs when the worker dies."""
    source = Deeds({1: "kill"}, 6, 1)
    started = ClipWorkers(source, 1)
    running.append(started)
    found = started.results(range(6))
    next(found)
    for _ in range(100):  # a step of training
        time.sleep(0.01)
    assert [result[:2].tolist() for result in found] == [[n, n == 1] for n in range(1, 6)]


@pytest.mark.slow
def test_other_keys_after_a_death(running: list[ClipWorkers[int, Tensor]]) -> None:
    source = Deeds({1: "kill"}, 6, 1)
    started = ClipWorkers(source, 1)
    running.append(started)
    next(started.results(range(6)))
    time.sleep(1)
    assert [result[:2].tolist() for result in started.results([5, 1, 0])] == [[5, 0], [1, 1], [0, 0]]


@pytest.mark.slow
def test_a_worker_that_dies_while_it_decodes_nothing_is_started_again(
    running: list[ClipWorkers[int, Tensor]],
) -> None:
    source = Deeds({}, 6, 1)
    started = ClipWorkers(source, 1)
    running.append(started)
    found = started.results(range(6))
    os.kill(int(next(found)[2]), signal.SIGKILL)
    assert [result[:2].tolist() for result in found] == [[n, 0] for n in range(1, 6)]
    assert not source.broken


@pytest.mark.slow
def test_a_defect_of_the_program_is_no_video_and_is_raised(running: list[ClipWorkers[int, Tensor]]) -> None:
    source = Deeds({1: "raise"}, 3, 1)
    with pytest.raises(RuntimeError, match="a defect of the program"):
        results(source, 1, running)
    assert not source.broken


@pytest.mark.slow
def test_workers_that_always_die_end_the_training(
    running: list[ClipWorkers[int, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_MOST_RESTARTS", 2)
    with pytest.raises(ResourceError, match="expected the processes that decode clips to keep running; got: "):
        results(Deeds({0: "doom"}, 9, 1), 1, running)


@pytest.mark.slow
def test_a_bus_error_is_a_lack_of_shared_memory(running: list[ClipWorkers[int, Tensor]]) -> None:
    source = Deeds({1: "bus"}, 3, 1)
    with pytest.raises(ResourceError, match="Enlarge /dev/shm"):
        results(source, 1, running)
    assert not source.broken


def test_results_that_do_not_fit_into_shared_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ResourceError, match=r"expected 3145728 MiB of shared memory for decoded clips; got \d+\."):
        ClipWorkers(Deeds({}, 1, 1, result_bytes=2**40), 1)
    ClipWorkers(Deeds({}, 1, 0, result_bytes=2**40), 0)  # in this process they need none
    monkeypatch.setattr(workers, "_SHARED_MEMORY", Path("/nowhere"))
    ClipWorkers(Deeds({}, 1, 1, result_bytes=2**40), 1)  # where it is not to be measured, nothing is refused


@pytest.mark.slow
def test_workers_start_from_a_thread_too(running: list[ClipWorkers[int, Tensor]]) -> None:
    """As in a worker of Ray."""
    found: list[list[list[int]]] = []
    thread = threading.Thread(target=lambda: found.append(results(Deeds({1: "kill"}, 4, 1), 1, running)))
    thread.start()
    thread.join()
    assert found == [[[0, 0], [1, 1], [2, 0], [3, 0]]]


SCRIPT = """
    import signal, time
    from tests.training.clips.test_workers import Deeds
    from training.clips.workers import ClipWorkers

    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores it
        workers = ClipWorkers(Deeds({}, 9, 2), 2)
        pids = set()
        for number, result in enumerate(workers.results(n % 9 for n in range(10**9))):
            pids.add(int(result[2]))
            if len(pids) == 2:
                break
        print(*pids, flush=True)
        ENDING
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "sent", "last"),
    [
        ("raise SystemExit('an error')", None, "an error"),
        ("time.sleep(3600)", signal.SIGINT, "KeyboardInterrupt"),
        ("time.sleep(3600)", signal.SIGKILL, ""),
    ],
)
def test_no_worker_outlives_the_process_that_trains(
    tmp_path: Path, ending: str, sent: signal.Signals | None, last: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("ENDING", ending))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        if sent is signal.SIGINT:
            os.killpg(process.pid, sent)  # as a terminal does: to the workers, too
        elif sent is not None:
            process.send_signal(sent)
        errors = process.communicate(timeout=LONGEST_SECONDS)[1]
    wait_for_end(pids)
    assert errors.count("Traceback") == (last == "KeyboardInterrupt")  # of the process itself
    assert last in errors
