"""If Ray does not come up, or dies during a command, the command ends in time with one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from extractor.store import FeatureStore
from jobs.cluster.guard import processes_of
from tests.jobs.running import SMALL, Running, msnet, staged
from tests.videos import write_video

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="processes are found by /proc"),
]

VIDEOS = 12
NOTICED_SECONDS = 60.0  # twice what should be enough: the machine may be busy
GONE = "msnet: expected {} to run until the end; its process {} no longer answers"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ends") / "videos"
    for seed in range(VIDEOS):
        write_video(folder / f"{seed}.mp4", frames=200, size=(96, 128), seed=seed)
    return folder


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Ray's folder for one test; its path has to be short."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ray", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)
        for pid in processes_of(f"{folder}/*"):
            os.kill(pid, signal.SIGKILL)


def extraction(videos: Path, store: Path, *more: str) -> Running:
    options = ("--sampling", "dense", "--rate-hz", "25", "--shard-bytes", "300kB")
    return Running("extract", videos, "--out", store, *SMALL, *options, *more)


def ray_process(place: Path, name: str) -> int | None:
    """The process that runs a program, of the only Ray in a folder."""
    for pid in processes_of(f"{place}/*"):
        try:
            program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
        except OSError:
            continue
        if program.rpartition(b"/")[2] == name.encode():
            return pid
    return None


def wait_until(run: Running, phase: str, store: Path) -> None:
    phases: dict[str, Callable[[], object]] = {
        "start": lambda: run.workers("Extractor"),
        "extraction": lambda: staged(store),
    }
    run.wait_for(phases[phase])
    assert run.process.poll() is None


def assert_one_sentence(run: Running, start: str, code: int = 1) -> str:
    """A run ended with an error in its last line, without any output of Ray."""
    assert run.process.returncode == code, run.err
    assert run.out == ""
    for noise in ("state-dump", "\x1b[", "Traceback", ".cc:", ".h:"):
        assert noise not in run.err, run.err
    assert run.err.splitlines()[-1].startswith(start), run.err
    assert run.err.count("msnet: ") == 1
    return run.err.splitlines()[-1]


@pytest.mark.parametrize("phase", ["start", "extraction"])
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_end_of_rays_processes_is_told(name: str, phase: str, videos: Path, place: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run = extraction(videos, store)
    wait_until(run, phase, store)
    run.kill(ray_process(place, name))
    run.end(NOTICED_SECONDS)
    line = assert_one_sentence(run, GONE.format("Ray", name))
    assert line.endswith(f"run `msnet resume {store}`; what is finished is kept")
    assert not processes_of(f"{place}/*")
    assert not list(store.glob("ledger/*"))  # no shard is to blame
    if phase == "extraction":
        assert msnet("resume", store, "--device", "cpu").process.returncode == 0
        assert len(FeatureStore(store).video_ids) == VIDEOS


@pytest.mark.parametrize("name", ["gcs_server", "raylet"])
def test_ray_that_hangs_while_it_starts_is_told(name: str, videos: Path, place: Path, tmp_path: Path) -> None:
    run = extraction(videos, tmp_path / "store")
    run.wait_for(lambda: ray_process(place, name))
    if name == "gcs_server":  # once it listens, it holds its clients in C++
        run.wait_for(lambda: list(place.glob("ray/session_2*/gcs_server_port_*")))
    stopped = ray_process(place, name)
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    run.end(2 * NOTICED_SECONDS)
    assert_one_sentence(run, "msnet: expected Ray to ")
    time.sleep(3.0)  # if the process had to end itself, its guard may still be at work
    assert not processes_of(f"{place}/*")


def test_nothing_of_ray_outlives_a_killed_driver(videos: Path, place: Path, tmp_path: Path) -> None:
    run = extraction(videos, tmp_path / "store")
    wait_until(run, "start", tmp_path / "store")
    run.kill()
    run.end()
    time.sleep(10.0)
    assert not processes_of(f"{place}/*")


def test_machine_without_loopback_is_told(videos: Path, place: Path, tmp_path: Path) -> None:
    isolated = ("unshare", "--map-root-user", "--net")
    if subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("networks cannot be taken away here")
    command = [*isolated, sys.executable, "-m", "msnet_features", "extract", str(videos), "--out", str(tmp_path / "s")]
    ended = subprocess.run([*command, *SMALL], capture_output=True, text=True, timeout=NOTICED_SECONDS, check=False)
    assert ended.returncode == 1
    *_, line = ended.stderr.splitlines()  # before it, perhaps that it starts
    assert line.startswith("msnet: expected this machine to reach itself at 127.0.0.1; it cannot (")


def test_long_path_of_tmpdir_and_no_home_do_not_matter(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setenv("HOME", "/nowhere")
    run = Running("extract", videos, "--out", tmp_path / "store", *SMALL, "--limit", "2")
    assert run.end() == 0, run.err
    assert "Ray's files are in /tmp/ray" in " ".join(run.err.split())
    assert list(long.glob("ray*")) == []


NICENESS = """
import os, ray
from jobs.cluster.cluster import cluster
from jobs.cluster.options import Options
with cluster(Options(device="cpu", extractors=1)):
    print(os.nice(0), ray.get(ray.remote(lambda: os.nice(0)).remote()))
"""


def test_workers_are_as_nice_as_the_command(place: Path) -> None:
    command = ["nice", "-n", "5", sys.executable, "-c", NICENESS]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    own, workers = map(int, ended.stdout.split())
    assert own == workers == os.nice(0) + 5


@pytest.fixture
def head(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a cluster that asks for a token, started by `ray start --head`."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--port=0", "--num-cpus=2", "--block"]
    options = ["--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={place}"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = place / "ray_current_cluster"
    deadline = time.monotonic() + NOTICED_SECONDS
    while not address.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    yield address.read_text().strip()
    process.terminate()
    process.wait(NOTICED_SECONDS)


def test_end_of_a_clusters_head_is_told(head: str, videos: Path, place: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run = extraction(videos, store, "--ray-address", head)
    wait_until(run, "extraction", store)
    run.kill(ray_process(place, "gcs_server"))
    run.end(NOTICED_SECONDS)
    line = assert_one_sentence(run, f"msnet: expected the Ray cluster at {head} to run until the end; its process ")
    assert "no longer answers" in line  # gcs_server, or the raylet, which `ray start --block` ends with it


def test_token_that_is_missing_or_wrong_is_told(
    head: str, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = f"msnet: expected the token of the Ray cluster at {head}; "
    monkeypatch.setenv("RAY_AUTH_TOKEN", "1" * 64)
    run = extraction(videos, tmp_path / "store", "--ray-address", head)
    run.end(NOTICED_SECONDS)
    assert_one_sentence(run, f"{start}got another one. Set RAY_AUTH_MODE=token")
    monkeypatch.delenv("RAY_AUTH_MODE")
    run = extraction(videos, tmp_path / "store", "--ray-address", head)
    run.end(NOTICED_SECONDS)
    assert_one_sentence(run, f"{start}got none. Set RAY_AUTH_MODE=token")
