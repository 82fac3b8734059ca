"""What the MotionSqueeze module buys, in miniature: networks trained alike on videos that differ by motion alone.

    python -m benchmarks.motion_classes FOLDER [--videos N] [--epochs N] [--seeds 3] [--graft] [--only STEP]

Steps, each of which goes on where an earlier run stopped:
  write   12 classes of encoded files from the procedural world, N videos a class for training, 25 / 32 N for the test
  flow    optical flow of them all, as a second data set; its time is measured
  probe   linear probes: what features and single frames tell before any training. Runs only when asked for
  train   MSNet-, TSM- and TSN-ResNet-18 on the pictures and TSM-ResNet-18 on the flow, with each seed
  score   the scores of all trained networks on the test videos
  report  top-1 with intervals, leads and clips a second; FOLDER/report.txt and two pictures
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks.motion_classes.commands import (
    GRAFT,
    MSNET,
    NETWORKS,
    TSM,
    TSM_ON_FLOW,
    TSN,
    Network,
    Place,
    score,
    train,
)
from benchmarks.motion_classes.flow import milliseconds_a_pair, read_times, write_flow
from benchmarks.motion_classes.motions import SHIFTS
from benchmarks.motion_classes.pictures import draw_clips_a_second, draw_speed_of_motion
from benchmarks.motion_classes.probe import probe_networks
from benchmarks.motion_classes.results import Scored, accuracies, by_class, by_speed, merged, read_scores, table
from benchmarks.motion_classes.speed import clips_a_second, with_flow
from benchmarks.motion_classes.videos import read_table, write_videos

__all__ = ["main"]

_TEST_SHARE = 25 / 32
_SPEED_EDGES = (0.0, 1.0, 1.5, 3.0, 5.0, 8.0)  # cells; the classes slow and fast leave 1.5 to 2.25 to up and down
_NAMES = {MSNET.name: "MSNet", TSM.name: "TSM", TSN.name: "TSN", TSM_ON_FLOW.name: "TSM on flow", GRAFT.name: "graft"}
_TWO_STREAMS = "TSM on both"

_Row = TypeVar("_Row")


def main(arguments: list[str] | None = None) -> None:
    """Run the steps and print the results."""
    description, usage = __doc__.split("\n", 1)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.motion_classes",
        description=description,
        epilog=usage.partition("\n\n")[2].partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="where videos, trainings and results are kept")
    parser.add_argument("--videos", type=int, default=32, help="training videos a class (default: 32)")
    parser.add_argument("--epochs", type=int, default=12, help="times that each of them is seen (default: 12)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network (default: 3)")
    parser.add_argument("--graft", action="store_true", help="also MSNet from a module grafted on the TSM")
    parser.add_argument("--only", choices=("write", "flow", "probe", "train", "score", "report"))
    options = parser.parse_args(arguments)
    if min(options.videos, options.epochs, options.seeds) < 1:
        parser.error("expected --videos, --epochs and --seeds of at least 1; got less. Raise them")
    steps = {"write": _write, "flow": _flow, "probe": _probe, "train": _train, "score": _score, "report": _report}
    for name, step in steps.items():
        if options.only in (None, name) and (name != "probe" or options.only == name):
            try:
                step(Place(options.folder), options)
            except FileNotFoundError as error:
                raise SystemExit(f"expected {error.filename}; got no such file. Run the steps before {name}") from None


def _write(place: Place, options: argparse.Namespace) -> None:
    test = max(1, round(options.videos * _TEST_SHARE))
    written = _alone(lambda: write_videos(place.videos, train=options.videos, test=test))
    print(f"{len(written)} videos in {place.videos}")


def _flow(place: Place, options: argparse.Namespace) -> None:
    videos = read_table(place.videos)
    times = _alone(lambda: write_flow(place.videos, place.flow, videos))
    print(f"flow of {len(times)} videos in {place.flow}: {milliseconds_a_pair(times):.2f} ms a pair of frames (DIS)")


def _probe(place: Place, options: argparse.Namespace) -> None:
    networks = {_NAMES[network.name]: (network.model, network.weights) for network in (MSNET, TSM, TSN)}
    print(
        "linear probes on features before training: top-1 of 12 (chance 0.083), and of a class and its opposite (0.5)"
    )
    for found in probe_networks(place.videos, read_table(place.videos), networks):
        pairs = ", ".join(f"{name} {value:.2f}" for name, value in found.opposites.items())
        print(f"  {found.name:<18} {found.accuracy:.3f}  {found.opposite_accuracy:.3f}  ({pairs})", flush=True)


def _networks(options: argparse.Namespace) -> tuple[Network, ...]:
    return (*NETWORKS, GRAFT) if options.graft else NETWORKS


def _train(place: Place, options: argparse.Namespace) -> None:
    for seed in range(options.seeds):
        for network in _networks(options):
            train(place, network, seed, options.epochs)


def _score(place: Place, options: argparse.Namespace) -> None:
    for seed in range(options.seeds):
        for network in _networks(options):
            score(place, network, seed)


def _report(place: Place, options: argparse.Namespace) -> None:
    networks = _networks(options)
    methods = _methods(place, networks, options.seeds)
    found = accuracies(methods)
    rates, pair_milliseconds = clips_a_second(networks), milliseconds_a_pair(read_times(place.flow))
    rates = {
        **{_NAMES[name]: rate for name, rate in rates.items() if name != TSM_ON_FLOW.name},
        _NAMES[TSM_ON_FLOW.name]: with_flow(rates, (TSM_ON_FLOW.name,), pair_milliseconds),
        _TWO_STREAMS: with_flow(rates, (TSM.name, TSM_ON_FLOW.name), pair_milliseconds),
    }
    videos = next(iter(methods.values()))[0]
    lines = [
        f"{len(videos.paths)} test videos, {options.seeds} seeds; 95 % intervals over videos",
        table(found, rates),
        f"optical flow (DIS): {pair_milliseconds:.2f} ms a pair of frames of 160 x 120; clips/s count it, not decoding",
        _class_table(by_class(methods)),
    ]
    text = "\n\n".join(lines)
    (place.folder / "report.txt").write_text(text + "\n", encoding="utf-8")
    print(text)
    shifting = {video.path: video.speed for video in read_table(place.videos) if video.label in SHIFTS}
    draw_speed_of_motion(by_speed(methods, shifting, _SPEED_EDGES), list(methods), place.folder / "speed_of_motion.png")
    draw_clips_a_second(found, rates, place.folder / "clips_a_second.png")


def _methods(place: Place, networks: tuple[Network, ...], seeds: int) -> dict[str, list[Scored]]:
    """Scores of all methods by name, a list over seeds."""
    scores = {
        network.name: [read_scores(place.scores_of(network, seed)) for seed in range(seeds)] for network in networks
    }
    methods = {_NAMES[name]: found for name, found in scores.items()}
    pairs = zip(scores[TSM.name], scores[TSM_ON_FLOW.name], strict=True)
    methods[_TWO_STREAMS] = [merged(pictures, flow) for pictures, flow in pairs]
    return methods


def _class_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    names = list(next(iter(rows.values())))
    lines = ["top-1 by class      " + "".join(f"{name:>13}" for name in names)]
    lines += [f"{label:<20}" + "".join(f"{found[name]:13.2f}" for name in names) for label, found in rows.items()]
    return "\n".join(lines)


def _alone(work: Callable[[], list[_Row]]) -> list[_Row]:
    """Run on one core: rendering and flow of such small frames gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return work()
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
