"""How well checkpoints tell the classes of labelled videos apart, and at what cost."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from extractor.models.checkpoints.bundled import checkpoint_path
from extractor.models.checkpoints.checkpoint import Checkpoint, read_checkpoint
from extractor.models.msnet import MSNet, build_network
from extractor.models.spec import NetworkSpec
from jobs.weights.defaults import BUNDLED_MODEL, Views
from jobs.weights.loading import LoadedWeights, load_read_weights
from schemas.errors import ConfigurationError, WeightsError
from schemas.intervals import Interval
from schemas.records import Failure
from training.clips.config import ClipSettings
from training.clips.records import Example
from training.labels.labelled import LabelledVideos
from training.start import class_names, recipe_of
from training.tasks.classify.scoring import ranks, score_videos

_TIMED_SECONDS = 2.0
_AT_A_TIME = 8  # clips in a pass of the network

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ClassifierCost:
    """What a network costs: multiply-adds of a video (all views), and clips a second on this device, network alone."""

    weights: LoadedWeights
    num_frames: int
    multiply_adds: int
    clips_per_second: float


@dataclass(frozen=True, slots=True)
class Classification:
    """The results. confusion: (classes, classes), rows are the truth. scores: (videos, classes), mean logits of all
    networks; labels: (videos,). left_out: videos that could not be decoded, and why."""

    networks: tuple[ClassifierCost, ...]
    views: Views
    size_px: int
    classes: tuple[str, ...]
    videos: tuple[Example, ...]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    left_out: dict[str, Failure]

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(classes, classes): how many videos of a class (row) are taken for another (column)."""
        table = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(table, (self.labels, self.scores.argmax(1)), 1)
        return table

    def top(self, count: int) -> float:
        """Share of videos whose class is among the `count` best."""
        return float((ranks(self.scores, self.labels) < count).mean())


def wilson(share: float, count: int) -> Interval:
    """Interval of 95 % of a share of `count` videos (Wilson, 1927)."""
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def classify(
    checkpoints: Sequence[str | Path],
    videos: LabelledVideos,
    *,
    model: str | None = None,
    views: Views | None = None,
    num_frames: int | None = None,
    size_px: int | None = None,
    device: str = "cpu",
    workers: int = 0,
    report: Report = lambda part, done, total: None,
) -> Classification:
    """Score the validation videos (all where there are none) by one checkpoint, or the mean of several.

    Sampling, size and clip length are those of the checkpoint's training unless given; several checkpoints may have
    clips of different lengths, as MSNet-En (8 and 16). Raises WeightsError for a checkpoint without a classifier or
    with other classes, InventoryError and ConfigurationError for videos that cannot be used.
    """
    views = views or Views()
    examples = videos.validation or videos.training
    found: list[ClassifierCost] = []
    totals: dict[int, torch.Tensor] = {}
    left_out: dict[str, Failure] = {}
    classes: tuple[str, ...] | None = None
    for path in checkpoints:
        file = checkpoint_path(path, model or BUNDLED_MODEL)
        checkpoint = read_checkpoint(file)
        weights, network = load_read_weights(checkpoint, file, model, device)
        theirs = _classes(checkpoint, network, videos.classes)
        if classes not in (None, theirs):
            raise WeightsError(f"expected checkpoints of the same classes; got others in {path}. Leave it out")
        classes = theirs
        length, settings = _settings(checkpoint, num_frames, size_px)
        scored = score_videos(
            network,
            examples,
            settings,
            num_frames=length,
            clips=views.clips,
            crops=views.crops,
            videos_at_a_time=_AT_A_TIME,
            workers=workers,
        )
        for done, (number, logits) in enumerate(scored, start=1):
            if isinstance(logits, Failure):
                left_out[examples[number].video_id] = logits
            else:
                totals[number] = totals.get(number, torch.zeros(())) + logits / len(checkpoints)
            report(weights.model, done, len(examples))
        found.append(_cost(weights, network, length, settings.size_px, views))
    numbers = sorted(number for number in totals if examples[number].video_id not in left_out)
    if not numbers or classes is None:
        raise ConfigurationError("expected videos that can be decoded; got none. Check them with `msnet weights join`")
    places = {name: place for place, name in enumerate(classes)}
    labels = [places[videos.classes[examples[number].label or 0]] for number in numbers]
    return Classification(
        tuple(found),
        views,
        settings.size_px,
        classes,
        tuple(examples[number] for number in numbers),
        np.array(labels, np.int64),
        torch.stack([totals[number] for number in numbers]).numpy(),
        left_out,
    )


