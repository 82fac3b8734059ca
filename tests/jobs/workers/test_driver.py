"""The driver with fake extractors that do what the names of their files say."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.cluster.devices import Node, Workers
from jobs.cluster.nodes import Nodes
from jobs.cluster.options import Options
from jobs.cluster.placement import Placement
from jobs.run.planning import ShardSupply
from jobs.workers import driver
from jobs.workers.driver import Driver, PlannedShard
from jobs.workers.events import ShardCommitted, ShardProgress, ShardTask
from jobs.workers.ledger import Ledger
from schemas.errors import FailureClass, ResourceError, StorageError, WeightsError
from schemas.layout import StorePaths, shard_name
from schemas.records import FileJob, Item

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray", "fakes_by_value")]


class FakeExtractor:
    """Has the methods of `jobs.workers.extractor.Extractor`; its store holds notes, its weights say how loading ends.

    Notes every task in the folder. A file's name is what happens at it, then "@" and anything.
    """

    def __init__(self, settings: Any, workers: Workers) -> None:
        self.folder, self.loading, self.node = settings.paths.root, settings.weights, workers.node.name

    def load(self) -> tuple[str, ...]:
        match self.loading:
            case "raises":
                raise WeightsError("they do not fit")
            case "dies":
                os._exit(1)
            case "lacks a library":
                raise ModuleNotFoundError("No module named 'av'")
            case "one works" if self.node != "good":
                with (self.folder / "attempts").open("a") as file:
                    file.write(f"{self.node}\n")
                raise RuntimeError("CUDA out of memory")
        return ("a note",)

    def drain(self) -> None:
        (self.folder / "drained").touch()

    def run_shard(self, task: ShardTask) -> Iterator[ShardProgress | ShardCommitted]:
        note = {"shard": task.shard, "one_by_one": task.one_by_one, "poisonous": [path for path, _ in task.poisonous]}
        note |= {"node": self.node} if self.node != NAME else {}
        with (self.folder / "tasks").open("a") as file:
            file.write(json.dumps(note) + "\n")
        for job in task.jobs:
            if job.path in note["poisonous"]:
                continue
            if task.one_by_one and not Path(job.path).name.startswith("early_"):
                yield ShardProgress(task.shard, "x", started=(job.path,))
            self.happen(Path(job.path).name.partition("@")[0], job.path)
        yield ShardProgress(task.shard, "x")
        yield ShardCommitted(task.shard, True)

    def happen(self, kind: str, path: str) -> None:
        if kind.startswith("once_"):
            marker = self.folder / Path(path).name
            if marker.exists():
                return
            marker.touch()
            kind = kind.removeprefix("once_")
        match kind.removeprefix("early_"):
            case "dies":
                time.sleep(0.2)  # so that earlier events arrive
                os._exit(1)
            case "raises":
                raise RuntimeError("a defect")
            case "full":
                raise StorageError("the disk is full")
            case "slow":
                time.sleep(1.0)
            case "outlasts":  # the attempts of two broken places
                while len((self.folder / "attempts").read_text().split()) < 6:
                    time.sleep(0.05)
                time.sleep(2.0)
            case "waits":  # until four shards have started, including this one
                while len(tasks(self.folder)) < 4:
                    time.sleep(0.02)


NAME = Node().name
Drivers = Callable[..., Driver]


class FakeNodes(Nodes):
    """Nodes of which some are gone, and others join when an extractor is missing. All are this machine to Ray."""

    def __init__(self, gone: Sequence[str] = (), joining: Sequence[str] = ()) -> None:
        super().__init__(False, (), Options())
        self.gone, self.joining = gone, list(joining)

    def lives(self, node: Node) -> bool:
        return node.name not in self.gone

    def newcomers(self, running: int, missing: int) -> list[Workers]:
        return [workers(self.joining.pop())] if missing and self.joining else []


def workers(name: str = NAME) -> Workers:
    return Workers(1, 0, 0, 0, 1, decoders_fixed=True, node=Node(name=name))  # asks for no core


@pytest.fixture
def drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drivers]:
    """Makes drivers whose store, and whose extractors' notes, are in `tmp_path`."""
    monkeypatch.setattr(driver, "Extractor", FakeExtractor)
    made = []

    def make(
        *names: str, loading: str = "works", nodes: Nodes | None = None, say: Callable[[str], None] = lambda _: None
    ) -> Driver:
        paths = StorePaths(tmp_path)
        settings: Any = SimpleNamespace(paths=paths, weights=loading)  # of `ExtractorSettings`, which imports torch
        placement = Placement(tuple(map(workers, names or (NAME,))))
        made.append(Driver(settings, placement, nodes or FakeNodes(), Ledger(paths), "token", say))
        return made[-1]

    yield make
    for one in made:
        one.close()


