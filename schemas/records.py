"""Records passed between the parts: items, a decoder's findings and frames, and the commit of a shard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from schemas.errors import FailureClass

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Float64Array: TypeAlias = npt.NDArray[np.float64]
    Int64Array: TypeAlias = npt.NDArray[np.int64]
    Uint8Array: TypeAlias = npt.NDArray[np.uint8]
    BoolArray: TypeAlias = npt.NDArray[np.bool_]
else:

    def __getattr__(name):
        # The aliases, once they are imported: `--help` loads this module, and NumPy would be a quarter of its time.
        kind = {"Float64Array": "float64", "Int64Array": "int64", "Uint8Array": "uint8", "BoolArray": "bool_"}.get(name)
        if kind is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import numpy as np
        import numpy.typing as npt

        return npt.NDArray[getattr(np, kind)]


SCHEMES = {"s3": "s3fs", "gs": "gcsfs", "http": "aiohttp", "https": "aiohttp", "memory": "fsspec"}
"""How the address of an object may begin, and the package that reads it. `memory` is for tests."""


def is_address(path: str) -> bool:
    """Whether a path is the address of an object, or of a prefix of objects: "s3://bucket/a.mp4"."""
    scheme, mark, _ = path.partition("://")
    return bool(mark) and scheme in SCHEMES


@dataclass(frozen=True, slots=True)
class Item:
    """What features are extracted from: a video file, or a segment of one.

    `start_seconds` and `end_seconds` are on the container's clock, like `time_seconds` in the store; None means the
    file's own start or end.
    """

    video_id: str
    start_seconds: float | None = None
    end_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class FileJob:
    """One file and the items to take from it in one decoding pass. `path` may be the address of an object.

    `size_bytes` and `mtime_ns` are those of the inventory; None skips the check that the file has not changed.
    `fps` is set for a folder of numbered images only. shared: several decoders may decode stretches of it at a time.
    """

    path: str
    items: tuple[Item, ...]
    size_bytes: int | None = None
    mtime_ns: int | None = None
    fps: float | None = None
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one item has no features: a row of failures.parquet."""

    video_id: str
    failure: FailureClass
    message: str
    attempts: int = 1
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What demuxing a file showed, without decoding it.

    width, height: of the native frame before rotation, in pixels. rotation: counter-clockwise quarter turns in
    degrees (0, 90, 180, 270) that `np.rot90(frame, k=rotation // 90)` applies. num_frames: frames that are
    shown. start_seconds: time of the first frame; end_seconds: time of the last one plus its duration.
    flags: why decord is not trusted with the file (empty: it is trusted). bad_packets: packets marked corrupt.
    pixel_aspect: width over height of a pixel as displayed, after rotation. mirrored: the frame is flipped left to
    right before it is rotated.
    """

    codec: str
    container: str
    width: int
    height: int
    rotation: int
    fps: float
    num_frames: int
    start_seconds: float
    end_seconds: float
    times_made_up: bool = False
    flags: tuple[str, ...] = ()
    bad_packets: int = 0
    pixel_aspect: float = 1.0
    mirrored: bool = False

    @property
    def displayed_size(self) -> tuple[int, int]:
        """(width, height) after rotation, in stored pixels."""
        return (self.width, self.height) if self.rotation % 180 == 0 else (self.height, self.width)


@dataclass(frozen=True, slots=True)
class ItemPlan:
    """Which frames of a file an item needs, and how they form its clips.

    index: (m,) native frame numbers in output order, strictly increasing. time_seconds: (m,) their times.
    Clips have one of two forms; the other is None. ranges: (n, 2), first and one past the last position in `index` of
    every clip, both ascending; they are parts of one pass over all m frames and may overlap. clips: one (n, T) array of
    positions for each member of the network, one row per clip, each a separate sequence (a clip longer than the item
    repeats its last position).
    num_valid: (n,) how many leading frames of a clip are not repetitions. rate_capped: the requested sampling rate
    exceeds the file's own, so every frame is taken once.
    """

    video_id: str
    index: Int64Array
    time_seconds: Float64Array
    num_valid: Int64Array
    ranges: Int64Array | None = None
    clips: tuple[Int64Array, ...] | None = None
    rate_capped: bool = False


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """Maps points of the network's input to the rotated original: original = offset + scale * input, in pixels.

    Pixel edges, not centres: input x = 0 is the left edge of the input, `size` its right edge. A cell is 8 input
    pixels wide, so that a displacement of one cell is 8 * scale_x original pixels to the right.
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float


@dataclass(frozen=True, slots=True)
class Header:
    """First event of a file: its properties, and a plan or a failure for each item, in the job's order.

    stretches: of a shared file, which are decoded as they are asked for; 1 where one decoder decodes all. inspection:
    of a file of several, what spares another decoder to demux it.
    """

    info: VideoInfo
    grid: PixelGrid
    plans: tuple[ItemPlan | Failure, ...]
    stretches: int = 1
    inspection: object = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Which stretch of a shared file a decoder shall decode; None ends the decoder's part.

    proves: compare first whether decoding from keyframes yields the frames of decoding from the file's start.
    """

    stretch: int | None
    proves: bool = False


@dataclass(frozen=True, slots=True)
class FrameChunk:
    """Some sampled frames of the file, in order: frames that any of its items needs.

    index: (k,) native frame numbers. frames: (k, size, size, 3) uint8 RGB. valid: (k,) False where a corrupt
    frame was kept because the user asked for it. last: no other chunk follows, or none of this stretch.
    """

    index: Int64Array
    frames: Uint8Array
    valid: BoolArray
    last: bool = False


@dataclass(frozen=True, slots=True)
class Restart:
    """Voids all chunks so far: the file is decoded again from its start, by a stricter decoder or by one alone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """Last event: the file was decoded to its end. Says by which decoder, and at what cost."""

    decoder: str
    decoder_version: str
    fallback_reason: str = ""
    bad_packets: int = 0
    bad_frames: int = 0
    decode_seconds: float = 0.0
    transform_seconds: float = 0.0
    flags: tuple[str, ...] = field(default=())


DecodingEvent = Header | FrameChunk | Restart | Decoded


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the store: its path relative to the root in POSIX form, its size, and its SHA-256 in hex."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """Content of commits/shard-00000.json: which attempt's files are the shard, and what they hold.

    data: the HDF5 file. fragment: the parquet file with the shard's manifest rows. rows: number of rows by level.
    checksums: CRC-32 of every dataset's rows by its path. video_ids: items with rows, in the order of their rows.
    """

    shard: str
    attempt: str
    generation: int
    digest: str
    data: StoredFile
    fragment: StoredFile
    rows: dict[str, int]
    checksums: dict[str, int]
    video_ids: tuple[str, ...]
    failures: tuple[Failure, ...]
