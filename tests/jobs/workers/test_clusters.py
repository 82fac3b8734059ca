"""The driver on simulated clusters: cores and GPUs are only numbers, extractors are fakes that say where they are."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster as SeveralNodes

from jobs.cluster.cluster import cluster
from jobs.cluster.options import DecoderLimits, Options
from jobs.run.planning import ShardSupply
from jobs.workers import driver as module
from jobs.workers.driver import Driver, PlannedShard
from jobs.workers.events import ShardCommitted, ShardProgress
from jobs.workers.extractor import ExtractorSettings
from jobs.workers.ledger import Ledger
from schemas.layout import StorePaths, shard_name
from schemas.records import FileJob, Item
from tests.extractor.store.making import make_run

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("no_ray")]

SMALL = {"object_store_memory": 80 * 1024 * 1024}


class FakeExtractor:
    """Notes where it is; a shard is done once as many extractors as its number of files have one."""

    def __init__(self, settings: Any, workers: Any) -> None:
        self.folder, self.bad = settings.paths.root, settings.weights
        node, (gpu,) = ray.get_runtime_context().get_node_id(), ray.get_gpu_ids()
        self.name = f"{node}.{gpu}.{workers.decoders}.{workers.most_decoders}"

    def load(self) -> tuple[str, ...]:
        if self.bad == "first GPU broken" and ".0." in self.name:
            raise RuntimeError("CUDA error: uncorrectable ECC error")
        return ()

    def drain(self) -> None:
        pass

    def run_shard(self, task: Any) -> Iterator[ShardProgress | ShardCommitted]:
        (self.folder / self.name).touch()
        deadline = time.monotonic() + 100.0
        while len(list(self.folder.glob("[0-9a-f]*.*.*.*"))) < len(task.jobs) and time.monotonic() < deadline:
            time.sleep(0.1)
        if self.bad != "good":
            time.sleep(8.0)  # for three attempts at another one
        yield ShardProgress(task.shard, "x")
        yield ShardCommitted(task.shard, True)


@pytest.fixture(scope="module")
def several() -> Iterator[SeveralNodes]:
    """A cluster whose head has no cores; tests add nodes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_enable_worker_prestart", "0")
        patch.setenv("RAY_prestart_worker_first_driver", "0")
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # so that fakes need not import torch
        made = SeveralNodes(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **SMALL})
        yield made
        made.shutdown()
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def add(several: SeveralNodes) -> Iterator[Callable[[int, int], Any]]:
    """Adds a node of so many cores and GPUs for one test."""
    made = []

    def node(cores: int, gpus: int) -> Any:
        made.append(several.add_node(num_cpus=cores, num_gpus=gpus, **SMALL))
        return made[-1]

    yield node
    for one in made:
        several.remove_node(one)
    several.wait_for_nodes()


def extracted(
    several: SeveralNodes,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    extractors: int,
    *,
    weights: str = "good",
    during: Callable[[], Any] = lambda: None,
    **options: Any,
) -> tuple[list[str], list[str]]:
    """Names of the extractors that worked, and what the user was told, where so many each get a shard.

    during: called when a GPU is waited for, and again and again once an extractor works.
    """
    monkeypatch.setattr(module, "Extractor", FakeExtractor)
    told: list[str] = []

    def say(line: str) -> None:
        told.append(line)
        if "no GPU yet" in line:
            during()

    def draining() -> bool:
        if list(folder.glob("[0-9a-f]*.*.*.*")):
            during()
        return False

    jobs = tuple(FileJob(f"/nowhere/{n}", (Item(str(n)),)) for n in range(extractors))
    shards = ShardSupply([partial(PlannedShard, shard_name(n), jobs, 1) for n in range(extractors)])
    work = Options(ray_address=several.address, device="cuda", **options)
    with cluster(work, store=folder, say=say) as machines:
        placement = machines.nodes.placement(files=100 * extractors)
        settings = ExtractorSettings(StorePaths(folder), make_run(), weights, DecoderLimits())
        made = Driver(settings, placement, machines.nodes, Ledger(settings.paths), "token", say)
        try:
            made.start()
            committed = [event for event in made.run(shards, draining) if isinstance(event, ShardCommitted)]
        finally:
            made.close()
    assert len(committed) == extractors
    return sorted(path.name for path in folder.glob("[0-9a-f]*.*.*.*")), [*placement.notes, *told]


@pytest.mark.parametrize("sizes", [[(16, 1), (64, 1), (16, 1), (64, 1)], [(32, 4), (128, 4)]], ids=str)
def test_every_gpu_of_a_cluster_works(sizes, several, add, tmp_path, monkeypatch) -> None:
    for size in sizes:
        add(*size)
    names, told = extracted(several, tmp_path, monkeypatch, sum(gpus for _, gpus in sizes))
    expected: Counter[int] = Counter()
    for cores, gpus in sizes:
        expected[cores // gpus - 1] += gpus
    assert Counter(int(name.split(".")[3]) for name in names) == expected
    assert len({tuple(name.split(".")[:2]) for name in names}) == len(names), "each has a GPU of its own"
    assert told == []


def test_node_that_joins_late_works_too(several, add, tmp_path, monkeypatch) -> None:
    def later() -> None:
        if len(added) < 2:
            added.append(add(8, 1))

    added = [add(8, 1)]
    names, told = extracted(several, tmp_path, monkeypatch, 2, during=later)
    assert len({name.split(".")[0] for name in names}) == 2
    (line,) = told
    assert line.endswith("is used now, too, by 1 extractor (GPU each) with 7 decoders each")


def test_gpu_is_waited_for_and_one_that_does_not_load_is_left_out(several, add, tmp_path, monkeypatch) -> None:
    def later() -> None:
        if not added:
            added.append(add(32, 4))

    added: list[Any] = []

    names, told = extracted(several, tmp_path, monkeypatch, 3, weights="first GPU broken", during=later)
    assert sorted(name.split(".")[1] for name in names) == ["1", "2", "3"]
    assert told[0] == "the cluster of 1 node has no GPU yet: waiting for one (Ctrl-C ends this)"
    (left_out,) = told[1:]
    assert (
        "could not load its network and is left out; 3 go on (RuntimeError: CUDA error: uncorrectable ECC error)"
        in left_out
    )
    assert os.uname().nodename in left_out
