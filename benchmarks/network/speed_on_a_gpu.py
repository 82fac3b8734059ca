"""What `benchmarks.gpu` measures: speed, busy share, share of the device's peak, MSNet over TSM, an extraction."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.network.__main__ import alternate, ratio
from benchmarks.network.on_a_gpu import Frames, Row, Sizes, random_frames
from extractor import MSNet, build_network, load_model
from extractor.models.pieces import WHOLE
from extractor.pipeline.devices import device_of
from extractor.pipeline.feeder import Feeder
from extractor.video.listing import list_videos
from schemas.config import ExtractionConfig, Sampling

__all__ = ["extraction_rows", "measure_extraction", "measure_speeds", "measure_tsm", "peak_of"]

_CLIP = 8
_LONG = 64  # frames of a video in windows
_TURNS = 8

_PEAKS = {
    "H200": (67, 989),
    "H100 PCIe": (51, 756),
    "H100": (67, 989),
    "A100": (19.5, 312),
    "4090": (82.6, 165.2),
}
"""TFLOP/s in float32 without TF32, and in float16 and bfloat16 with sums in float32, by the data sheets."""


def measure_speeds(device: str, videos: Path, sizes: Sizes) -> list[Row]:
    """Frames and clips a second with ready-made frames, the device's busy share, and the share of its peak."""
    rows = []
    for backbone in sizes.backbones:
        flops = _flops_a_frame(f"msnet_{backbone}", sizes.size)
        for dtype in sizes.dtypes:
            network = load_model(f"msnet_{backbone}", weights="random", dtype=getattr(torch, dtype), device=device)
            assert isinstance(network, MSNet)
            for sampling in (Sampling.WINDOWS, Sampling.DENSE):
                rows += _speed(device, network, sampling, dtype, flops, sizes)
    return rows


def _speed(device: str, network: MSNet, sampling: Sampling, dtype: str, flops: float, sizes: Sizes) -> list[Row]:
    name = f"{network.spec.name}, {sampling}, {dtype}"
    config = ExtractionConfig(
        model=network.spec.name, weights="random", seed=0, sampling=sampling, size=sizes.size, dtype=dtype
    )
    target = device_of(device)
    feeder = Feeder(network, config, (), target, lambda rows: None)
    windows = sampling is Sampling.WINDOWS
    starts = np.arange(0, _LONG, _CLIP)
    ranges = np.stack([starts, starts + _CLIP], 1) if windows else WHOLE
    frames = random_frames(_LONG if windows else sizes.dense_frames, sizes.size, 0)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
    _feed_for(feeder, frames, ranges, sizes.seconds / 4)  # a warm-up
    busy, started = target.busy_seconds, time.perf_counter()
    videos = _feed_for(feeder, frames, ranges, sizes.seconds)
    seconds = time.perf_counter() - started
    rate = videos * len(frames) / seconds
    peak = peak_of(_device_name(device), dtype)
    rows = [
        Row(f"{name}: frames a second", rate, f"batches of {feeder.batch_frames}"),
        Row(
            f"{name}: clips a second", videos * len(ranges) / seconds, f"of {_CLIP if windows else len(frames)} frames"
        ),
        Row(f"{name}: share of time the device is busy", (target.busy_seconds - busy) / seconds),
    ]
    if peak is not None:
        rows.append(Row(f"{name}: share of the peak", rate * flops / peak, f"of {peak / 1e12:g} TFLOP/s"))
    if device != "cpu":
        gigabytes = torch.cuda.max_memory_allocated(device) / 1e9
        rows.append(Row(f"{name}: memory of the device, GB", gigabytes, "at most at a time"))
    return rows


def _feed_for(feeder: Feeder, frames: Frames, ranges: np.ndarray, seconds: float) -> int:
    """Feed the same video again and again; returns how often. At the end everything is computed."""
    count, until = 0, time.perf_counter() + seconds
    while not count or time.perf_counter() < until:
        feeder.push(feeder.open(count, 0, 0, ranges), [frames], last=True)
        feeder.poll()
        count += 1
    feeder.flush()
    return count


def measure_tsm(device: str, videos: Path, sizes: Sizes) -> list[Row]:
    """The time of MSNet over that of TSM, which is the same network without the MS module."""

    def clock() -> float:
        if device != "cpu":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    rows = []
    clips = torch.randn(sizes.clips, _CLIP, 3, sizes.size, sizes.size, device=device)
    for backbone in sizes.backbones:
        for dtype in sizes.dtypes:
            work: dict[str, Callable[[], object]] = {}
            for family in ("msnet", "tsm"):
                network = load_model(
                    f"{family}_{backbone}", weights="random", dtype=getattr(torch, dtype), device=device
                )
                work[family] = lambda run=network: run(clips)  # type: ignore[misc]
            with torch.inference_mode():
                seconds = alternate(work, _TURNS, clock)
            note = f"batches of {sizes.clips} clips"
            rows.append(Row(f"{backbone}, {dtype}: time of MSNet over TSM", ratio(seconds, "msnet", "tsm"), note))
    return rows


def measure_extraction(device: str, videos: Path, sizes: Sizes) -> list[Row]:
    """`msnet extract` on copies of the videos, without start-up: frames a second, and the device's busy share."""
    kind = "cpu" if device == "cpu" else "gpu"
    with tempfile.TemporaryDirectory() as place:
        for job in list_videos(videos).jobs:
            for number in range(sizes.copies):
                link = Path(place) / "videos" / str(number) / job.items[0].video_id
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(job.path)
        command = [
            *(sys.executable, "-m", "msnet_features", "extract", f"{place}/videos", "--out", f"{place}/store"),
            *("--size", str(sizes.size), "--dtype", sizes.dtypes[-1], "--device", kind, "--extractors", "1"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        log = "\n".join(path.read_text() for path in (Path(place) / "store" / "logs").glob("*"))
    if done.returncode:
        raise RuntimeError(f"expected msnet extract to end with 0; got {done.returncode}: {done.stderr[-500:]}")
    return extraction_rows(done.stdout + done.stderr, log)


def extraction_rows(printed: str, log: str) -> list[Row]:
    """From what `msnet extract` printed, and the log of its run."""
    frames = float(_found(r"([\d,]+)\s+frames?\s+in", printed).replace(",", ""))
    network, waiting = (float(_found(rf"^ *{stage} +([\d.]+)", printed)) for stage in ("network", "waiting"))
    seconds = float(_found(r"this run .* in ([\d.]+) s", log))
    return [
        Row("msnet extract: frames a second", frames / seconds, f"{frames:.0f} frames in {seconds:.1f} s"),
        Row("msnet extract: share of time the device is busy", network / seconds, "one extractor"),
        Row("msnet extract: share of time it waits for decoders", waiting / seconds),
    ]


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise RuntimeError(f"expected {pattern!r} in what msnet extract says; got {text[-500:]!r}")
    return match[1]


def peak_of(name: str, dtype: str) -> float | None:
    """FLOP a second of a GPU by its name; None if it is not known."""
    for known, (single, half) in _PEAKS.items():
        if all(word in name.split() or f"{word}-" in name for word in known.split()) and "Laptop" not in name:
            return (single if dtype == "float32" else half) * 1e12
    return None


def _device_name(device: str) -> str:
    return "cpu" if device == "cpu" else torch.cuda.get_device_name(device)


@cache
def _flops_a_frame(model: str, size: int) -> float:
    """Two for each multiply-add, counted on a CPU, with all products of the correlation's tiles."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        build_network(model).eval()(torch.zeros(1, _CLIP, 3, size, size))
    return float(counter.get_total_flops()) / _CLIP
