"""What a store looks like on disk: names of files, names, shapes and number formats of a shard's datasets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.config import ExtractionConfig, Output
from schemas.errors import ConfigurationError, StoreError

__all__ = [
    "LEVELS",
    "MAX_CHUNK_BYTES",
    "TENSORS",
    "DatasetSpec",
    "NetworkShape",
    "StorePaths",
    "clip_rows",
    "datasets_of",
    "motion_grid",
    "pack_tied",
    "shard_name",
    "unpack_tied",
]

LEVELS = ("clips", "frames", "pairs")
"""Groups of a shard. All datasets of a group have the same number of rows."""

TENSORS: Mapping[str, str] = {
    "clip": "clips/feature",
    "logits": "clips/logits",
    "frame": "frames/feature",
    "motion": "frames/motion",
    "time_seconds": "frames/time_seconds",
    "index": "frames/index",
    "valid": "frames/valid",
    "frame_member": "frames/member",
    "displacement": "pairs/displacement",
    "confidence": "pairs/confidence",
    "tied": "pairs/tied",
    "pair_member": "pairs/member",
}
"""Names that readers use for datasets; those of outputs are the values of `Output`."""


def shard_name(index: int) -> str:
    """Name of the shard with this index: 7 -> "shard-00007"."""
    return f"shard-{index:05d}"


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """One dataset of a shard: `level`/`name`, rows of `shape`, numpy `dtype` name, about `chunk_rows` rows a chunk."""

    level: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    chunk_rows: int

    @property
    def path(self) -> str:
        return f"{self.level}/{self.name}"

    @property
    def row_bytes(self) -> int:
        size = {"float16": 2, "float32": 4, "float64": 8, "int64": 8, "uint8": 1}[self.dtype]
        for extent in self.shape:
            size *= extent
        return size


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Widths of what a network gives for one input size.

    clip_dim, frame_dim: D of clip and frame features (an ensemble's clip feature is as wide as its members'
    together). motion_channels: C, 0 without a MotionSqueeze module. cells: (h, w). num_classes: 0 without a classifier.
    """

    clip_dim: int
    frame_dim: int
    motion_channels: int
    cells: tuple[int, int]
    num_classes: int = 0
    members: int = 1


_CHUNK_BYTES = 64 * 1024
MAX_CHUNK_BYTES = 4 * 1024 * 1024  # of more than one row; a chunk is read whole for any one of its rows
_DENSE_CHUNK_ROWS = 32