def shard(number: int, *names: str, size: int = 1) -> PlannedShard:
    jobs = tuple(FileJob(f"/nowhere/{name}", (Item(name),)) for name in names or ("good@",))
    return PlannedShard(shard_name(number), jobs, size)


def supply(shards: Iterable[PlannedShard], *, open: bool = False) -> ShardSupply:
    return ShardSupply([partial(replace, one) for one in shards], open=open)


def run(driver: Driver, *shards: PlannedShard) -> list[str]:
    """Names of the shards that were committed, in order."""
    driver.start()
    events = list(driver.run(supply(shards), lambda: False))
    return [event.shard for event in events if isinstance(event, ShardCommitted)]


def tasks(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "tasks").read_text().splitlines()]


def test_driver_runs_every_shard_in_the_order_in_which_they_come(drivers: Drivers) -> None:
    """The supply is empty for a while, twice: planning is slower than the extractor."""
    one = drivers()
    one.start()
    assert one.notes == ("a note",)
    growing = supply([shard(1), shard(0)], open=True)
    turns, committed = iter(range(1000)), []

    def more() -> bool:
        turn = next(turns)
        if turn == 40:
            growing.put([partial(shard, 2)])
        if turn == 80:
            growing.end()
        return False

    for event in one.run(growing, more):
        committed += [event.shard] if isinstance(event, ShardCommitted) else []
    assert committed == [shard_name(k) for k in (1, 0, 2)]


@pytest.mark.slow
def test_shards_are_shared_among_extractors(drivers: Drivers, tmp_path: Path) -> None:
    shards = [shard(0, "waits@", size=9), *(shard(k) for k in range(1, 4))]
    committed = run(drivers(NAME, NAME), *shards)  # would hang with one extractor
    assert shard_name(0) in committed[2:] and len(committed) == len(tasks(tmp_path)) == 4


@pytest.mark.parametrize("kind", ["once_dies@", pytest.param("once_raises@", marks=pytest.mark.slow)])
def test_shard_whose_extractor_ended_is_put_back(kind: str, drivers: Drivers, tmp_path: Path) -> None:
    one = drivers()
    assert sorted(run(one, shard(0, "good@", kind), shard(1))) == [shard_name(0), shard_name(1)]
    history = Ledger(StorePaths(tmp_path)).history(shard_name(0))
    assert (history.crashes, history.suspects, one.given_up) == (1, [], [])


@pytest.mark.slow
def test_poisonous_file_is_found_and_left_out(drivers: Drivers, tmp_path: Path) -> None:
    assert run(drivers(), shard(0, "good@1", "dies@", "good@2")) == [shard_name(0)]
    assert tasks(tmp_path) == [
        {"shard": shard_name(0), "one_by_one": crash >= 3, "poisonous": ["/nowhere/dies@"] if crash == 5 else []}
        for crash in range(6)
    ]
    ((path, error),) = Ledger(StorePaths(tmp_path)).history(shard_name(0)).poisonous()
    assert (path, error.failure) == ("/nowhere/dies@", FailureClass.EXTRACTOR_CRASHED)
    assert "died" in error.message and len(error.message.splitlines()) == 1


@pytest.mark.slow
def test_history_of_a_shard_is_that_of_earlier_runs_too(drivers: Drivers, tmp_path: Path) -> None:
    ledger = Ledger(StorePaths(tmp_path))
    for _ in range(3):
        ledger.crashed(shard_name(0), None, FailureClass.EXTRACTOR_CRASHED, "before")
    assert run(drivers(), shard(0, "once_dies@")) == [shard_name(0)]
    assert [task["one_by_one"] for task in tasks(tmp_path)] == [True, True]


