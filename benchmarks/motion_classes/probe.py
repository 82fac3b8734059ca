"""Is the data set fit for its purpose: what linear probes find in features of networks, and in single frames.

A probe that sees one frame, or the mean of frames that a network saw apart from one another, must be at chance between
a class and its opposite; otherwise appearance tells the class. A network that sees motion must be above.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.motion_classes.motions import CLASSES, FPS, OPPOSITES, SAMPLED
from benchmarks.motion_classes.videos import Written
from extractor.models.loading import load_model, normalize
from extractor.video.frames import read_frames
from extractor.video.sampling import segment_positions
from schemas.config import Resize
from schemas.records import FileJob, Item
from training.evaluation.probe import STRENGTHS, fit_probe, out_of_fold

NETWORK_SIZE_PX, _SHORT_SIDE_PX = 112, 128  # the centre crop is 7 / 8 of the short side, as in evaluation
_SINGLE = {"first": 0, "middle": 3, "last": 7}
"""Frames that are probed alone."""


@dataclass(frozen=True, slots=True)
class Probed:
    """Accuracy among all classes, and between each class and its opposite (chance 0.5), on `videos` test videos."""

    name: str
    videos: int
    accuracy: float
    opposites: Mapping[str, float]

    @property
    def opposite_accuracy(self) -> float:
        """Mean over the pairs."""
        return float(np.mean(list(self.opposites.values())))


def probe_networks(out: Path, videos: Sequence[Written], networks: Mapping[str, tuple[str, str]]) -> Iterator[Probed]:
    """Probe the clip features of networks (name: model and checkpoint), and single frames of one without time."""
    labels = torch.tensor([CLASSES.index(video.label) for video in videos])
    training = torch.tensor([video.split == "train" for video in videos])
    clips = [sampled_frames(out / video.path) for video in videos]
    for name, (model, weights) in networks.items():
        network = load_model(model, weights=weights)
        frames: list[Tensor] = []
        with torch.inference_mode():
            for start in range(0, len(clips), 16):
                batch = normalize(torch.stack(clips[start : start + 16]))
                frames.append(network(batch).frame_features.float())
        features = torch.cat(frames).clone()  # (N, T, D)
        yield probed(name, features.mean(1), labels, training)
        if not network.spec.shifted_blocks and not network.spec.has_motion:  # else a frame's features know others
            for which, frame in _SINGLE.items():
                yield probed(f"{name}, {which} frame", features[:, frame], labels, training)


def sampled_frames(path: Path) -> Tensor:
    """(T, 112, 112, 3) uint8: the frames and the crop that a network sees of a video."""
    job = FileJob(str(path), (Item(path.stem, None, None),))
    found = read_frames(job, rate_hz=FPS, size=_SHORT_SIDE_PX, resize=Resize.CROP)
    edge = (_SHORT_SIDE_PX - NETWORK_SIZE_PX) // 2
    chosen = found.pixels[segment_positions(len(found.pixels), SAMPLED)[0]]
    return torch.from_numpy(chosen[:, edge:-edge, edge:-edge].copy())


def probed(name: str, features: Tensor, labels: Tensor, training: Tensor) -> Probed:
    """Fit on the training videos of features (N, D), with the penalty that folds choose there; test on the others."""
    known, truth = features[training], labels[training]
    folds = torch.arange(len(known)) // len(CLASSES)  # videos of one index: every class once
    right = [
        int((out_of_fold(known, truth, folds, len(CLASSES), strength).argmax(1) == truth).sum())
        for strength in STRENGTHS
    ]
    strength = STRENGTHS[right.index(max(right))]
    logits = fit_probe(known, truth, len(CLASSES), strength)(features[~training])
    return judged(name, logits, labels[~training])


def judged(name: str, logits: Tensor, labels: Tensor) -> Probed:
    """Accuracies of logits (N, classes)."""
    opposites: dict[str, float] = {}
    for one, other in OPPOSITES.items():
        pair = torch.tensor([CLASSES.index(one), CLASSES.index(other)])
        inside = (labels[:, None] == pair).any(1)
        if bool(inside.any()):
            guess = pair[logits[inside][:, pair].argmax(1)]
            opposites[f"{one} / {other}"] = float((guess == labels[inside]).double().mean())
    return Probed(name, len(labels), float((logits.argmax(1) == labels).double().mean()), opposites)
