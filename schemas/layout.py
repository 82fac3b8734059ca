"""A store on disk: names of files; names, shapes and dtypes of a shard's datasets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.config import ExtractionConfig
from schemas.errors import ConfigurationError, StorageError, StoreError
from schemas.records import SCHEMES
from schemas.tensors import TENSORS, Needs, NetworkShape

if TYPE_CHECKING:  # every `--help` imports this module
    import numpy as np
    import numpy.typing as npt


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


_CHUNK_BYTES = 64 * 1024
MAX_CHUNK_BYTES = 4 * 1024 * 1024  # for more than one row; reading any row reads its whole chunk
_DENSE_CHUNK_ROWS = 32


def datasets_of(config: ExtractionConfig, shape: NetworkShape) -> tuple[DatasetSpec, ...]:
    """Datasets of every shard of a store, in order.

    Raises ConfigurationError for an output that the network does not have.
    """
    _require_outputs(config, shape)
    grid = motion_grid(config, shape)
    kept = []
    for name in config.outputs:
        if averaged := TENSORS[name].grid:
            _require_cells(name, averaged[0], shape.map_shape(str(TENSORS[name].attribute))[1:])
    for tensor in TENSORS.values():
        if (tensor.output in config.outputs) if tensor.output else (shape.members > 1 or tensor.needs != Needs.MEMBERS):
            extents, dtype = tensor.shape(shape, grid), tensor.dtype or config.store_dtype.value
            level, _, name = tensor.path.partition("/")
            kept.append(DatasetSpec(level, name, extents, dtype, _chunk_rows(config, extents, dtype)))
    return tuple(sorted(kept, key=lambda spec: (spec.level, spec.name)))


def clip_rows(config: ExtractionConfig) -> int:
    """Frame rows that are read together: those of a clip, or a guess where a clip is a whole item (dense)."""
    return config.num_frames or _DENSE_CHUNK_ROWS


def motion_grid(config: ExtractionConfig, shape: NetworkShape) -> tuple[int, ...]:
    """Spatial shape of stored motion: () pooled, (g, g) for a grid, (h, w) full."""
    if config.motion_form in (None, "pooled"):
        return ()
    if config.motion_form == "full":
        return shape.cells
    side = int(str(config.motion_form))
    _require_cells(f"motion:{side}", side, shape.cells)
    return (side, side)


def _require_cells(name: str, side: int, cells: tuple[int, int]) -> None:
    """Refuse a grid that is finer than the map it averages."""
    if side > min(cells):
        raise ConfigurationError(
            f"expected a grid of at most {min(cells)} cells a side, which the map has; got {name}. Use a smaller grid, "
            "or a larger --size"
        )


def _require_outputs(config: ExtractionConfig, shape: NetworkShape) -> None:
    needed = {TENSORS[name].needs for name in config.outputs}
    if shape.motion_channels == 0 and Needs.MOTION in needed:
        raise ConfigurationError(
            f"{config.model} has no MotionSqueeze module, so no motion, displacement or confidence. "
            "Use --outputs clip,frame or an msnet_ network"
        )
    if shape.num_classes == 0 and Needs.CLASSIFIER in needed:
        raise ConfigurationError("the checkpoint has no classifier, so no logits. Leave logits out of --outputs")


def _chunk_rows(config: ExtractionConfig, extents: tuple[int, ...], dtype: str) -> int:
    row_bytes = DatasetSpec("", "", extents, dtype, 1).row_bytes
    rows = max(clip_rows(config), min(1024, _CHUNK_BYTES // row_bytes))
    return max(1, min(rows, MAX_CHUNK_BYTES // row_bytes))


def pack_tied(tied: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Tied cells (..., h, w) as bits along w, the leftmost cell in the highest bit: (..., h, ceil(w / 8))."""
    import numpy as np

    return np.packbits(tied, axis=-1)


def unpack_tied(packed: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.bool_]:
    """Inverse of `pack_tied` for maps that are `width` cells wide: (k, h, width)."""
    import numpy as np

    return np.unpackbits(packed, axis=-1, count=width).astype(bool)


def row_range(ranges: npt.NDArray[np.int64], level: str) -> tuple[Any, Any]:
    """First and one past the last row of a level, each of the shape (...) that ranges have before their last dimension.

    ranges: (..., 5) of clips: clip_row, frame_start, frame_stop, pair_start, pair_stop.
    """
    first = {"clips": 0, "frames": 1, "pairs": 3}[level]
    start = ranges[..., first]
    return start, start + 1 if level == "clips" else ranges[..., first + 1]


_SHARD = re.compile(r"shard-\d{5,}")
_ATTEMPT = re.compile(r"[0-9A-Za-z]{1,64}")


def require_no_address(path: Path, expected: str, advice: str) -> None:
    """Raise StorageError if a path was given as an address, of which Path has taken a slash: "s3:/bucket/store"."""
    for part in Path(path).parts:
        if part.endswith(":") and part[:-1] in SCHEMES:
            raise StorageError(f"expected {expected}; got an address ({part}//). {advice}")


@dataclass(frozen=True, slots=True)
class StorePaths:
    """Paths of a store. File names derive from shard and attempt only, never from a video's name.

    Raises StorageError for an address: object storage cannot hold a store.
    """

    root: Path

    def __post_init__(self) -> None:
        require_no_address(
            self.root,
            "a folder for a store",
            "A store is safe from crashes by rename, hard links and fsync, which object storage lacks: give a local "
            "disk, NFS or Lustre, and copy the finished store (docs/running.md)",
        )

    @property
    def run(self) -> Path:
        return self.root / "run.json"

    @property
    def inventory(self) -> Path:
        return self.root / "inventory.parquet"

    @property
    def planning(self) -> Path:
        """Rows of the inventory while it is being planned."""
        return self.root / "inventory.log"

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
    def commits_cache(self) -> Path:
        return self.root / "commits.parquet"

    @property
    def index(self) -> Path:
        return self.root / "clips.index"

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
        raise StoreError(f"expected a shard name like shard-00000; got {shard!r}. The store has been altered by hand")
    return shard


def _checked_attempt(attempt: str) -> str:
    if not _ATTEMPT.fullmatch(attempt):
        raise StoreError(
            f"expected an attempt named by letters and digits; got {attempt!r}. The store has been altered by hand"
        )
    return attempt
