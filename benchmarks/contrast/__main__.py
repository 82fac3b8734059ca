"""What learning without labels does to features, in miniature: linear probes before and after, and each loss left out.

    python -m benchmarks.contrast FOLDER [--start random] [--films N] [--epochs N] [--runs NAME ...] [--only STEP]

Steps, each of which goes on where an earlier run stopped:
  write   N procedural videos without labels, and the videos of benchmarks/motion_classes (32 and 25 a class)
  train   MSNet-ResNet-18 from the first weights at 64 px with all four losses, and with each of them left out
  probe   linear probes of textures (10 families), shapes (4) and motion classes (12) on each network and on the first
          weights, and how the losses fell; FOLDER/runs/START/report.txt
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.contrast.films import write_films
from benchmarks.contrast.looks import PROBES
from benchmarks.contrast.probes import Split, accuracy, lead, probe
from benchmarks.contrast.runs import ALL, RUNS, SIZE_PX, STARTS, Place, curves, held_out, network_of, train
from benchmarks.motion_classes.motions import CLASSES
from benchmarks.motion_classes.probe import sampled_frames
from benchmarks.motion_classes.videos import read_table, write_videos
from extractor.video.transforms import interpolate

__all__ = ["main"]

BEFORE = "before"
_FITTING, _TEST = 60, 60  # clips of a family


def main(arguments: list[str] | None = None) -> None:
    """Run the steps and print the results."""
    description, usage = __doc__.split("\n", 1)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.contrast",
        description=description,
        epilog=usage.partition("\n\n")[2].partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="where videos, trainings and results are kept")
    parser.add_argument("--start", choices=STARTS, default=STARTS[0], help="the first weights (default: bundled)")
    parser.add_argument("--films", type=int, default=400, help="videos to learn from (default: 400)")
    parser.add_argument("--epochs", type=int, default=4, help="times that each of them is seen (default: 4)")
    parser.add_argument("--precision", default="bfloat16", help="of the convolutions (default: bfloat16)")
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=RUNS, help="the trainings (default: all)")
    parser.add_argument("--only", choices=("write", "train", "probe"))
    options = parser.parse_args(arguments)
    if options.films < 20 or options.epochs < 3:
        parser.error("expected at least 20 --films and 3 --epochs; got fewer. Raise them")
    place = Place(options.folder, options.start)
    if options.only in (None, "write"):
        write_films(place.films, options.films)
        write_videos(place.motions, train=32, test=25)
    if options.only in (None, "train"):
        for name in options.runs:
            train(place, name, options.epochs, options.precision)
    if options.only in (None, "probe"):
        text = report(place, options.runs, options.epochs)
        (place.run_of(ALL).parent / "report.txt").write_text(text + "\n", encoding="utf-8")
        print(text)


def report(place: Place, runs: Sequence[str], epochs: int) -> str:
    """The losses and probes of all trainings."""
    lines = ["losses and retrieval on held-out films, by the networks before and after; and the mean loss of training"]
    lines.append(f"{'':18} {'':12} {'before':>8} {'after':>8}   epoch 1, and the last one")
    for name in runs:
        before, after = (held_out(place, name, trained=trained) for trained in (False, True))
        trained = curves(place, name)
        for loss in (*trained, "retrieval", "spread"):
            line = f"  {name:<16} {loss:<12} {before[loss]:8.3f} {after[loss]:8.3f}"
            if loss in trained:
                steps = len(trained[loss]) // epochs
                early, late = trained[loss][:steps], trained[loss][-steps:]
                line += f"   {np.mean(early):.3f} {np.mean(late):.3f}"
            lines.append(line)
            print(line, flush=True)
    for kind, split in _splits(place).items():
        classes = int(split.test_labels.max()) + 1
        lines += ["", f"{kind}: accuracy on {len(split.test)} test clips (chance {1 / classes:.3f}), 95 % over clips"]
        right: dict[str, Tensor] = {}
        for name in (BEFORE, *runs):
            network = network_of(place, None if name == BEFORE else name)
            right[name] = probe(network, split)
            mean, interval = accuracy(right[name])
            line = f"  {name:<16} {mean:.3f} {interval}"
            for other in (BEFORE, ALL):
                if other in right and other != name:
                    ahead, of_lead = lead(right[name], right[other])
                    line += f"   over {other} {ahead:+.3f} {of_lead}"
            lines.append(line)
            print(lines[-1], flush=True)
    return "\n".join(lines)


def _splits(place: Place) -> dict[str, Split]:
    found = {}
    for name, make in PROBES.items():
        fitting, test = make(_FITTING, SIZE_PX, 0), make(_TEST, SIZE_PX, 1)
        found[name] = Split(fitting.pixels, fitting.labels, test.pixels, test.labels)
    videos = read_table(place.motions)
    labels = torch.tensor([CLASSES.index(video.label) for video in videos])
    known = torch.tensor([video.split == "train" for video in videos])
    clips = torch.stack(
        [
            torch.from_numpy(interpolate(list(sampled_frames(place.motions / video.path).numpy()), SIZE_PX, SIZE_PX))
            for video in videos
        ]
    )
    found["motion classes"] = Split(clips[known], labels[known], clips[~known], labels[~known])
    return found


if __name__ == "__main__":
    main()
