"""Placement on clusters of many shapes: every GPU has an extractor or a reason, no node has more than its cores."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from typing import Any

import pytest

from jobs.cluster.devices import Node, Workers
from jobs.cluster.options import Options
from jobs.cluster.placement import Placement, place
from schemas.errors import ResourceError


def nodes(*sizes: tuple[int, float]) -> list[Node]:
    return [Node(str(number), f"node{number}", cores, gpus) for number, (cores, gpus) in enumerate(sizes)]


def on_cluster(**options: Any) -> Options:
    return Options(ray_address="auto", **options)


def shown(placement: Placement) -> list[tuple[str, int, int, int]]:
    """(node, extractors, decoders that each may have, threads) of each group."""
    return [(one.node.id, one.extractors, one.most_decoders, one.threads) for one in placement.groups]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(16, 1)] * 4 + [(64, 1)] * 4, [(str(n), 1, 15 if n < 4 else 63, 1) for n in range(8)]),
        ([(64, 8), (256, 8)], [("0", 8, 7, 1), ("1", 8, 31, 1)]),
        ([(32, 4), (128, 4)], [("0", 4, 7, 1), ("1", 4, 31, 1)]),
        ([(64, 1)], [("0", 1, 63, 1)]),
        ([(56, 7)], [("0", 7, 7, 1)]),  # slices
        ([(8, 0.5)], [("0", 1, 7, 1)]),
        ([(64, 0), (16, 4)], [("1", 4, 3, 1)]),
    ],
)
def test_every_gpu_has_an_extractor_with_decoders_by_its_own_node(
    sizes: list[tuple[int, float]], expected: list[tuple[str, int, int, int]]
) -> None:
    placement = place(True, nodes(*sizes), on_cluster())
    assert shown(placement) == expected
    assert placement.notes == ()
    assert all(group.decoders == min(16, group.most_decoders) for group in placement.groups)


@pytest.mark.parametrize(
    ("sizes", "options", "expected"),
    [
        ([(1, 0)], {}, [("0", 1, 1, 1)]),
        ([(2, 0)], {}, [("0", 1, 2, 2)]),
        ([(16, 0)], {}, [("0", 4, 4, 4)]),
        ([(0, 0), (16, 0), (6, 0)], {}, [("1", 4, 4, 4), ("2", 1, 6, 6)]),
        ([(16, 0)], {"threads": 2}, [("0", 8, 2, 2)]),
        ([(16, 0), (8, 0)], {"extractors": 3}, [("0", 2, 8, 8), ("1", 1, 8, 8)]),
        ([(16, 0)], {"extractors": 2, "decoders": 3}, [("0", 2, 3, 8)]),
    ],
)
def test_on_cpus_extractors_follow_the_cores_of_each_node(sizes, options, expected) -> None:
    for placement in (
        place(False, nodes(*sizes), on_cluster(**options)),
        place(False, nodes(*sizes), Options(**options)),
    ):
        assert shown(placement) == expected
        assert all(group.gpus == 0 and group.decoders == options.get("decoders", 1) for group in placement.groups)


@pytest.mark.parametrize(("gpu", "asked", "each"), [(False, 5, 5), (True, 8, 8)])
def test_a_ray_of_our_own_has_as_many_extractors_as_are_asked_for(gpu: bool, asked: int, each: int) -> None:
    placement = place(gpu, nodes((2, 4)), Options(extractors=asked))
    assert placement.extractors == each
    assert all(group.cores_each == group.most_decoders == 1 for group in placement.groups)
    with pytest.raises(
        ResourceError, match=r"expected room for \d extractors.*; the cluster of 1 node has room for 2\. Give fewer"
    ):
        place(gpu, nodes((2, 4)), on_cluster(extractors=asked))


@pytest.mark.parametrize(("extractors", "shares"), [(1, [1]), (2, [1, 1]), (3, [1, 0.5, 0.5]), (4, [0.5] * 4)])
def test_extractors_beyond_the_gpus_share_the_last_ones(extractors: int, shares: list[float]) -> None:
    placement = place(True, nodes((8, 2)), Options(extractors=extractors))
    assert sorted(one.gpus for one in placement.each()) == sorted(shares)
    assert placement.extractors == extractors


@pytest.mark.parametrize("gpu", [True, False])
def test_no_room_is_refused_in_a_sentence(gpu: bool) -> None:
    for sizes in ([], [(0, 0)], [(0, 4)]):
        with pytest.raises(ResourceError, match=r"room for 1 extractor.*Give fewer --extractors, or add nodes"):
            place(gpu, nodes(*sizes), on_cluster())


@pytest.mark.parametrize(
    ("sizes", "options", "known", "reason"),
    [
        (
            [(2, 4)],
            {},
            {},
            r"^2 of 4 GPUs are not used, as there are fewer cores than GPUs \(node0: 2 cores, 4 GPUs\)$",
        ),
        ([(8, 1), (64, 8)], {"extractors": 8}, {}, "^1 of 9 GPUs is not used, as --extractors 8 "),
        ([(64, 8)], {}, {"shards": 3}, "^5 of 8 GPUs are not used, as there are no more shards than 3 "),
        ([(64, 8)], {"extractors": 6}, {"shards": 3}, "^5 of 8 GPUs are not used, as there are no more shards than 3 "),
        ([(64, 1.01)], {}, {}, "^1 of 2 GPUs is not used, as Ray has too small a part of it "),
        ([(64, 4)], {"extractors": 9}, {}, "^1 of 4 GPUs is not used, as the others are shared by --extractors 9 "),
    ],
)
def test_idle_gpus_are_told_with_the_reason(sizes, options, known, reason) -> None:
    (note,) = place(True, nodes(*sizes), on_cluster(**options), **known).notes
    assert re.search(reason, note)


def test_decoders_that_share_cores_are_told() -> None:
    (note,) = place(False, nodes((2, 0)), Options(decoders=50)).notes
    assert note.startswith("50 decoders of each extractor share 2 cores")
    assert place(False, nodes((2, 0)), Options(decoders=2)).notes == ()


def test_there_are_no_more_decoders_than_files_at_the_start() -> None:
    (group,) = place(True, nodes((64, 1)), Options(), files=5).groups
    assert (group.decoders, group.most_decoders) == (5, 63)
    assert place(True, nodes((64, 8)), Options(), files=20).decoders == 8 * 3


def test_placement_of_any_cluster_uses_every_gpu_or_says_why_and_no_core_twice() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        sizes = [
            (rng.choice((0, 1, 2, 7, 16, 64, 256)), rng.choice((0, 0, 1, 2, 7, 8, 0.5, 1.5)))
            for _ in range(rng.randint(1, 6))
        ]
        cluster, gpu = nodes(*sizes), rng.random() < 0.7
        extractors, shards = (rng.choice((None, None, rng.randint(1, 40))) for _ in range(2))
        options = on_cluster(extractors=extractors, decoders=rng.choice((None, None, 3)))
        try:
            placement = place(gpu, cluster, options, shards=shards)
        except ResourceError:
            assert extractors or not any(node.cores and (node.gpus or not gpu) for node in cluster)
            continue
        assert placement.extractors <= min(number for number in (extractors, shards, 10**6) if number is not None)
        used: Counter[str] = Counter()
        for group in placement.groups:
            used[group.node.id] += group.extractors * group.cores_each
        assert all(used[node.id] <= node.cores for node in cluster)
        parts: Counter[str] = Counter()
        for group in placement.groups:
            parts[group.node.id] += round(group.extractors * group.gpus, 9)  # type: ignore[assignment]
        assert all(parts[node.id] <= node.gpus for node in cluster)
        if gpu:
            told = sum(int(note.partition(" of ")[0]) for note in placement.notes if "GPU" in note)
            idle = sum(math.ceil(node.gpus) - _busy(placement, node) for node in cluster)
            assert told == idle, (sizes, options, shards)


def _busy(placement: Placement, node: Node) -> int:
    """GPUs of a node with an extractor, filled as Ray does it: parts go where others are already."""
    free = [1.0] * int(node.gpus) + [node.gpus % 1] * (node.gpus % 1 > 0)
    before = list(free)
    for group in placement.groups:
        for _ in range(group.extractors if group.node.id == node.id else 0):
            fits = [number for number, left in enumerate(free) if left >= group.gpus - 1e-9]
            free[min(fits, key=free.__getitem__)] -= group.gpus
    return sum(left < whole for left, whole in zip(free, before, strict=True))


def test_extractors_of_a_placement_alternate_between_nodes() -> None:
    placement = place(True, nodes((8, 2), (8, 2)), on_cluster())
    assert [one.node.id for one in placement.each()] == ["0", "1", "0", "1"]


def test_placement_is_worded_by_kind() -> None:
    placement = place(True, nodes(*[(4, 1)] * 4, *[(64, 1)] * 4), on_cluster())
    assert str(placement) == (
        "4 extractors (GPU each) with 16 decoders each, 4 extractors (GPU each) with 3 decoders each"
    )


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ((Workers(8, 7, 1, 1, cores=8), Workers(8, 31, 1, 1, cores=32)), max(3040 / 304, 160 / 16)),
        ((Workers(4, 3, 1, 0.5, cores=4),), 160 / 2),  # four share two GPUs
        ((Workers(4, 1, 4, 0, cores=4),), (3040 + 160 * 4) / 16),
        ((Workers(5, 1, 1, 0, cores=0.4),), (3040 + 160) / 2),  # more of them than cores are of no help
    ],
)
def test_time_follows_from_the_sum_over_nodes(groups: tuple[Workers, ...], expected: float) -> None:
    decode = 1.0 if groups[0].gpus == 0.5 else 3040.0
    assert Placement(groups).wall_seconds(decode, 160.0) == pytest.approx(expected)
