"""What `msnet gebd demo` makes."""

from __future__ import annotations

from dataclasses import dataclass, field

from gebd.heads.config import HeadConfig


@dataclass(frozen=True, slots=True)
class GEBDDemoPlan:
    """What the demonstration makes, and with which networks.

    weights: as in `Request`, for `model`. against: checkpoints of networks trained in the same way, or "random" for a
    TSN-ResNet-18. size: side of the network's input. seconds: range of the videos' length.
    """

    training_videos: int = 60
    test_videos: int = 40
    seconds: tuple[float, float] = (8.0, 12.0)
    seed: int = 0
    model: str = "msnet_resnet18"
    weights: str | None = None
    against: tuple[str, ...] = ()
    size: int = 112
    device: str = "auto"
    config: HeadConfig = field(default_factory=HeadConfig)
