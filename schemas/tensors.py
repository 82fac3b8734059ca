"""The tensors that a store can hold. Options, rows, shards and readers derive from the one entry of each.

To add one: an entry in `TENSORS`, and code that sets an attribute of that name on the network's output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

LEVELS = ("clips", "frames", "pairs")
"""Groups of a shard. All datasets of a group have equally many rows."""

Grid = tuple[int, ...]

STAGES = ("stage2", "stage3", "stage4")
"""Stages of the backbone whose maps can be stored, at strides 8, 16 and 32."""

_SIDES = (2, 4, 7)
"""Sides of the grids over which maps can be averaged. Maps of 224 px have 28, 14 and 7 cells a side."""


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Widths of what a network returns for one input size.

    clip_dim, frame_dim: D of clip and frame features (an ensemble's clip feature is as wide as its members'
    together). motion_channels: C, 0 without a MotionSqueeze module. cells: (h, w) of motion and of stage 2; each later
    stage has half as many. num_classes: 0 without a classifier. stage_channels: C of `STAGES`; zeros in stores that
    were made before there were stages, which compare equal.
    """

    clip_dim: int
    frame_dim: int
    motion_channels: int
    cells: tuple[int, int]
    num_classes: int = 0
    members: int = 1
    stage_channels: tuple[int, int, int] = field(default=(0, 0, 0), compare=False)

    def map_shape(self, name: str) -> tuple[int, int, int]:
        """(C, h, w) of a map: "motion" or one of `STAGES`."""
        if name == "motion":
            return self.motion_channels, *self.cells
        number = STAGES.index(name)
        height, width = (-(-side // 2**number) for side in self.cells)
        return self.stage_channels[number], height, width


class Needs(StrEnum):
    """What a network must have for a tensor."""

    NOTHING = ""
    MOTION = "motion"
    CLASSIFIER = "classifier"
    MEMBERS = "members"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A dataset of every shard.

    path: level/name. shape: of one row, from the network's shape and the motion grid. output: its name in --outputs;
    None if it is always stored. attribute: of the network's output for a batch (BatchOutput); None if the pipeline
    knows it without a network. dtype: None is the store's float format. by_default: stored unless outputs are chosen,
    if the network has what it needs. grid: what the attribute's maps are averaged over, () the whole map, (g, g) cells
    of a grid; None: stored as they are.
    """

    path: str
    shape: Callable[[NetworkShape, Grid], Grid]
    output: str | None = None
    attribute: str | None = None
    dtype: str | None = None
    needs: Needs = Needs.NOTHING
    by_default: bool = True
    grid: Grid | None = None

    @property
    def level(self) -> str:
        return self.path.partition("/")[0]


def _scalar(shape: NetworkShape, grid: Grid) -> Grid:
    return ()


def _averaged(source: str, grid: Grid) -> StoredTensor:
    """Maps of the network averaged over a grid: "stage3" is the mean over the map, "stage3_2x2" has four cells."""
    name = f"{source}_{grid[0]}x{grid[1]}" if grid else source
    return StoredTensor(
        f"frames/{name}",
        lambda net, _: (net.map_shape(source)[0], *grid),
        name,
        source,
        needs=Needs.MOTION if source == "motion" else Needs.NOTHING,
        by_default=False,
        grid=grid,
    )


_GRIDS = tuple((side, side) for side in _SIDES)
_AVERAGED = [_averaged(stage, grid) for stage in STAGES for grid in ((), *_GRIDS)]
_AVERAGED += [_averaged("motion", grid) for grid in _GRIDS]


TENSORS: dict[str, StoredTensor] = {
    "clip": StoredTensor("clips/feature", lambda net, grid: (net.clip_dim,), "clip", "clip_features"),
    "frame": StoredTensor("frames/feature", lambda net, grid: (net.frame_dim,), "frame", "frame_features"),
    "motion": StoredTensor(
        "frames/motion", lambda net, grid: (net.motion_channels, *grid), "motion", "motion", needs=Needs.MOTION
    ),
    "time_seconds": StoredTensor("frames/time_seconds", _scalar, dtype="float64"),
    "index": StoredTensor("frames/index", _scalar, dtype="int64"),
    "valid": StoredTensor("frames/valid", _scalar, dtype="uint8"),
    "frame_member": StoredTensor("frames/member", _scalar, dtype="uint8", needs=Needs.MEMBERS),
    "displacement": StoredTensor(
        "pairs/displacement", lambda net, grid: (2, *net.cells), "displacement", "displacement", needs=Needs.MOTION
    ),
    "confidence": StoredTensor(
        "pairs/confidence", lambda net, grid: (1, *net.cells), "confidence", "confidence", needs=Needs.MOTION
    ),
    "tied": StoredTensor(
        "pairs/tied",
        lambda net, grid: (net.cells[0], (net.cells[1] + 7) // 8),
        "displacement",
        "tied",
        dtype="uint8",
        needs=Needs.MOTION,
    ),
    "pair_member": StoredTensor("pairs/member", _scalar, dtype="uint8", needs=Needs.MEMBERS),
    "logits": StoredTensor(
        "clips/logits",
        lambda net, grid: (net.num_classes,),
        "logits",
        "logits",
        needs=Needs.CLASSIFIER,
        by_default=False,
    ),
    **{str(tensor.output): tensor for tensor in _AVERAGED},
}
"""By the readers' names."""


def named_outputs() -> str:
    """The names that --outputs accepts as a phrase, those of grids together."""
    whole = ", ".join(name for name, tensor in output_choices().items() if not tensor.grid)
    return f"{whole} (motion and stages also with {', '.join(f'_{side}x{side}' for side in _SIDES)})"


def output_choices() -> dict[str, StoredTensor]:
    """Names that --outputs accepts, in the order of a configuration, each with its tensor."""
    return {tensor.output: tensor for name, tensor in TENSORS.items() if tensor.output == name}
