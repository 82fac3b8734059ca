"""A video in which nothing happens has no boundary: on what the bundled network computes for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from extractor.models.loading import load_model, normalize
from extractor.models.msnet import MSNet
from extractor.video.encoding import encode_video
from gebd import DetectionConfig
from gebd.detection.detector import _track, _Video
from gebd.detection.motion import coarse_maps

SIDE, FRAMES = 112, 40
CONFIG = DetectionConfig()


@pytest.fixture(scope="module")
def network() -> MSNet:
    found = load_model("msnet_resnet18")
    assert isinstance(found, MSNet)
    return found


def picture(seed: int) -> np.ndarray:
    """A textured picture (SIDE, SIDE, 3) with edges, uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 230, (7, 7, 3)).repeat(SIDE // 7, axis=0).repeat(SIDE // 7, axis=1)
    fine = rng.normal(0, 12, (SIDE // 4, SIDE // 4, 3)).repeat(4, axis=0).repeat(4, axis=1)
    return (coarse + fine).clip(0, 255).astype(np.uint8)


def frames(kind: str, place: Path) -> np.ndarray:
    """The frames (T, SIDE, SIDE, 3) of a video, one tenth of a second apart."""
    rng = np.random.default_rng(1)
    still = np.repeat(picture(0)[None], FRAMES, axis=0)
    if kind == "cut":
        still[FRAMES // 2 :] = picture(1)
    sigma = 8 if "noise" in kind else 0
    noisy = (still + rng.normal(0, sigma, still.shape)).clip(0, 255).astype(np.uint8) if sigma else still
    return np.stack(list(compressed(noisy, place))) if "compressed" in kind else noisy


def compressed(pictures: np.ndarray, place: Path) -> Iterator[np.ndarray]:
    """Encode coarsely, with a keyframe every 12 frames, and decode."""
    encode_video(place / "still.mp4", pictures, fps=10, crf=30, keyframe_every=12)
    with av.open(str(place / "still.mp4")) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def marks(network: MSNet, pictures: np.ndarray) -> list[float]:
    with torch.inference_mode():
        found = network(normalize(pictures)[None])
    assert found.displacement is not None and found.confidence is not None
    displacement, confidence = (torch.cat([x[0], x[0, -1:]]).numpy() for x in (found.displacement, found.confidence))
    there = np.arange(len(pictures)) < len(pictures) - 1
    video = _Video(
        "still",
        np.arange(len(pictures)) / 10,
        found.frame_features[0].half().float().numpy(),  # as a store keeps them
        coarse_maps(displacement.astype(np.float16), confidence.astype(np.float16), there),
    )
    track = _track(video, CONFIG)
    return CONFIG.picker.pick(track.time_seconds, track.scores)


@pytest.mark.parametrize("kind", ["still", "noise", "compressed", "compressed noise"])
def test_a_video_that_stands_still_has_no_boundary(kind: str, network: MSNet, tmp_path: Path) -> None:
    assert marks(network, frames(kind, tmp_path)) == []


def test_the_same_picture_replaced_by_another_has_one_at_the_cut(network: MSNet, tmp_path: Path) -> None:
    assert marks(network, frames("cut", tmp_path)) == pytest.approx([FRAMES / 20 - 0.05])
