"""Kill -9 of each kind of process: nothing finished is lost or computed twice, and the result is equal.

MSNET_CHAOS_ROUNDS=20 tries 20 random moments for each, three quarters of an hour, instead of three.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from jobs.stores.compare import compare_stores
from tests.jobs.running import SMALL, Running, decoded, msnet, staged
from tests.videos import write_video

pytestmark = [pytest.mark.ray, pytest.mark.slow]  # tests/jobs/run/test_extraction kills one extractor

VIDEOS, FRAMES = 10, 50
ROLES = ("driver", "Extractor", "Decoder", "Writer")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chaos") / "videos"
    for i in range(VIDEOS):
        write_video(folder / f"video_{i:02d}.mp4", frames=FRAMES, fps=25, size=(96, 128), seed=i)
    (folder / "broken.mp4").write_bytes(b"not a video")
    return folder


@pytest.fixture(scope="module")
def undisturbed(dataset: Path) -> Path:
    store = dataset.parent / "undisturbed"
    assert msnet("extract", dataset, "--out", store, *options()).process.returncode == 2
    return store


def options() -> tuple[str, ...]:
    return (*SMALL, "--sampling", "dense", "--rate-hz", "25", "--shard-bytes", "300kB")


def committed(store: Path) -> set[str]:
    return {path.stem for path in store.glob("commits/*.json")}


def disturb(dataset: Path, store: Path, role: str, random_state: random.Random) -> None:
    """Run, kill one process of `role` at a random moment, and wait for the run or a resume to end."""
    run = Running("extract", dataset, "--out", store, *options())
    wanted = random_state.randint(0, VIDEOS - 2)
    done = lambda: len(staged(store)) + 3 * len(committed(store)) >= wanted and run.workers("Decoder")  # noqa: E731
    run.wait_for(done)
    time.sleep(random_state.uniform(0.0, 0.5))
    before, begun = staged(store), {attempt for attempt, _ in decoded(store)}
    shards = committed(store)
    if role == "driver":
        run.kill()
    else:
        for pid in run.workers(role)[:1]:
            run.kill(pid)
    code = run.end()
    assert "Traceback" not in run.err, run.err
    if role == "driver":
        resumed = msnet("resume", store, "--device", "cpu")
        assert resumed.process.returncode == 2, resumed.err
        assert_not_decoded_again(store, dataset, before, begun)
    else:
        assert code == 2, run.err
        if role in ("Extractor", "Writer"):
            assert_not_decoded_again(store, dataset, before, begun)
    assert shards <= committed(store)


def assert_not_decoded_again(store: Path, dataset: Path, before: dict[str, set[str]], begun: set[str]) -> None:
    """No attempt after the kill started a file that was staged before it."""
    later = {path for attempt, path in decoded(store) if attempt not in begun | set().union(*before.values(), set())}
    finished = {str(dataset / f"video_{i:02d}.mp4") for i in range(VIDEOS) if f"video_{i:02d}.mp4" in before}
    assert not later & finished


def assert_equal(store: Path, other: Path) -> None:
    report = compare_stores(store, other)
    assert report.equal, report.differences
    assert report.clips == VIDEOS


@pytest.mark.parametrize("role", ROLES)
def test_kill_of_one_process_loses_nothing(role: str, dataset: Path, undisturbed: Path, tmp_path: Path) -> None:
    disturb(dataset, tmp_path / "store", role, random.Random(ROLES.index(role)))
    assert_equal(tmp_path / "store", undisturbed)


@pytest.mark.parametrize("round_", range(int(os.environ.get("MSNET_CHAOS_ROUNDS", "3"))))
def test_kill_at_random_moments_loses_nothing(round_: int, dataset: Path, undisturbed: Path, tmp_path: Path) -> None:
    for role in ROLES:
        store = tmp_path / role.lower()
        disturb(dataset, store, role, random.Random(100 + 10 * round_ + ROLES.index(role)))
        assert_equal(store, undisturbed)
