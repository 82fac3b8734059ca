from __future__ import annotations

import pytest

from jobs.cluster.devices import Workers, plan_cluster_workers, plan_workers, torch_device
from schemas.errors import ConfigurationError, ResourceError


@pytest.mark.parametrize(
    ("device", "cores", "gpus", "options", "expected"),
    [
        ("auto", 1, 0, {}, (1, 1, 1, False)),
        ("auto", 2, 0, {}, (1, 1, 2, False)),
        ("auto", 16, 0, {}, (4, 1, 4, False)),
        ("cpu", 16, 8, {}, (4, 1, 4, False)),
        ("cpu", 16, 0, {"extractors": 2, "decoders": 3}, (2, 3, 8, False)),
        ("cpu", 2, 0, {"extractors": 5}, (5, 1, 1, False)),
        ("cpu", 16, 0, {"threads": 2}, (8, 1, 2, False)),
        ("auto", 16, 1, {}, (1, 15, 1, True)),
        ("auto", 64, 4, {}, (4, 15, 1, True)),
        ("gpu", 128, 4, {}, (4, 16, 1, True)),
        ("gpu", 64, 4, {"extractors": 2, "decoders": 2}, (2, 2, 1, True)),
        ("gpu", 2, 4, {}, (4, 1, 1, True)),
    ],
)
def test_workers_are_laid_over_cores_and_gpus(device, cores, gpus, options, expected) -> None:
    workers = plan_workers(device, cores=cores, gpus=gpus, **options)
    assert (workers.extractors, workers.decoders, workers.threads, workers.gpu) == expected


@pytest.mark.parametrize("extractors", [None, 1, 2])
def test_no_gpu_where_one_is_asked_for_is_refused_in_a_sentence(extractors: int | None) -> None:
    with pytest.raises(ResourceError, match=r"expected a GPU; got 0\. Make .*--device cpu"):
        plan_workers("gpu", cores=8, gpus=0, extractors=extractors)


@pytest.mark.parametrize(("extractors", "share"), [(1, 1.0), (2, 1.0), (3, 0.5), (4, 0.5), (5, 1 / 3)])
def test_extractors_beyond_the_gpus_share_them(extractors: int, share: float) -> None:
    workers = plan_workers("auto", cores=8, gpus=2, extractors=extractors)
    assert (workers.extractors, workers.gpus) == (extractors, share)
    assert extractors * share <= 2
    assert ("of a GPU each" in str(workers)) == (share < 1)


def test_unknown_device_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="auto, cpu or gpu; got 'tpu'"):
        plan_workers("tpu", cores=8, gpus=0)


def test_device_names_are_those_of_torch() -> None:
    assert torch_device(False) == "cpu"
    assert torch_device(True).partition(":")[2] == "0"  # Ray shows an extractor one GPU only


def test_workers_say_how_many_in_words() -> None:
    assert str(Workers(1, 1, 1, False, 16)) == "1 extractor (1 core each) with 1 decoder each"
    assert str(Workers(2, 3, 4, False, 16)) == "2 extractors (4 cores each) with 3 decoders each"
    assert str(Workers(2, 3, 1, True, 16)) == "2 extractors (GPU each) with 3 decoders each"


def test_an_extractor_reserves_cores_for_a_fixed_number_of_decoders_or_for_the_first() -> None:
    assert Workers(2, 3, 4, 0, decoders_fixed=True).cores_each == 7
    assert Workers(2, 3, 4, 0).cores_each == 5
    assert plan_workers("cpu", cores=16, gpus=0, decoders=3).decoders_fixed
    assert not plan_workers("cpu", cores=16, gpus=0).decoders_fixed


@pytest.mark.parametrize(
    ("device", "nodes", "options", "expected"),
    [
        ("auto", [(8, 0)], {}, (1, 1, 4, False)),
        ("auto", [(2, 0)], {}, (1, 1, 1, False)),
        ("auto", [(16, 0), (16, 0), (4, 0)], {}, (6, 1, 4, False)),
        ("auto", [(4, 0), (4, 0)], {}, (2, 1, 3, False)),
        ("auto", [(1, 0), (16, 0)], {}, (3, 1, 4, False)),
        ("cpu", [(16, 4)], {"decoders": 4, "threads": 4}, (2, 4, 4, False)),
        ("auto", [(64, 0), (16, 4)], {}, (4, 3, 1, True)),
        ("auto", [(64, 4), (64, 8)], {}, (12, 7, 1, True)),
        ("gpu", [(64, 4), (64, 4)], {"extractors": 2, "decoders": 2}, (2, 2, 1, True)),
        ("auto", [(8, 1), (128, 2)], {"decoders": 20}, (2, 20, 1, True)),
    ],
)
def test_workers_fit_on_the_nodes_of_a_cluster(device, nodes, options, expected) -> None:
    workers = plan_cluster_workers(device, nodes, **options)
    assert (workers.extractors, workers.decoders, workers.threads, workers.gpu) == expected
    each = workers.threads + workers.decoders
    room = sum(min(c // each, g if workers.gpu else c) for c, g in nodes)
    assert workers.extractors <= room


@pytest.mark.parametrize(
    ("device", "nodes", "options"),
    [
        ("auto", [(1, 0)], {}),
        ("auto", [], {}),
        ("gpu", [(64, 0)], {}),
        ("auto", [(8, 0), (8, 0)], {"extractors": 3, "threads": 4}),
        ("auto", [(64, 4)], {"extractors": 5}),
        ("auto", [(8, 8)], {"decoders": 1, "extractors": 5}),
    ],
)
def test_cluster_without_room_is_refused_in_a_sentence(device, nodes, options) -> None:
    with pytest.raises(ResourceError, match="Give fewer --extractors or --decoders"):
        plan_cluster_workers(device, nodes, **options)
