"""What a network of the family is and returns, in numbers, without building it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal, NamedTuple

from extractor.models.backbones.architecture import FEATURE_STRIDE_PX, RESNET_LAYERS, backbone_numbers
from schemas.config import Edges, ExtractionConfig
from schemas.errors import ConfigurationError

Family = Literal["tsn", "tsm", "msnet"]

DEFAULT_SEGMENTS = 8
ENSEMBLE_SEGMENTS = (8, 16)

_RESNETS = tuple(f"resnet{depth}" for depth in RESNET_LAYERS)
_BACKBONES: dict[str, tuple[Family, str]] = {
    **{f"{family}_{backbone}": (family, backbone) for family in ("tsn", "tsm", "msnet") for backbone in _RESNETS},
    "msnet_mobilenetv2": ("msnet", "mobilenetv2"),
}
_ENSEMBLES = {f"msnet_en_{backbone}": f"msnet_{backbone}" for backbone in _RESNETS}

NETWORK_NAMES = (*_BACKBONES, *_ENSEMBLES)


class Reach(NamedTuple):
    """How many frames before and after its own a frame's feature depends on."""

    back: int
    forward: int


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network of the family and what it was loaded with. Sizes are (height, width).

    `feature_dim` is the width of a clip feature. `motion_channels` is None without an MS module. `stage_channels`:
    widths of the backbone's stages 2, 3 and 4, at strides 8, 16 and 32. `weights_kind` and
    `weights_sha256` are None before weights are loaded; the SHA-256 is also None for random weights. An ensemble has
    one of each per member, joined by a comma. `edges` is what the temporal shift reads beyond the ends of a sequence.
    `ensemble` holds the members of an ensemble; for any other network it is empty.
    """

    name: str
    family: Family
    backbone: str
    num_segments: int
    feature_dim: int
    motion_channels: int | None
    stage_channels: tuple[int, int, int]
    shifted_blocks: tuple[str, ...]
    num_classes: int | None = None
    weights_kind: str | None = None
    weights_sha256: str | None = None
    ensemble: tuple[NetworkSpec, ...] = ()
    edges: Edges = Edges.REPEAT

    @property
    def has_motion(self) -> bool:
        """Whether it has an MS module, and so returns motion, displacement and confidence."""
        return self.motion_channels is not None

    @property
    def is_ensemble(self) -> bool:
        """Whether it is several networks, which take clips of different lengths from one video."""
        return bool(self.ensemble)

    @property
    def members(self) -> tuple[NetworkSpec, ...]:
        """The single networks it consists of: the members of an ensemble, else itself alone."""
        return self.ensemble or (self,)

    @property
    def frame_feature_dim(self) -> int:
        """Width of a frame feature: in an ensemble each row is one member's, so half of `feature_dim` for two."""
        return self.members[0].feature_dim

    @property
    def reach(self) -> Reach:
        """Temporal reach of a frame feature: one frame each way per shifted block, one more forward for a pair."""
        blocks = len(self.shifted_blocks)
        return Reach(blocks, blocks + self.has_motion)

    def cells(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of motion, displacement and confidence for an input of `height` x `width` pixels."""
        return -(-height // FEATURE_STRIDE_PX), -(-width // FEATURE_STRIDE_PX)


def describe_network(
    name: str,
    *,
    num_segments: int | None = None,
    num_classes: int | None = None,
    shifted_blocks: Collection[str] | None = None,
) -> NetworkSpec:
    """Describe the network called `name` without building it; ConfigurationError for a name that does not exist.

    `num_segments` is the clip length it is declared for, 8 by default; an ensemble has 8 and 16 by definition.
    `shifted_blocks` restricts the temporal shift to some blocks; by default all of them shift.
    """
    if name in _ENSEMBLES:
        if num_segments is not None:
            raise ConfigurationError(
                f"expected no number of frames for {name}, which has an 8-frame and a 16-frame member; got"
                f" {num_segments}. Leave it out"
            )
        members = tuple(
            describe_network(_ENSEMBLES[name], num_segments=length, num_classes=num_classes)
            for length in ENSEMBLE_SEGMENTS
        )
        width = sum(member.feature_dim for member in members)
        return replace(members[-1], name=name, feature_dim=width, ensemble=members)
    if name not in _BACKBONES:
        nearest = get_close_matches(name, NETWORK_NAMES, n=1)
        advice = f"Did you mean {nearest[0]}? " if nearest else ""
        raise ConfigurationError(
            f"expected the name of a network; got {name!r}. {advice}`msnet weights list` lists them"
        )
    if num_segments is not None and num_segments < 2:
        raise ConfigurationError(f"expected clips of at least 2 frames; got {num_segments}. Give a larger number")
    family, backbone = _BACKBONES[name]
    blocks, stage_channels = backbone_numbers(backbone)
    return NetworkSpec(
        name=name,
        family=family,
        backbone=backbone,
        num_segments=num_segments or DEFAULT_SEGMENTS,
        feature_dim=stage_channels[2],
        motion_channels=stage_channels[0] if family == "msnet" else None,
        stage_channels=stage_channels,
        shifted_blocks=_shifted(name, family, blocks, shifted_blocks),
        num_classes=num_classes,
    )


def _shifted(name: str, family: Family, blocks: tuple[str, ...], wanted: Collection[str] | None) -> tuple[str, ...]:
    if family == "tsn":
        if wanted:
            raise ConfigurationError(
                f"expected no blocks to shift, as {name} has no temporal shift; got {', '.join(sorted(wanted)[:5])}."
                " Use the tsm_ network of the same backbone"
            )
        return ()
    if wanted is None:
        return blocks
    if unknown := sorted(set(wanted) - set(blocks)):
        raise ConfigurationError(f"expected blocks of {name} to shift, like {blocks[0]}; got {', '.join(unknown[:5])}")
    return tuple(block for block in blocks if block in wanted)


def member_frames(config: ExtractionConfig) -> tuple[int, ...]:
    """Frames per clip for each member of the configured network: one number, or two for MSNet-En."""
    spec = describe_network(config.model, num_segments=config.num_frames)
    return tuple(member.num_segments for member in spec.members)
