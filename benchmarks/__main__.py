"""All benchmarks in one run: `make bench`, or `python -m benchmarks [--videos FOLDER] [--short]`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from training.world.videos import write_demo_videos

__all__ = ["main"]


def main() -> None:
    """Run the networks, decoding, the store, the GEBD metric and loader and an extraction, each in its own process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--videos", type=Path, help="folder for the extraction (procedural videos unless given)")
    parser.add_argument("--short", action="store_true", help="fewer turns, a shorter item")
    options = parser.parse_args()
    _run("network", *(("--repetitions", "5", "--dense-frames", "100") if options.short else ()))
    _run("decoding.limit")
    _run("store", *(("--clips", "500", "--reads", "200", "--videos", "50") if options.short else ()))
    _run("pipeline", *(("--videos", "60") if options.short else ()))
    _run("gebd_metric", *(("--videos", "2000") if options.short else ()))
    _run("gebd_loader", *(("--videos", "500", "--windows", "1000") if options.short else ()))
    with tempfile.TemporaryDirectory() as place:
        folder = options.videos
        if folder is None:
            folder = Path(place) / "videos"
            write_demo_videos(folder, 6)
        _run("end_to_end", str(folder), "--copies", "2" if options.short else "4")


def _run(name: str, *arguments: str) -> None:
    print(f"\n== {name} ==", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=True)


if __name__ == "__main__":
    main()
