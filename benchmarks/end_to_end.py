"""What `msnet extract` costs beyond decoding, resizing and the network: CPU seconds and wall seconds.

    python -m benchmarks.end_to_end FOLDER [--copies 4]

Start-up (Ray, imports, loading the network) cancels out: the folder is extracted once as it is and once with every
video copied `--copies` times, and the difference is the cost of the copies. The baseline is a bare loop in one process:
decode, resize and run the network, one file after another, writing nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import torch

from extractor import load_model
from extractor.extraction.request import Request
from extractor.extraction.resolving import resolve
from extractor.models.spec import member_frames
from extractor.pipeline.devices import CPUDevice
from extractor.pipeline.feeder import Feeder
from extractor.video.decoding import decode
from extractor.video.listing import list_videos
from schemas.config import Sampling
from schemas.errors import VideoError
from schemas.records import FrameChunk, Header, ItemPlan, Restart

__all__ = ["main"]

_MODEL = "msnet_resnet18"
_MARK = "MSNET_BENCHMARK_RUN"
_TICKS = os.sysconf("SC_CLK_TCK")


def main(arguments: list[str] | None = None) -> None:
    """Print the ratios for a folder of videos."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--copies", type=int, default=4)
    options = parser.parse_args(arguments)
    decode_cpu, decode_wall, network_cpu, network_wall = _bare(options.folder)
    with tempfile.TemporaryDirectory() as place:
        once = _extract(_copies(options.folder, Path(place) / "once", 1), Path(place) / "store_once")
        many = _extract(_copies(options.folder, Path(place) / "many", options.copies), Path(place) / "store_many")
    added = options.copies - 1
    cpu, wall = (many[0] - once[0]) / added, (many[1] - once[1]) / added
    bare = decode_cpu + network_cpu
    larger = max(decode_wall, network_wall)
    print(f"end to end, {_MODEL}, dense at 10 Hz, one extractor of one thread, one decoder; {options.folder.name}")
    print(f"  decode and resize alone   {decode_cpu:7.1f} CPU s  {decode_wall:7.1f} s")
    print(f"  network alone             {network_cpu:7.1f} CPU s  {network_wall:7.1f} s")
    print(f"  extract                   {cpu:7.1f} CPU s  {wall:7.1f} s, without start-up")
    print(f"  CPU seconds, extract over decode, resize and network alone   {cpu / bare:.2f}  (target: at most 1.15)")
    print(f"  wall seconds, extract over the larger of the two             {wall / larger:.2f}  (target: at most 1.2)")


def _copies(folder: Path, place: Path, copies: int) -> Path:
    for job in list_videos(folder).jobs:
        for i in range(copies):
            link = place / str(i) / job.items[0].video_id
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(job.path)
    return place


def _bare(folder: Path) -> tuple[float, float, float, float]:
    """CPU and wall seconds of decoding and resizing, then of the network, in one thread of this process."""
    torch.set_num_threads(1)
    resolved = resolve(Request(model=_MODEL, weights="random", sampling=Sampling.DENSE))
    network = load_model(_MODEL, weights="random")
    feeder = Feeder(network, resolved.config, (), CPUDevice(), lambda rows: None, batch_frames=16)
    spent = [0.0, 0.0, 0.0, 0.0]
    for job in list_videos(folder).jobs:
        events = decode(job, resolved.config, members=member_frames(resolved.config))
        while True:
            cpu, wall = time.process_time(), time.perf_counter()
            try:
                event = next(events, None)
            except VideoError:
                break
            spent[0] += time.process_time() - cpu
            spent[1] += time.perf_counter() - wall
            cpu, wall = time.process_time(), time.perf_counter()
            match event:
                case Header(plans=(ItemPlan(ranges=ranges),)) if ranges is not None:
                    sequence = feeder.open(0, 0, 0, ranges)
                case FrameChunk(frames=frames, last=last):
                    feeder.push(sequence, [frames], last=last)
                case Restart() if ranges is not None:
                    feeder.drop(sequence)
                    sequence = feeder.open(0, 0, 0, ranges)
                case None:
                    feeder.flush()
            spent[2] += time.process_time() - cpu
            spent[3] += time.perf_counter() - wall
            if event is None:
                break
    return spent[0], spent[1], spent[2], spent[3]


def _extract(folder: Path, store: Path) -> tuple[float, float]:
    """CPU seconds of all processes of an extraction, and wall seconds from start to end."""
    mark = uuid.uuid4().hex
    command = [
        *(sys.executable, "-m", "msnet_features", "extract", str(folder), "--out", str(store), "--model", _MODEL),
        *("--weights", "random", "--sampling", "dense", "--rate-hz", "10", "--device", "cpu", "--extractors", "1"),
        *("--decoders", "1", "--threads", "1"),
    ]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, _MARK: mark}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    seconds: dict[int, float] = {}
    while process.poll() is None:
        seconds.update(_cpu_seconds(mark))
        time.sleep(0.25)
    wall = time.perf_counter() - started
    if process.returncode not in (0, 2):
        raise SystemExit(f"extract ended with {process.returncode}: run it by hand to see why")
    return sum(seconds.values()), wall


def _cpu_seconds(mark: str) -> dict[int, float]:
    """CPU seconds so far, by process id, of every process with the mark in its environment."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                found[int(folder.name)] = (int(fields[11]) + int(fields[12])) / _TICKS
        except OSError:
            continue
    return found


if __name__ == "__main__":
    main()