@pytest.mark.slow
def test_shard_that_no_file_is_to_blame_for_is_given_up(drivers: Drivers, tmp_path: Path) -> None:
    ledger = Ledger(StorePaths(tmp_path))
    for _ in range(9):
        ledger.crashed(shard_name(0), None, FailureClass.EXTRACTOR_CRASHED, "before")
    one = drivers()
    assert run(one, shard(0, "early_dies@", size=9), shard(1)) == [shard_name(1)]
    assert one.given_up == [shard_name(0)]


def test_full_disk_ends_the_run_by_its_own_sentence(drivers: Drivers) -> None:
    with pytest.raises(StorageError, match=r"^the disk is full$"):
        run(drivers(), shard(0, "full@"))


def test_weights_that_do_not_load_end_the_start_by_their_own_sentence(drivers: Drivers) -> None:
    with pytest.raises(WeightsError, match=r"^they do not fit$"):
        drivers(loading="raises").start()


@pytest.mark.slow
def test_extractor_that_cannot_load_is_left_out_aloud_while_another_works(drivers: Drivers, tmp_path: Path) -> None:
    told: list[str] = []
    made = drivers("good", "bad", "worse", loading="one works", say=told.append)
    assert len(run(made, shard(0, "outlasts@"))) == 1
    assert len(told) == 2
    assert (
        told[-1]
        == "an extractor could not load its network and is left out; 1 go on (RuntimeError: CUDA out of memory)"
    )
    attempts = (tmp_path / "attempts").read_text().split()
    assert sorted(attempts) == ["bad"] * 3 + ["worse"] * 3, "each place has its own attempts"


def test_nodes_that_join_get_shards_that_wait(drivers: Drivers, tmp_path: Path) -> None:
    shards = [shard(0, "waits@", size=9), *(shard(k) for k in range(1, 4))]
    committed = run(drivers("first", nodes=FakeNodes(joining=["late"])), *shards)  # would hang with one extractor
    assert len(committed) == 4
    assert {task["node"] for task in tasks(tmp_path)} == {"first", "late"}


def test_extractor_whose_node_is_gone_is_not_replaced_there(drivers: Drivers, tmp_path: Path) -> None:
    nodes = FakeNodes(gone=["first"], joining=["late"])
    assert run(drivers("first", nodes=nodes), shard(0, "once_dies@")) == [shard_name(0)]
    assert [task["node"] for task in tasks(tmp_path)] == ["first", "late"]


@pytest.mark.parametrize(
    ("loading", "advice"),
    [
        ("dies", "Is there enough memory on the device"),
        ("lacks a library", r"ModuleNotFoundError: No module named 'av'\). Mend that, and run the command again$"),
    ],
)
def test_extractor_that_does_not_load_is_given_up_with_its_cause(drivers: Drivers, loading: str, advice: str) -> None:
    with pytest.raises(
        ResourceError, match=rf"expected an extractor to load its network; 3 failed \(.*{advice}"
    ) as caught:
        drivers(loading=loading).start()
    assert len(str(caught.value).splitlines()) == 1


def test_drain_begins_no_other_shard(drivers: Drivers, tmp_path: Path) -> None:
    one = drivers()
    one.start()
    begun: list[Any] = []
    committed = []
    for event in one.run(supply([shard(k, "slow@") for k in range(4)], open=True), lambda: bool(begun)):
        begun.append(event)
        committed += [event.shard] if isinstance(event, ShardCommitted) else []
    assert len(tasks(tmp_path)) == len(committed) == 1
    deadline = time.monotonic() + 20
    while not (tmp_path / "drained").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "drained").exists()


@pytest.mark.slow
def test_check_between_events_may_end_the_run(drivers: Drivers) -> None:
    one = drivers()
    one.start()
    checks = []

    def draining() -> bool:
        checks.append(1)
        if len(checks) == 3:
            raise StorageError("taken over")
        return False

    with pytest.raises(StorageError, match="taken over"):
        list(one.run(supply(shard(k) for k in range(4)), draining))
