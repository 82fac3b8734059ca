from __future__ import annotations

import sys
from pathlib import Path

import pytest

from jobs.cluster.devices import Node, Workers, choose_device, count_gpus, torch_device, use_gpu, wants_gpu
from schemas.errors import ConfigurationError, ResourceError


def test_no_gpu_where_one_is_asked_for_is_refused_in_a_sentence() -> None:
    for device in ("gpu", "cuda"):
        with pytest.raises(ResourceError, match=r"expected a GPU; got 0\. Make .*--device cpu"):
            use_gpu(device, 0)


def test_unknown_device_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="auto, cpu or gpu; got 'tpu'"):
        choose_device("tpu")


@pytest.mark.parametrize(
    ("device", "gpus", "expected"), [("auto", 0, False), ("auto", 0.5, True), ("cpu", 8, False), ("cuda", 1, True)]
)
def test_device_follows_the_gpus_that_there_are(device: str, gpus: float, expected: bool) -> None:
    assert use_gpu(device, gpus) is expected
    assert wants_gpu(device) is (None if device == "auto" else expected)


def test_device_names_are_those_of_torch() -> None:
    assert torch_device(False) == "cpu"
    assert torch_device(True).partition(":")[2] == "0"  # Ray shows an extractor one GPU only


def test_workers_say_how_many_in_words() -> None:
    assert str(Workers(1, 1, 1, False, 16)) == "1 extractor (1 core each) with 1 decoder each"
    assert str(Workers(2, 3, 4, False, 16)) == "2 extractors (4 cores each) with 3 decoders each"
    assert str(Workers(2, 3, 1, True, 16)) == "2 extractors (GPU each) with 3 decoders each"
    assert str(Workers(2, 3, 1, 0.5, 16)) == "2 extractors (0.5 of a GPU each) with 3 decoders each"


@pytest.mark.parametrize(
    ("workers", "each", "reserved", "most"),
    [
        (Workers(2, 15, 1, 1, cores=64), 2, 1, 63),  # the others ask for a core each
        (Workers(2, 15, 1, 1, cores=64, decoders_fixed=True), 16, 15, 15),
        (Workers(2, 1, 1, 1, cores=1), 1, 1, 1),  # shares its only core with its decoder
        (Workers(2, 50, 1, 1, cores=2, decoders_fixed=True), 2, 50, 50),
        (Workers(4, 1, 4, 0, cores=4), 4, 4, 4),  # decoders share the cores of the network
        (Workers(5, 1, 1, 0, cores=0.4), 1, 1, 1),
    ],
)
def test_cores_of_an_extractor_and_its_decoders(workers: Workers, each: int, reserved: int, most: int) -> None:
    assert (workers.cores_each, workers.reserved_decoders, workers.most_decoders) == (each, reserved, most)


def test_node_is_this_machine_unless_it_is_named() -> None:
    assert Node().name == "this machine"


@pytest.mark.parametrize(
    ("version", "driver", "asked"),
    [
        ("cuda = None\nhip = None", True, False),
        ("cuda = None", True, False),
        ("cuda = '13.0'\nhip = None", True, True),
        ("cuda = '13.0'\nhip = None", False, False),
        ("cuda = None\nhip = '7.1'", False, True),
        ("", False, True),  # torch may say it otherwise one day
        ("(", False, True),
    ],
)
def test_torch_is_asked_for_gpus_where_there_may_be_any(
    version: str, driver: bool, asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text(version)
    (tmp_path / "torch" / "__init__.py").write_text(
        "class cuda:\n    is_available = staticmethod(lambda: True)\n    device_count = staticmethod(lambda: 3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr("jobs.cluster.devices._CUDA_DRIVER", "libc.so.6" if driver else "libnowhere.so.1")
    try:
        assert count_gpus() == (3 if asked else 0)
        assert ("torch" in sys.modules) is asked
    finally:
        sys.modules.pop("torch", None)  # before the patch brings the real one back