def scores_csv(found: Classification) -> bytes:
    """One row a video: its id, its class, and the score of each class."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["video_id", "label", *found.classes])
    for example, label, scores in zip(found.videos, found.labels, found.scores, strict=True):
        writer.writerow([example.video_id, found.classes[label], *(f"{score:.6g}" for score in scores)])
    return file.getvalue().encode()


def summary(found: Classification) -> dict[str, Any]:
    """The results in plain values, for JSON."""
    right = found.confusion.diagonal()
    counts = found.confusion.sum(1)
    interval = wilson(found.top(1), len(found.videos))
    return {
        "networks": [
            {
                "model": cost.weights.model,
                "weights": cost.weights.weights,
                "sha256": cost.weights.sha256,
                "num_frames": cost.num_frames,
                "multiply_adds": cost.multiply_adds,
                "clips_per_second": cost.clips_per_second,
            }
            for cost in found.networks
        ],
        "clips": found.views.clips,
        "crops": found.views.crops,
        "size_px": found.size_px,
        "videos": len(found.videos),
        "top1": found.top(1),
        "top1_interval": [interval.low, interval.high],
        "top5": found.top(5),
        "classes": [
            {"name": name, "videos": int(count), "right": int(hits)}
            for name, count, hits in zip(found.classes, counts, right, strict=True)
        ],
        "confusion": found.confusion.tolist(),
        "left_out": {name: failure.message for name, failure in found.left_out.items()},
    }


def _classes(checkpoint: Checkpoint, network: MSNet, wanted: Sequence[str]) -> tuple[str, ...]:
    """The classes of a network, in the order of its logits."""
    count = network.spec.num_classes
    if count is None:
        raise WeightsError(
            f"expected a checkpoint with a classifier; got {checkpoint.path.name}, which has none. Train one with"
            " `msnet weights train --task classify`"
        )
    named = class_names(checkpoint)
    if named is not None and (unknown := [name for name in wanted if name not in set(named)]):
        raise WeightsError(
            f"expected videos of the classes that {checkpoint.path.name} knows; got {len(unknown)} others, like"
            f" {unknown[0]!r}. Leave them out, or train with them"
        )
    if named is None and count != len(wanted):
        raise WeightsError(
            f"expected {len(wanted)} classes, as the videos have; got {count} in {checkpoint.path.name}, which does not"
            " name them. Give videos of all its classes, in its order"
        )
    return named or tuple(wanted)


def _settings(checkpoint: Checkpoint, num_frames: int | None, size_px: int | None) -> tuple[int, ClipSettings]:
    """Clip length and how clips are taken: as in the checkpoint's training, where it says so."""
    settings, length = ClipSettings(), 8
    with suppress(ValueError, KeyError, TypeError, ValidationError):
        configuration = recipe_of(checkpoint)["configuration"]
        length = int(configuration["num_segments"])
        settings = ClipSettings.model_validate(configuration["clips"])
    if size_px is not None:
        settings = settings.model_copy(update={"size_px": size_px})
    return num_frames or length, settings


@torch.no_grad()
def _cost(weights: LoadedWeights, network: MSNet, num_frames: int, size_px: int, views: Views) -> ClassifierCost:
    frames = torch.zeros(_AT_A_TIME, num_frames, 3, size_px, size_px, device=network.device)
    float(network(frames).clip_features[0, 0])  # the first pass of a shape chooses its algorithms
    begun, passes = time.monotonic(), 0
    while time.monotonic() - begun < _TIMED_SECONDS or not passes:
        float(network(frames).clip_features[0, 0])  # waits for the device
        passes += 1
    taken = time.monotonic() - begun
    multiply_adds = _multiply_adds(network.spec, num_frames, size_px) * views.clips * views.crops
    return ClassifierCost(weights, num_frames, multiply_adds, passes * _AT_A_TIME / taken)


@torch.no_grad()
def _multiply_adds(spec: NetworkSpec, num_frames: int, size_px: int) -> int:
    """Of a clip, by the unfolded network: torch counts no operations on packed weights."""
    network = build_network(spec).eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, num_frames, 3, size_px, size_px))
    return int(counter.get_total_flops()) // 2
