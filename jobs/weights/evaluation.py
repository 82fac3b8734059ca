"""Evaluation of a checkpoint: matching, confidence and probes on procedural video, agreement with DIS on real video."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

import torch

from extractor.models.msnet import MSNet
from extractor.video import Listing, list_videos
from extractor.video.frames import read_frames
from jobs.weights.boundary_scores import TOLERANCE, BoundaryScores, boundary_f1, compare_boundaries, spread_evenly
from jobs.weights.defaults import Sizes
from jobs.weights.loading import LoadedWeights, load_weights
from schemas.errors import ConfigurationError, VideoError
from training.config import HELD_OUT_SEED
from training.evaluation.boundaries import CONTEXT_FRAMES, name_truth, probe_boundaries
from training.evaluation.dis import DisFlow
from training.evaluation.motion_class import MOVERS, MotionAccuracy, probe_motion
from training.evaluation.passes import run_clips, run_sequence, to_pixels
from training.evaluation.procedural import STILL_BELOW_CELLS, ProceduralMatching, ProceduralScores
from training.evaluation.real import (
    CONSISTENT_PX,
    MOVING_CELLS,
    STANDING_CELLS,
    AgreeingCells,
    RealScores,
    agree_with_dis,
    score_real,
)
from training.evaluation.sequences import (
    RATE_HZ,
    LabelledSequence,
    boundary_world,
    label_sequences,
    pixel_differences,
    sample_clips,
)
from training.evaluation.texture import TEXTURED_ABOVE
from training.world import World, WorldConfig

_SEED = HELD_OUT_SEED + 1  # HELD_OUT_SEED itself is for evaluations during training

DEFINITIONS = {
    "textured_above_grey_levels_a_pixel": TEXTURED_ABOVE,
    "still_below_cells": STILL_BELOW_CELLS,
    "real_consistent_px": CONSISTENT_PX,
    "real_moving_above_cells": MOVING_CELLS,
    "real_standing_below_cells": STANDING_CELLS,
    "boundary_tolerance_of_duration": TOLERANCE,
    "boundary_context_frames": CONTEXT_FRAMES,
    "rate_hz": RATE_HZ,
    "first_world_seed": _SEED,
}
"""Thresholds and settings that define the figures of an evaluation."""

Report = Callable[[str, int, int], None]
"""Called with the name of a part, the amount done and the total."""

NETWORK, AGAINST, PIXELS, SPREAD = "network", "against", "pixel differences", "evenly spread"
_CLIPS_AT_A_TIME = 8

_Work = TypeVar("_Work")


@dataclass(frozen=True, slots=True)
class BoundaryResults:
    """Numbers of test videos and boundaries; scores of NETWORK, AGAINST, PIXELS and SPREAD.

    SPREAD has as many boundaries in every video as NETWORK found. `strengths` are the penalties of the probes.
    """

    videos: int
    boundaries: int
    scores: dict[str, BoundaryScores]
    strengths: dict[str, float]


@dataclass(frozen=True, slots=True)
class RealVideoResults:
    """Scores by video, and of all cells together (None without a video); `left_out`: why videos were not decoded."""

    together: RealScores | None
    videos: dict[str, RealScores]
    left_out: dict[str, str]


@dataclass(frozen=True, slots=True)
class WeightsEvaluation:
    """The results; a part is None where it was not requested or the network has no MS module.

    `motion`: accuracy for "actor" and "camera" by input: NETWORK, AGAINST and PIXELS. `dis`: whether DIS optical flow
    was available for comparison. `seconds`: time spent, by part.
    """

    network: LoadedWeights
    against: LoadedWeights | None
    sizes: Sizes
    dis: bool
    procedural: ProceduralScores | None
    motion: dict[str, dict[str, MotionAccuracy]]
    boundaries: BoundaryResults
    real: RealVideoResults | None
    seconds: dict[str, float]


def evaluate_weights(
    weights: str | Path,
    *,
    model: str | None = None,
    against: str | Path | None = None,
    real: Path | None = None,
    sizes: Sizes | None = None,
    device: str = "cpu",
    report: Report = lambda what, done, total: None,
) -> WeightsEvaluation:
    """Evaluate a checkpoint (see `load_weights`); `against` is another one, for the probes only.

    `real`: a folder, table or file of videos. Raises WeightsError where a checkpoint does not load or is an ensemble,
    ConfigurationError where `real` is given without OpenCV or for a network without displacement, and InventoryError
    where `real` has no videos.
    """
    sizes = sizes or Sizes()
    if sizes.size_px % 8 or sizes.size_px < 32:
        raise ConfigurationError(
            f"expected a size of at least 32 px that 8 divides; got {sizes.size_px}. Change --size"
        )
    listing = None if real is None else list_videos(real)
    dis = DisFlow() if DisFlow.available() or listing is not None else None
    subject, network = load_weights(weights, model, device)
    if listing is not None and not network.spec.has_motion:
        raise ConfigurationError(
            f"expected a network with displacement, to compare on real video; got {network.spec.name}. Leave --real out"
        )
    twin, networks = None, {NETWORK: network}
    if against is not None:
        twin, networks[AGAINST] = load_weights(against, None, device)
    evaluator = _Evaluator(networks, sizes, dis, report)
    found = None if listing is None or dis is None else evaluator.real(listing, dis)
    return WeightsEvaluation(
        network=subject,
        against=twin,
        sizes=sizes,
        dis=dis is not None,
        procedural=evaluator.procedural,
        motion=evaluator.motion(),
        boundaries=evaluator.boundaries(),
        real=found,
        seconds=evaluator.seconds,
    )


class _Evaluator:
    """Runs and times the parts of an evaluation. The networks see all procedural frames once, at construction."""

    def __init__(self, networks: Mapping[str, MSNet], sizes: Sizes, dis: DisFlow | None, report: Report) -> None:
        self._networks, self._sizes, self._report = networks, sizes, report
        self._config = WorldConfig(height=sizes.size_px, width=sizes.size_px)
        self.seconds: dict[str, float] = {}
        matching = ProceduralMatching(dis) if networks[NETWORK].spec.has_motion else None
        with self._timed("matching"):
            count = sizes.clips if matching is None else max(sizes.clips, sizes.matching_clips)
            self._test_clips = self._see_clips("matching", _SEED, count, matching)[: sizes.clips]
            self.procedural = None if matching is None else matching.scores()
        with self._timed("features"):
            self._fitting_clips = self._see_clips("clips for fitting", _SEED + 1, sizes.clips, None)
            self._fitting_videos = self._see_videos("videos for fitting", _SEED + 2)
            self._test_videos = self._see_videos("videos for the test", _SEED + 3)

    def motion(self) -> dict[str, dict[str, MotionAccuracy]]:
        """Probes for motion classes, on clips and videos."""
        fitting = [*self._fitting_clips, *self._fitting_videos]
        test = [*self._test_clips, *self._test_videos]
        found: dict[str, dict[str, MotionAccuracy]] = {}
        with self._timed("probes for motion"):
            for name, mover in self._reported("probes for motion", product(test[0].features, MOVERS)):
                found.setdefault(name, {})[mover] = probe_motion(fitting, test, name, mover)
        return found

    def boundaries(self) -> BoundaryResults:
        """Probes for boundaries, fitted on the videos of one world and tested on those of another."""
        fitting, test = self._fitting_videos, self._test_videos
        with self._timed("probes for boundaries"):
            truth = name_truth(test)
            probes = {
                name: probe_boundaries(fitting, test, name, boundary_f1)
                for name in self._reported("probes for boundaries", test[0].features)
            }
            methods = {name: probe.predictions for name, probe in probes.items()}
            methods[SPREAD] = spread_evenly(methods[NETWORK], truth)
            return BoundaryResults(
                len(test),
                sum(len(video.boundary_seconds) for video in truth.values()),
                compare_boundaries(methods, truth),
                {name: probe.strength for name, probe in probes.items()},
            )

    def real(self, listing: Listing, dis: DisFlow) -> RealVideoResults:
        """Agreement with DIS on every item of a listing."""
        cells: dict[str, AgreeingCells] = {}
        left_out: dict[str, str] = {}
        size = self._sizes.size_px
        items = [(job, item) for job in listing.jobs for item in job.items]
        with self._timed("real video"):
            for i, (job, item) in enumerate(items):
                start, end = item.start_seconds, item.end_seconds or math.inf
                end = min((start or 0.0) + self._sizes.real_seconds, end)
                try:
                    frames = read_frames(job, start_seconds=start, end_seconds=end, rate_hz=RATE_HZ, size=size)
                except VideoError as error:
                    left_out[item.video_id] = str(error)
                else:
                    pixels = torch.from_numpy(frames.pixels)
                    cells[item.video_id] = agree_with_dis(self._networks[NETWORK], pixels, dis)
                self._report("real video", i + 1, len(items))
        together = score_real(list(cells.values())) if cells else None
        return RealVideoResults(together, {name: score_real([found]) for name, found in cells.items()}, left_out)

    def _see_clips(
        self, what: str, seed: int, count: int, matching: ProceduralMatching | None
    ) -> list[LabelledSequence]:
        """Features of every input on clips of 8 frames; the outputs of NETWORK are also added to `matching`."""
        sequences: list[LabelledSequence] = []
        for clips in sample_clips(World(self._config, seed=seed), count, _CLIPS_AT_A_TIME):
            pixels = to_pixels(clips.frames)
            found = {name: run_clips(network, pixels) for name, network in self._networks.items()}
            if matching is not None:
                matching.add(clips, pixels, found[NETWORK])
            features = {name: output.frame_features for name, output in found.items()}
            sequences += label_sequences(clips, {**features, PIXELS: pixel_differences(pixels)})
            self._report(what, len(sequences), count)
        return sequences

    def _see_videos(self, what: str, seed: int) -> list[LabelledSequence]:
        """Features of every input on sequences of 10 s, with one sequence in memory at a time."""
        sequences: list[LabelledSequence] = []
        for clips in sample_clips(boundary_world(self._config, seed), self._sizes.videos, 1):
            pixels = to_pixels(clips.frames)
            features = {
                name: run_sequence(network, pixels[0]).frame_features.unsqueeze(0)
                for name, network in self._networks.items()
            }
            sequences += label_sequences(clips, {**features, PIXELS: pixel_differences(pixels)})
            self._report(what, len(sequences), self._sizes.videos)
        return sequences

    def _reported(self, part: str, work: Iterable[_Work]) -> Iterator[_Work]:
        """Report progress before each piece of work, because a probe takes a while."""
        pieces = tuple(work)
        for i, piece in enumerate(pieces):
            self._report(part, i, len(pieces))
            yield piece
        self._report(part, len(pieces), len(pieces))

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[part] = time.monotonic() - started
