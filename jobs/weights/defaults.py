"""What is loaded and how much is evaluated unless asked otherwise. Imports nothing heavy: options show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TWIN_WEIGHTS = Path("weights/tsn_resnet18.safetensors")
"""Path, in a checkout of the repository, of the TSN trained like the bundled MSNet."""

TSM_WEIGHTS = TWIN_WEIGHTS.with_name("tsm_resnet18.safetensors")
"""Likewise, of the TSM."""

BUNDLED_MODEL = "msnet_resnet18"
"""Network whose bundled weights are the default."""


@dataclass(frozen=True, slots=True)
class Views:
    """Evenly spread clips of a video, and crops (1 or 3) of each; the paper tests with 1 x 1 and 10 x 3."""

    clips: int = 1
    crops: int = 1


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is evaluated. `clips` (8 frames) and `videos` (10 s) are used once for fitting and again for the test.

    `matching_clips`: number of clips for displacement, at least `clips`; the first of them are the test clips of the
    probes. `real_seconds`: duration used of every real video. `size_px`: side of all frames.
    """

    matching_clips: int = 256
    clips: int = 64
    videos: int = 12
    real_seconds: float = 20.0
    size_px: int = 224


SHORT = Sizes(matching_clips=48, clips=16, videos=4, real_seconds=5.0)
