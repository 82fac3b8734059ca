"""Nodes that come and go, with a fake of Ray that knows what each of them sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayError

from jobs.cluster import nodes as module
from jobs.cluster.devices import Node
from jobs.cluster.nodes import Nodes, nodes_that_share, wait_for_gpu
from jobs.cluster.options import Options
from schemas.errors import ResourceError, StorageError

FIRST = Node("0", "first", 16, 1)


class FakeRay:
    """Answers at once; tasks that nothing does (`_nothing`) wait for ever."""

    def __init__(self) -> None:
        self.alive = [FIRST]
        self.blind: set[str] = set()
        self.broken: set[str] = set()
        self.asked: list[Any] = []
        self.wishes: list[dict[str, Any]] = []
        self.cancelled = 0

    def remote(self, **options: Any) -> Any:
        return lambda function: SimpleNamespace(
            remote=lambda: self.wishes.append(options) or ("wish", len(self.wishes))
        )

    def cancel(self, reference: Any) -> None:
        self.cancelled += 1

    def wait(self, references: Sequence[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return [one for one in references if one[0] != "wish"], [one for one in references if one[0] == "wish"]

    def get(self, reference: Any, timeout: float = 0.0) -> list[bool]:
        if reference[1] in self.broken:
            raise RayError("no such module")
        return [reference[1] not in self.blind]

    def ask_for(self, node: Node, paths: Sequence[Path]) -> Any:
        self.asked.append((node.id, [path.exists() for path in paths]))
        return "answer", node.id


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRay]:
    made = FakeRay()
    monkeypatch.setattr(module, "ray", made)
    monkeypatch.setattr(module, "_ask_for", made.ask_for)
    monkeypatch.setattr(module, "living_nodes", lambda: list(made.alive))
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.0)
    yield made


def of_cluster(told: list[str], store: Path | None = None, gpu: bool = True, **options: Any) -> Nodes:
    made = Nodes(gpu, [FIRST], Options(ray_address="auto", **options), told.append, store)
    made.placement()
    return made


def test_node_that_joins_is_used_while_work_waits(fake: FakeRay, tmp_path: Path) -> None:
    told: list[str] = []
    nodes = of_cluster(told, tmp_path)
    fake.alive.append(Node("1", "late", 64, 2))
    assert nodes.newcomers(running=1, missing=0) == []
    found = nodes.newcomers(running=1, missing=5)
    assert [(one.node.name, one.gpus, one.most_decoders) for one in found] == [("late", 1, 31), ("late", 1, 31)]
    assert nodes.newcomers(running=3, missing=5) == []
    assert told == ["late is used now, too, by 2 extractors (GPU each) with 16 decoders each"]
    assert fake.asked == [("1", [True])], "it was asked for a file that was there"
    assert list(tmp_path.iterdir()) == []


def test_node_that_cannot_be_used_is_told(fake: FakeRay, tmp_path: Path) -> None:
    told: list[str] = []
    nodes = of_cluster(told, tmp_path)
    fake.alive += [Node("1", "blind", 8, 1), Node("2", "bare", 8, 1), Node("3", "cores", 8, 0)]
    fake.blind, fake.broken = {"1"}, {"2"}
    for _ in range(3):
        assert nodes.newcomers(running=1, missing=5) == []
    assert told == [
        "blind joined, but does not see the store and the dataset: it is not used",
        "bare joined, but cannot be used (no such module): is msnet-features installed on it?",
    ]
    assert list(tmp_path.iterdir()) == []


def test_no_more_extractors_than_are_asked_for(fake: FakeRay) -> None:
    nodes = of_cluster([], extractors=2)
    fake.alive.append(Node("1", "late", 64, 8))
    assert nodes.newcomers(running=2, missing=5) == []
    assert not fake.wishes
    assert len(nodes.newcomers(running=1, missing=5)) == 1
    assert not fake.wishes


def test_node_that_had_nothing_to_do_takes_over(fake: FakeRay) -> None:
    other = Node("1", "other", 16, 1)
    nodes = Nodes(True, [FIRST, other], Options(ray_address="auto"))
    assert nodes.placement(shards=1).extractors == 1
    assert [one.node.name for one in nodes.newcomers(running=0, missing=1)] == ["other"]


def test_nodes_that_are_gone_are_told_once(fake: FakeRay) -> None:
    told: list[str] = []
    nodes = of_cluster(told)
    assert nodes.lives(FIRST)
    fake.alive.clear()
    assert not nodes.lives(FIRST) and not nodes.lives(FIRST)
    for _ in range(3):
        assert nodes.newcomers(running=0, missing=2) == []
    assert told == [
        "first is gone; other nodes go on with its shards",
        "all nodes with extractors are gone: waiting for one to join (Ctrl-C ends this)",
    ]


def test_autoscaler_hears_of_what_is_missing(fake: FakeRay) -> None:
    nodes = of_cluster([])
    for _ in range(3):
        nodes.newcomers(running=1, missing=4)
    assert fake.wishes == [{"num_cpus": 2, "num_gpus": 1, "max_retries": 0}] * 4
    nodes.newcomers(running=1, missing=0)
    assert fake.cancelled == 4


def test_nothing_is_left_of_a_node_that_does_not_answer_until_the_end(
    fake: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ask_for", lambda node, paths: ("wish", node.id))  # no answer
    nodes = of_cluster([], tmp_path)
    fake.alive.append(Node("1", "late", 64, 2))
    assert nodes.newcomers(running=1, missing=5) == []
    assert len(list(tmp_path.iterdir())) == 1
    nodes.close()
    assert list(tmp_path.iterdir()) == []


def test_ray_of_our_own_has_no_other_nodes(fake: FakeRay) -> None:
    nodes = Nodes(False, [Node()], Options())
    fake.alive.append(Node("1", "late", 64, 8))
    assert nodes.newcomers(running=0, missing=5) == []
    assert nodes.lives(Node())
    assert not fake.wishes


def test_nodes_that_die_before_they_answer_are_left_out(fake: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    late = Node("1", "late", 8, 1)
    fake.broken, looks = {"1"}, iter([[FIRST, late], [FIRST, late], [FIRST]])
    monkeypatch.setattr(module, "living_nodes", lambda: next(looks))
    assert nodes_that_share(None, Path("/"), [FIRST, late]) == [FIRST]


def test_node_that_lives_and_does_not_answer_is_named(fake: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GOING_SECONDS", 0.0)
    fake.broken = {"0"}
    with pytest.raises(
        ResourceError, match=r"each of the cluster's 1 node; first gave none \(no such module\)\. Is msnet"
    ):
        nodes_that_share(None, Path("/"), [FIRST])


def test_node_that_does_not_see_what_is_shared_is_refused(fake: FakeRay, tmp_path: Path) -> None:
    fake.blind = {"0"}
    with pytest.raises(StorageError, match=r"see the store \(.*\); 1 of 1 do not"):
        nodes_that_share(tmp_path, None, [FIRST])
    assert list(tmp_path.iterdir()) == []


def test_gpu_is_waited_for_aloud(fake: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    looks = iter([[Node("0", "bare", 8, 0)]] * 3 + [[Node("0", "bare", 8, 0), FIRST]])
    monkeypatch.setattr(module, "living_nodes", lambda: next(looks))
    assert FIRST in wait_for_gpu(Options(device="gpu", ray_address="auto"), told.append)
    assert told == ["the cluster of 1 node has no GPU yet: waiting for one (Ctrl-C ends this)"]
    assert (len(fake.wishes), fake.cancelled) == (1, 1)