def datasets_of(config: ExtractionConfig, shape: NetworkShape) -> tuple[DatasetSpec, ...]:
    """Datasets of every shard of a store, in order.

    Raises ConfigurationError where an output was asked for that the network does not have.
    """
    _require_outputs(config, shape)
    real = config.store_dtype.value
    h, w = shape.cells
    wanted: list[tuple[str, str, tuple[int, ...], str]] = [
        ("frames", "time_seconds", (), "float64"),
        ("frames", "index", (), "int64"),
        ("frames", "valid", (), "uint8"),
    ]
    if shape.members > 1:
        wanted += [("frames", "member", (), "uint8"), ("pairs", "member", (), "uint8")]
    for output in config.outputs:
        match output:
            case Output.CLIP:
                wanted.append(("clips", "feature", (shape.clip_dim,), real))
            case Output.FRAME:
                wanted.append(("frames", "feature", (shape.frame_dim,), real))
            case Output.MOTION:
                wanted.append(("frames", "motion", (shape.motion_channels, *motion_grid(config, shape)), real))
            case Output.DISPLACEMENT:
                wanted.append(("pairs", "displacement", (2, h, w), real))
                wanted.append(("pairs", "tied", (h, (w + 7) // 8), "uint8"))
            case Output.CONFIDENCE:
                wanted.append(("pairs", "confidence", (1, h, w), real))
            case Output.LOGITS:
                wanted.append(("clips", "logits", (shape.num_classes,), real))
    return tuple(
        DatasetSpec(level, name, extents, dtype, _chunk_rows(config, extents, dtype))
        for level, name, extents, dtype in sorted(wanted)
    )


def clip_rows(config: ExtractionConfig) -> int:
    """Rows of frames that are read together: those of a clip, or a guess where a clip is a whole item (dense)."""
    return config.num_frames or _DENSE_CHUNK_ROWS


def motion_grid(config: ExtractionConfig, shape: NetworkShape) -> tuple[int, ...]:
    """Spatial extents that motion is kept with: () pooled, (g, g) a grid, (h, w) full."""
    if config.motion_form in (None, "pooled"):
        return ()
    if config.motion_form == "full":
        return shape.cells
    side = int(str(config.motion_form))
    if side > min(shape.cells):
        raise ConfigurationError(
            f"a motion grid of at most {min(shape.cells)} cells was expected, not {side}: use full or a smaller grid"
        )
    return (side, side)


def _require_outputs(config: ExtractionConfig, shape: NetworkShape) -> None:
    motion = {Output.MOTION, Output.DISPLACEMENT, Output.CONFIDENCE}
    if shape.motion_channels == 0 and motion & set(config.outputs):
        raise ConfigurationError(
            f"{config.model} has no MotionSqueeze module and gives neither motion, displacement nor confidence: "
            "use --outputs clip,frame or an msnet_ network"
        )
    if shape.num_classes == 0 and Output.LOGITS in config.outputs:
        raise ConfigurationError(
            "logits were asked for, but the checkpoint has no classifier: leave logits out of --outputs"
        )


def _chunk_rows(config: ExtractionConfig, extents: tuple[int, ...], dtype: str) -> int:
    row_bytes = DatasetSpec("", "", extents, dtype, 1).row_bytes
    rows = max(clip_rows(config), min(1024, _CHUNK_BYTES // row_bytes))
    return max(1, min(rows, MAX_CHUNK_BYTES // row_bytes))


def pack_tied(tied: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Tied cells (..., h, w) as bits along w, the leftmost cell in the highest bit: (..., h, ceil(w / 8))."""
    return np.packbits(tied, axis=-1)


def unpack_tied(packed: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.bool_]:
    """Inverse of `pack_tied` for maps that are `width` cells wide: (k, h, width)."""
    return np.unpackbits(packed, axis=-1, count=width).astype(bool)


_SHARD = re.compile(r"shard-\d{5,}")
_ATTEMPT = re.compile(r"[0-9A-Za-z]{1,64}")


@dataclass(frozen=True, slots=True)
class StorePaths:
    """Where things lie in a store. Names come from shard and attempt only, never from a video's name."""

    root: Path

    @property
    def run(self) -> Path:
        return self.root / "run.json"

    @property
    def inventory(self) -> Path:
        return self.root / "inventory.parquet"

    def copy(self, path: Path) -> Path:
        """Second copy of run.json or inventory.parquet."""
        return self.root / "copies" / path.name

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.parquet"

    @property
    def failures(self) -> Path:
        return self.root / "failures.parquet"

    @property
    def shards(self) -> Path:
        return self.root / "shards"

    @property
    def commits(self) -> Path:
        return self.root / "commits"

    @property
    def retired(self) -> Path:
        return self.root / "retired"

    @property
    def staging(self) -> Path:
        return self.root / "staging"

    @property
    def leases(self) -> Path:
        return self.root / "leases"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def commit(self, shard: str) -> Path:
        return self.commits / f"{_checked(shard)}.json"

    def shard_data(self, shard: str, attempt: str) -> Path:
        return self.shards / f"{_checked(shard)}.{_checked_attempt(attempt)}.h5"

    def shard_rows(self, shard: str, attempt: str) -> Path:
        return self.shards / f"{_checked(shard)}.{_checked_attempt(attempt)}.parquet"

    def staged(self, shard: str) -> Path:
        return self.staging / _checked(shard)


def _checked(shard: str) -> str:
    if not _SHARD.fullmatch(shard):
        raise StoreError(
            f"a shard name like shard-00000 was expected, not {shard!r}: the store has been altered by hand"
        )
    return shard


def _checked_attempt(attempt: str) -> str:
    if not _ATTEMPT.fullmatch(attempt):
        raise StoreError(
            f"an attempt named by letters and digits was expected, not {attempt!r}: the store has been altered by hand"
        )
    return attempt
