"""The script for whoever has a GPU: all of it in tiny sizes on a CPU, so that it cannot rot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks.network.on_a_gpu import Row, Sizes
from benchmarks.network.speed_on_a_gpu import extraction_rows, peak_of
from tests.extractor.pipeline.fake_cuda import fake_cuda
from training.world.videos import write_demo_videos

PARTS = (
    "float16 against float32",
    "batches against",
    "out of memory",
    "NaN",
    "frames a second",
    "MSNet over TSM",
    "msnet extract",
)


@pytest.mark.slow
@pytest.mark.ray
def test_all_of_the_script_runs_in_tiny_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cpu", "--quick"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert found["failed"] == []
    assert found["device"] == "cpu"
    for part in PARTS:
        assert any(part in name for name in found["rows"]), part
    for name, value in found["rows"].items():
        assert any(name in line for line in table), name
        assert value is not None, name
    assert 0 < found["rows"]["msnet_resnet18, dense, float32: share of time the device is busy"] <= 1
    assert found["rows"]["msnet extract: frames a second"] > 0


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.ray
def test_all_of_the_script_runs_on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    assert gpu.main(["--quick"]) == 0


@pytest.mark.slow
def test_the_parts_use_a_gpu_as_it_is_to_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a fake device: no call and no argument is wrong. There are no values, so no check holds."""
    sizes = replace(gpu.QUICK, dtypes=("float32", "float16"))
    write_demo_videos(tmp_path / "videos", 1, height=64, width=80, seconds=(1.5, 1.6))
    for name, value in {
        "get_device_name": "NVIDIA H200",
        "get_device_properties": SimpleNamespace(total_memory=10**11),
        "set_per_process_memory_fraction": None,
        "reset_peak_memory_stats": None,
        "max_memory_allocated": 10**9,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *arguments, value=value: value)
    with fake_cuda(tmp_path) as cuda, cuda.waiting(), np.errstate(all="ignore"):
        rows = [row for part in gpu.PARTS[:-1] for row in part("cuda:0", tmp_path / "videos", sizes)]
    names = {row.name for row in rows}
    assert "msnet_resnet18, windows, float16: share of the peak" in names
    assert "resnet18, float16: time of MSNet over TSM" in names


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert capsys.readouterr().err == "expected a GPU that torch can use; got none. Run it where there is one.\n"


def test_a_check_that_fails_and_a_part_that_breaks_are_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(device: str, videos: Path, sizes: Sizes) -> list[Row]:
        raise ValueError("a kernel that does not exist")

    def wrong(device: str, videos: Path, sizes: Sizes) -> list[Row]:
        return [Row("the error", 0.5, "<= 0.1", False), Row("the speed", 3.0)]

    monkeypatch.setattr(gpu, "PARTS", (broken, wrong))
    monkeypatch.setattr(gpu, "write_demo_videos", lambda *arguments, **options: None)
    assert gpu.main(["--device", "cpu", "--quick"]) == 1
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    assert found["failed"] == ["broken", "the error"]
    assert found["rows"] == {"broken": None, "the error": 0.5, "the speed": 3.0}
    assert "FAILED  ValueError: a kernel that does not exist" in printed


@pytest.mark.parametrize(
    ("name", "dtype", "teraflops"),
    [
        ("NVIDIA H200", "float16", 989),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989),
        ("NVIDIA H100 PCIe", "float16", 756),
        ("NVIDIA A100-SXM4-80GB", "float32", 19.5),
        ("NVIDIA GeForce RTX 4090", "float16", 165.2),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "float16", None),
        ("Tesla T4", "float16", None),
    ],
)
def test_the_peak_follows_from_the_name(name: str, dtype: str, teraflops: float | None) -> None:
    assert peak_of(name, dtype) == (None if teraflops is None else teraflops * 1e12)


def test_what_an_extraction_says_is_understood() -> None:
    printed = (
        "this run: 9 extracted, 0 failed; 12,345 frames\nin 10.5 s, 1 extractor;\n"
        "  network    8.4\n  waiting    2.1  extr"
    )
    rows = {
        row.name: row.value
        for row in extraction_rows(printed, "12:00 9 done; this run 9 extracted, 0 failed in 10.5 s")
    }
    assert rows["msnet extract: frames a second"] == pytest.approx(12345 / 10.5)
    assert rows["msnet extract: share of time the device is busy"] == pytest.approx(0.8)
    with pytest.raises(RuntimeError, match="in what msnet extract says"):
        extraction_rows("nothing", "")
