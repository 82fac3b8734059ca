"""All that only a GPU can show, in one run of at most 8 minutes: `make bench-gpu`, or `python -m benchmarks.gpu`.

It checks number formats, batches, a lack of memory and NaN, then measures speed, memory and an extraction of videos
that it makes. It ends in one table and a last line of JSON: the same rows, by name, and which of them do not hold. The
exit code is 0, or 1 if a check failed. Without a GPU it says so and exits with 2. `--device cpu --quick` tries the
script itself.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.network.on_a_gpu import Row, Sizes, check_batches, check_formats, check_memory, check_nan
from benchmarks.network.speed_on_a_gpu import measure_extraction, measure_speeds, measure_tsm
from training.world.videos import write_demo_videos

__all__ = ["main"]

FULL = Sizes(
    size=224,
    clips=32,
    seconds=4.0,
    dense_frames=300,
    backbones=("resnet18", "resnet50"),
    dtypes=("float32", "float16"),
    sequences=(2, 3, 9, 40, 17, 100, 8, 8, 55, 31),
    too_many=2048,
    videos=3,
    video_seconds=(8.0, 12.0),
    height=256,
    width=340,
    copies=100,
)
QUICK = Sizes(
    size=64,
    clips=1,
    seconds=0.2,
    dense_frames=40,
    backbones=("resnet18",),
    dtypes=("float32",),
    sequences=(2, 3, 9, 17),
    too_many=32,
    videos=1,
    video_seconds=(1.5, 1.6),
    height=64,
    width=80,
    copies=2,
)
PARTS = (check_formats, check_batches, check_memory, check_nan, measure_speeds, measure_tsm, measure_extraction)


def main(arguments: list[str] | None = None) -> int:
    """Run all parts, print the table and the line of JSON; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0", help="as torch calls it")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: tries the script, measures nothing")
    options = parser.parse_args(arguments)
    if options.device != "cpu" and not torch.cuda.is_available():
        print("expected a GPU that torch can use; got none. Run it where there is one.", file=sys.stderr)
        return 2
    sizes = QUICK if options.quick else FULL
    if options.quick and options.device != "cpu":
        sizes = replace(sizes, too_many=16384)  # fewer of 64 pixels fit
    started = time.perf_counter()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        videos = Path(place)
        write_demo_videos(videos, sizes.videos, height=sizes.height, width=sizes.width, seconds=sizes.video_seconds)
        for part in PARTS:
            rows += _rows_of(part, options.device, videos, sizes)
    name = "cpu" if options.device == "cpu" else torch.cuda.get_device_name(options.device)
    seconds = time.perf_counter() - started
    failed = [row.name for row in rows if row.holds is False]
    print(f"\n{name}, torch {torch.__version__}, {seconds:.0f} s")
    print(_table(rows))
    values = {row.name: row.value if math.isfinite(row.value) else None for row in rows}
    print(
        json.dumps({"device": name, "torch": torch.__version__, "seconds": seconds, "rows": values, "failed": failed})
    )
    return 1 if failed else 0


def _rows_of(part: Callable[[str, Path, Sizes], list[Row]], device: str, videos: Path, sizes: Sizes) -> list[Row]:
    """The rows of a part; a part that breaks is a row by itself, and the others follow."""
    started = time.perf_counter()
    try:
        rows = part(device, videos, sizes)
    except Exception as error:
        rows = [Row(part.__name__, float("nan"), f"{type(error).__name__}: {error}"[:300], False)]
    print(f"{part.__name__}: {time.perf_counter() - started:.0f} s", flush=True)
    return rows


def _table(rows: list[Row]) -> str:
    width = max(len(row.name) for row in rows)
    said = {None: "", True: "ok", False: "FAILED"}
    return "\n".join(f"  {row.name:<{width}}  {row.value:>10.4g}  {said[row.holds]:<6}  {row.note}" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
