"""How well the detector without labels does: beside PySceneDetect on real video, beside clocks on procedural video.

    python -m benchmarks.boundaries [VIDEOS] [--out FOLDER] [--fitting 120] [--test 160] [--seed 0]

With VIDEOS, a folder of real videos: for every cut that PySceneDetect's AdaptiveDetector finds, the nearest mark of the
detector; marks in the first half second; and how many marks there are. It requires PySceneDetect, which is not a
dependency of this project: `pip install scenedetect opencv-python-headless`.

Then procedural videos of the demonstration's kind, on seeds of their own: F1 of the detector on the test videos, and
the paired differences from as many evenly spaced marks and from the best clock of the `--fitting` videos, whose
annotations nothing else sees. `--out` keeps videos and stores for the next run.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.boundaries.peer import print_beside_peer
from benchmarks.boundaries.procedural import print_beside_clocks

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.boundaries", description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path, nargs="?", help="folder of real videos")
    parser.add_argument("--out", type=Path, help="where videos and stores are kept (a temporary folder unless given)")
    parser.add_argument("--size", type=int, default=224, help="side of the network's input for the real videos")
    parser.add_argument("--fitting", type=int, default=120, help="procedural videos that the clock is fitted on")
    parser.add_argument("--test", type=int, default=160, help="procedural videos of the test; 0 leaves the part out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        out = options.out or Path(place)
        out.mkdir(parents=True, exist_ok=True)
        if options.videos is not None:
            print_beside_peer(options.videos, out / f"store-real-{options.size}", options.size)
        if options.test:
            print_beside_clocks(out, options.fitting, options.test, options.seed)


if __name__ == "__main__":
    main()
