"""What the boxes of an MP4 or QuickTime file say that a demuxer does not report: a missing end, encrypted tracks.

Total: no bytes make it raise. It reads a bounded amount: box headers, chunk offsets, and the sample sizes of one chunk
per track. Boxes and fields have their names from ISO/IEC 14496-12.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

Uint64Array = npt.NDArray[np.uint64]

_FIRST_KINDS = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide"})
_FRAGMENT_KINDS = frozenset({b"moof", b"mdat", b"sidx", b"styp", b"moov", b"emsg", b"prft", b"ssix"})
_ENCRYPTED_KINDS = frozenset({b"encv", b"drmi"})  # Common Encryption; FairPlay
_MAX_BOXES = 400_000  # at the top level: read in a second, enough for days of fragments
_MAX_CHILDREN = 200
_MAX_TRACKS = 100
_MOST_TRACKS_ASKED = 4  # for the number of frames; the first is the video's, or the one after the sound
_MAX_TABLE_BYTES = 32 * 1024 * 1024
_SELF_CONTAINED = 1  # flag of a data reference: the samples are in this file


class _Box(NamedTuple):
    """A box: its kind, the byte range of its content, and whether it lies entirely within its parent."""

    kind: bytes
    start: int
    stop: int
    whole: bool


@dataclass(slots=True)
class Mp4Layout:
    """What the boxes of a file say.

    is_mp4: it begins with a box. missing: why its end must be missing, '' if it is not. encrypted: ids of tracks with
    encrypted samples, even if only some are. joined: another file with an index of samples follows, which no demuxer
    reads.
    """

    is_mp4: bool = False
    missing: str = ""
    encrypted: frozenset[int] = frozenset()
    joined: bool = False


@dataclass(slots=True)
class _Index:
    """What the index (moov) says. end: offset at which its last sample ends, 0 if it lists none."""

    end: int = 0
    fragmented: bool = False
    encrypted: set[int] = field(default_factory=set)


def mp4_layout(path: Path | str) -> Mp4Layout:
    """Read the boxes of a file. Raises OSError if it cannot be read, and nothing else, whatever it contains.

    Bytes behind the last box (a camera's trailer, text) are no damage as long as everything that the index points to
    lies within the file. A fragmented file has no index of all its fragments: there each fragment must have its data,
    and bytes that begin like another fragment are a cut-off one.
    """
    with Path(path).open("rb") as file:
        size = file.seek(0, 2)
        if _read(file, 4, 4) not in _FIRST_KINDS:
            return Mp4Layout()
        scan = _TopLevelScan(file, size)
        for box in _boxes(file, 0, size, _MAX_BOXES):
            scan.take(box)
        encrypted = frozenset(scan.index.encrypted if scan.index else ())
        return Mp4Layout(True, scan.missing(), encrypted, scan.joined)


def mp4_length(file: BinaryIO, size: int) -> tuple[float, int]:
    """(seconds, frames of the first video track) that the index of an MP4 file states; 0 for what it does not state.

    For estimates: it reads some 40 headers of 16 bytes, of a fragmented file a segment index (sidx), and no samples.
    """
    frames = 0
    for box in _boxes(file, 0, size):
        if not box.whole or box.kind == b"moof":
            break
        if box.kind == b"moov":
            seconds, frames = _stated_length(file, box)
            if seconds:
                return seconds, frames
        elif box.kind == b"sidx":
            return _segments_seconds(file, box), frames
    return 0.0, frames


def _stated_length(file: BinaryIO, moov: _Box) -> tuple[float, int]:
    ticks, scale, frames, tracks = 0, 0, 0, 0
    for box in _boxes(file, moov.start, moov.stop):
        if not box.whole:
            break
        if box.kind == b"mvhd":
            head = _read(file, box.start, 32)
            at, width = (20, 8) if head[:1] == b"\1" else (12, 4)
            scale = int.from_bytes(head[at : at + 4], "big")
            ticks = _duration(head[at + 4 : at + 4 + width])
        elif box.kind == b"mvex" and (extent := _inside(file, box, b"mehd")):
            head = _read(file, extent.start, 12)
            ticks = ticks or _duration(head[4:12] if head[:1] == b"\1" else head[4:8])
        elif box.kind == b"trak" and not frames and tracks < _MOST_TRACKS_ASKED:
            tracks += 1
            media = _inside(file, box, b"mdia", b"minf")
            if media and _inside(file, media, b"vmhd") and (sizes := _inside(file, media, b"stbl", b"stsz")):
                frames = _number(file, sizes.start + 8, 4)
    return (ticks / scale if scale else 0.0), frames


def _duration(field: bytes) -> int:
    """A duration in ticks; all ones mean that it is not known."""
    return 0 if field == b"\xff" * len(field) else int.from_bytes(field, "big")


def _segments_seconds(file: BinaryIO, box: _Box) -> float:
    """Seconds of the segments of a segment index (sidx)."""
    head = _read(file, box.start, 32)
    scale, counted_at = int.from_bytes(head[8:12], "big"), 30 if head[:1] == b"\1" else 22
    entries = box.start + counted_at + 2
    count = int.from_bytes(head[counted_at : counted_at + 2], "big")
    content = _read(file, entries, min(12 * count, max(box.stop - entries, 0)))
    words = np.frombuffer(content[: len(content) // 12 * 12], ">u4").reshape(-1, 3)
    return float(words[:, 1].sum(dtype=np.uint64)) / scale if scale else 0.0


class _TopLevelScan:
    """What the boxes of the top level say, taken in order."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.index: _Index | None = None
        self.count = 0
        self.kinds: set[bytes] = set()
        self.last: _Box | None = None
        self.position = 0
        self.promised = 0  # offset at which the segments of the segment indices (sidx) end
        self.fragment_open = False  # a fragment whose data has not come yet
        self.second_file = False  # another file starts behind the index
        self.joined = False

    def take(self, box: _Box) -> None:
        """Note the next box of the top level."""
        self.count += 1
        self.kinds.add(box.kind)
        self.last = box
        self.position = box.stop
        if not box.whole:
            return
        if box.kind == b"moov" and self.index is None:
            self.index = _index(self.file, box)
        elif box.kind == b"ftyp" and self.index is not None:
            self.second_file = True
        elif box.kind == b"moov" and self.second_file and not self.joined:
            self.joined = _index(self.file, box).end > 0
        elif box.kind == b"moof":
            self.fragment_open = True
        elif box.kind == b"mdat":
            self.fragment_open = False
        elif box.kind == b"sidx":
            self.promised = max(self.promised, _segments_end(self.file, box))

    def missing(self) -> str:
        """Why the end of the file must be missing; '' if it is not, or if there are more boxes than are read."""
        if self.count == _MAX_BOXES:
            return ""
        claimed = max(self.position, self.index.end if self.index else 0, self.promised)
        claim = f"expected {claimed} bytes; got {self.size}"
        overrun = self.last is not None and not self.last.whole
        if self.index is None and b"moof" not in self.kinds:
            if overrun:
                return claim
            return "" if b"meta" in self.kinds else "expected an index (moov) at the start or the end; got none"
        if (self.index and self.index.end > self.size) or self.promised > self.size:
            return claim
        if self.fragment_open:
            return claim if overrun else "the data of its last fragment is missing"
        if self.index and self.index.fragmented and not self.index.end and b"moof" not in self.kinds:
            return claim if overrun else "its fragments are missing"
        fragmented = b"moof" in self.kinds or (self.index is not None and self.index.fragmented)
        indexed = self.index is not None and self.index.end > 0
        if overrun and self.last and self.last.kind in _FRAGMENT_KINDS and (fragmented or not indexed):
            return claim
        if fragmented and _begins_a_box(_read(self.file, self.position, 8)):
            return "its last fragment is incomplete"
        return ""


def _begins_a_box(rest: bytes) -> bool:
    """Whether fewer than 8 bytes behind the last box may start another fragment: they are neither text nor padding."""
    if not 0 < len(rest) < 8 or not rest.strip(b"\0") or rest[0]:
        return False
    length = int.from_bytes(rest[:4], "big")
    if len(rest) >= 4 and length < 8 and length != 1:
        return False
    return len(rest) <= 4 or any(kind.startswith(rest[4:]) for kind in _FRAGMENT_KINDS)


def _boxes(file: BinaryIO, start: int, stop: int, limit: int = _MAX_CHILDREN) -> Iterator[_Box]:
    """Boxes in [start, stop) of the file, up to the first bytes that are no box; the last one may reach beyond."""
    for _ in range(limit):
        head = _read(file, start, min(16, stop - start))
        if len(head) < 8:
            return
        length, content = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, content = int.from_bytes(head[8:], "big") if len(head) == 16 else 16, 16
        if length == 0:  # to the end
            length = stop - start
        if length < content:
            return
        end = start + length
        yield _Box(head[4:8], start + content, end, end <= stop)
        if end >= stop:
            return
        start = end


def _inside(file: BinaryIO, box: _Box, *kinds: bytes) -> _Box | None:
    """The first box at this path below a box."""
    for kind in kinds:
        found = next((child for child in _boxes(file, box.start, box.stop) if child.kind == kind and child.whole), None)
        if found is None:
            return None
        box = found
    return box


def _index(file: BinaryIO, moov: _Box) -> _Index:
    index = _Index()
    tracks = 0
    for box in _boxes(file, moov.start, moov.stop):
        if box.kind == b"mvex":
            index.fragmented = True
        if box.kind != b"trak" or not box.whole or tracks == _MAX_TRACKS:
            continue
        tracks += 1
        samples = _inside(file, box, b"mdia", b"minf", b"stbl")
        if samples is None:
            continue
        descriptions = _inside(file, samples, b"stsd")
        kinds = (
            {entry.kind for entry in _boxes(file, descriptions.start + 8, descriptions.stop)} if descriptions else set()
        )
        if kinds & _ENCRYPTED_KINDS:
            index.encrypted.add(_track_id(file, box))
        if _in_this_file(file, box):
            index.end = max(index.end, _samples_end(file, samples, _inside(file, box, b"mdia", b"minf", b"vmhd")))
    return index


def _track_id(file: BinaryIO, track: _Box) -> int:
    header = _inside(file, track, b"tkhd")
    if header is None:
        return 0
    version = _number(file, header.start, 1)
    return _number(file, header.start + (20 if version == 1 else 12), 4)


def _in_this_file(file: BinaryIO, track: _Box) -> bool:
    """False if a track's samples are in other files."""
    references = _inside(file, track, b"mdia", b"minf", b"dinf", b"dref")
    if references is None:
        return True
    entries = list(_boxes(file, references.start + 8, references.stop))[:_MAX_TRACKS]
    return all(_number(file, entry.start + 3, 1) & _SELF_CONTAINED for entry in entries)


def _samples_end(file: BinaryIO, samples: _Box, video: _Box | None) -> int:
    """Offset at which the track's last sample in the file ends; where that is unknown, its chunk's start."""
    table, width = _inside(file, samples, b"stco"), 4
    if table is None:
        table, width = _inside(file, samples, b"co64"), 8
    if table is None:
        return 0
    offsets = _table(file, table, width)
    if not len(offsets):
        return 0
    chunk = int(offsets.argmax())
    return int(offsets[chunk]) + _chunk_bytes(file, samples, chunk, video is not None)


def _chunk_bytes(file: BinaryIO, samples: _Box, chunk: int, video: bool) -> int:
    """Bytes of a chunk (counted from 0), 0 if unknown.

    A size that holds for all samples is in bytes for video only: QuickTime counts the samples of sound differently.
    """
    runs_box, sizes = _inside(file, samples, b"stsc"), _inside(file, samples, b"stsz")
    if runs_box is None or sizes is None:
        return 0
    runs = _table(file, runs_box, 4, 3).reshape(-1, 3)
    firsts, counts = runs[:, 0].astype(np.float64) - 1, runs[:, 1].astype(np.float64)
    if not len(runs) or (np.diff(firsts) <= 0).any():
        return 0
    run = int(np.searchsorted(firsts, chunk, side="right")) - 1
    if run < 0:
        return 0
    before = float((np.diff(firsts)[:run] * counts[:run]).sum() + (chunk - firsts[run]) * counts[run])
    one_size, total = _number(file, sizes.start + 4, 4), _number(file, sizes.start + 8, 4)
    if not one_size:
        total = min(total, (sizes.stop - sizes.start - 12) // 4)
    first, last = int(min(before, total)), int(min(before + counts[run], total))
    if one_size:
        return one_size * (last - first) if video else 0
    content = _read(file, sizes.start + 12 + 4 * first, min(4 * (last - first), _MAX_TABLE_BYTES))
    return int(np.frombuffer(content[: len(content) // 4 * 4], ">u4").sum(dtype=np.uint64))


def _table(file: BinaryIO, box: _Box, width: int, columns: int = 1) -> Uint64Array:
    """Numbers of `width` bytes, `columns` per entry, which follow the table's 32-bit count of entries."""
    entry = width * columns
    claimed = _number(file, box.start + 4, 4) * entry
    content = _read(file, box.start + 8, min(claimed, box.stop - box.start - 8, _MAX_TABLE_BYTES))
    return np.frombuffer(content[: len(content) // entry * entry], f">u{width}").astype(np.uint64)


def _segments_end(file: BinaryIO, box: _Box) -> int:
    """Offset at which the segments of a segment index (sidx) end."""
    head = _read(file, box.start, 32)
    wide = head[:1] == b"\1"
    at = 20 if wide else 16
    first = int.from_bytes(head[at : at + (8 if wide else 4)], "big")
    entries = box.start + at + (12 if wide else 8)
    count = _number(file, entries - 2, 2)
    content = _read(file, entries, min(12 * count, max(box.stop - entries, 0)))
    words = np.frombuffer(content[: len(content) // 12 * 12], ">u4").reshape(-1, 3)
    return box.stop + first + int((words[:, 0] & 0x7FFFFFFF).sum(dtype=np.uint64))


def _number(file: BinaryIO, at: int, width: int) -> int:
    return int.from_bytes(_read(file, at, width), "big")


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    """Up to `count` bytes at an offset; b"" beyond the end."""
    if count <= 0 or at < 0 or at >= 1 << 62:
        return b""
    file.seek(at)
    return file.read(count)
