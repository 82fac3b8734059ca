"""Demuxing a dataset in processes that files may kill."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

import extractor.video.probing
from extractor.video.probing import ProbedItem
from jobs.workers import probing
from jobs.workers.probing import probe_files
from schemas.errors import FailureClass, ResourceError
from schemas.records import FileJob, Item

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray", "fakes_by_value")]

BY_VALUE = (extractor.video.probing,)  # `ProbedItem`: its module imports torch


class FakeProber:
    """Finds as many frames as the path has letters, or dies, raises or hangs if the name says so."""

    def process_id(self) -> int:
        return os.getpid()

    def probe(self, jobs: list[FileJob]) -> list[list[ProbedItem]]:
        for job in jobs:
            match Path(job.path).name.partition("@")[0]:
                case "dies":
                    os._exit(1)
                case "raises":
                    raise RuntimeError("a defect")
                case "hangs":
                    time.sleep(600)
        return [[ProbedItem(item.video_id, 1.0, len(job.path)) for item in job.items] for job in jobs]


class SlowProber(FakeProber):
    def __init__(self) -> None:
        time.sleep(2)


class StillbornProber(FakeProber):
    def __init__(self) -> None:
        os._exit(1)


class UnimportableProber(FakeProber):
    def __init__(self) -> None:
        raise ModuleNotFoundError("No module named 'av'")


def spawn(kind: type = FakeProber) -> Any:
    return ray.remote(kind).options(num_cpus=0, max_restarts=0).remote()


def job(name: str) -> FileJob:
    return FileJob(f"/nowhere/{name}", (Item(name), Item(f"{name}#1-2", 1.0, 2.0)))


def probed(names: list[str], processes: int = 2, start: Callable[[], Any] = spawn) -> dict[str, list[ProbedItem]]:
    jobs = [job(name) for name in names]
    found = list(probe_files(jobs, start, processes))
    assert sorted(one.path for one, _ in found) == sorted(one.path for one in jobs), "each file exactly once"
    for one, items in found:
        assert [item.video_id for item in items] == [item.video_id for item in one.items]
    return {Path(one.path).name: items for one, items in found}


def test_probing_tells_of_every_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_FILES_A_CALL", 6)
    found = probed([f"good@{number}" for number in range(11)])
    assert all(item.num_frames == len(f"/nowhere/{name}") for name, items in found.items() for item in items)
    assert all(item.failure is None for items in found.values() for item in items)


def test_probing_of_nothing_starts_nothing() -> None:
    assert list(probe_files([], lambda: pytest.fail("a process was started"), 2)) == []


@pytest.mark.parametrize("kind", ["dies@", pytest.param("raises@", marks=pytest.mark.slow)])
def test_file_that_ends_its_process_costs_no_other(kind: str) -> None:
    found = probed(["good@1", kind])
    for name, items in found.items():
        for item in items:
            assert item.failure == (None if name.startswith("good") else FailureClass.DECODER_CRASHED)
            assert bool(item.message) is not name.startswith("good")


@pytest.mark.slow
def test_time_that_a_process_takes_to_start_is_charged_to_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_SILENCE_SECONDS", 1.0)
    (items,) = probed(["good@1"], start=lambda: spawn(SlowProber)).values()
    assert [item.failure for item in items] == [None, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (StillbornProber, "Is there enough memory"),
        (UnimportableProber, r"\(ModuleNotFoundError: No module named 'av'\). Mend that"),
    ],
)
def test_processes_that_do_not_start_are_named(kind: type, told: str) -> None:
    with pytest.raises(ResourceError, match=f"expected processes that read files to start; 5 did not .*{told}"):
        probed(["good@1"], start=lambda: spawn(kind))


@pytest.mark.slow
def test_process_that_dies_as_it_starts_is_replaced() -> None:
    kinds = iter([StillbornProber, FakeProber])
    (items,) = probed(["good@1"], start=lambda: spawn(next(kinds))).values()
    assert [item.failure for item in items] == [None, None]


@pytest.mark.slow
def test_file_that_hangs_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_SILENCE_SECONDS", 1.0)
    found = probed(["good@1", "hangs@", "good@2"], processes=1)
    assert {name: items[0].failure for name, items in found.items()} == {
        "good@1": None,
        "hangs@": FailureClass.TIMED_OUT,
        "good@2": None,
    }
