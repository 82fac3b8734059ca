"""Makes small files whose stamps, or whose first pictures, are odd: by joining, cutting and patching bytes.

    joined(path, codec, counts)              files joined byte by byte, as `cat` does: the clock starts anew in each
    with_stamps(path, change)                a Matroska file or a transport stream with other stamps
    cut_before(path, source, packet)         a copy of a file without its first packets
    without_packet(path, source, lost)       a copy of a transport stream that lacks a packet
    with_held_stamps(path, source, shift)    a copy with shifted stamps, as FFmpeg writes those that step back
    with_null_frames(path, source, slots)    a copy of an AVI file with empty packets, which show the last frame again

Every frame shows its number on its bar (`tests.videos.frame_number`), which goes on from part to part.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import av

from tests.videos import write_video

__all__ = [
    "cut_before",
    "joined",
    "keyframes_of",
    "with_held_stamps",
    "with_null_frames",
    "with_stamps",
    "without_packet",
]

_CLUSTER, _SIMPLE_BLOCK, _CLUSTER_TIME = b"\x1f\x43\xb6\x75", 0xA3, 0xE7
_TS_BYTES = 188
_RAW = frozenset({".h264", ".hevc"})
_FLV_HEADER_BYTES = 9 + 4
_PLAIN_MATROSKA = {"live": "1", "write_crc32": "0"}
_LIVE = {".mkv": _PLAIN_MATROSKA, ".mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}}


def joined(
    path: Path,
    codec: str = "libx264",
    counts: Sequence[int] = (40, 40),
    *,
    starts_ms: Sequence[int] | None = None,
    fps: int = 25,
    **settings: object,
) -> Path:
    """Files of `counts` frames each, joined into one. starts_ms: when each begins by its own clock."""
    content, first = b"", 0
    for part, count in enumerate(counts):
        start = starts_ms[part] if starts_ms else 0
        times = [start + round(1000 * number / fps) for number in range(count)] if starts_ms else None
        piece = path.with_name(f"part{part}{path.suffix}")
        write_video(
            piece,
            frames=count,
            fps=fps,
            codec=codec,
            first=first,
            times_ms=times,
            container_options=_LIVE.get(path.suffix, {}),
            **settings,  # type: ignore[arg-type]
        )
        content += _without_header(piece.read_bytes(), path.suffix) if part else piece.read_bytes()
        piece.unlink()
        first += count
    path.write_bytes(content)
    return path


def _without_header(content: bytes, suffix: str) -> bytes:
    """What of a file can follow another one: of containers with an index or a header, the frames alone."""
    match suffix:
        case ".flv":
            return content[_FLV_HEADER_BYTES:]
        case ".mkv":
            return content[content.index(_CLUSTER) :]
        case ".mp4":
            return content[content.index(b"moof") - 4 :]
    return content


def with_stamps(path: Path, change: Callable[[int, int], int], **settings: object) -> Path:
    """Write a file with other stamps: change(number of the packet in the file, stamp in milliseconds) -> stamp.

    Presentation stamps only: decoding stamps stay, as in files that broken writers leave. settings: of `write_video`.
    """
    write_video(path, container_options=_LIVE.get(path.suffix, {}), **settings)  # type: ignore[arg-type]
    content = bytearray(path.read_bytes())
    if path.suffix == ".mkv":
        _change_matroska(content, change)
    else:
        _change_transport(content, change)
    path.write_bytes(bytes(content))
    return path


def _change_matroska(content: bytearray, change: Callable[[int, int], int]) -> None:
    number, at = 0, content.index(_CLUSTER)
    while at < len(content):
        if content[at : at + 4] == _CLUSTER:
            _, at = _vint(content, at + 4)
            assert content[at] == _CLUSTER_TIME
            length, at = _vint(content, at + 1)
            start = int.from_bytes(content[at : at + length], "big")
            at += length
        elif content[at] == _SIMPLE_BLOCK:
            length, at = _vint(content, at + 1)
            stamp = start + int.from_bytes(content[at + 1 : at + 3], "big", signed=True)
            content[at + 1 : at + 3] = (change(number, stamp) - start).to_bytes(2, "big", signed=True)
            number, at = number + 1, at + length
        else:
            break  # what follows the frames: the index


def _vint(content: bytearray, at: int) -> tuple[int, int]:
    width = 9 - content[at].bit_length()
    return int.from_bytes(content[at : at + width], "big") & ((1 << 7 * width) - 1), at + width


def _change_transport(content: bytearray, change: Callable[[int, int], int]) -> None:
    number = 0
    for at in range(0, len(content), _TS_BYTES):
        adaptation = content[at + 4] + 1 if content[at + 3] & 0x20 else 0
        pes = at + 4 + adaptation
        if not content[at + 1] & 0x40 or content[pes : pes + 3] != b"\0\0\1" or content[pes + 3] & 0xF0 != 0xE0:
            continue
        old = content[pes + 9 : pes + 14]
        ticks = (old[0] >> 1 & 7) << 30 | old[1] << 22 | old[2] >> 1 << 15 | old[3] << 7 | old[4] >> 1
        ticks = change(number, ticks // 90) * 90
        high, middle, low = ticks >> 30 & 7, ticks >> 15 & 0x7FFF, ticks & 0x7FFF
        head = bytes((old[0] & 0xF1 | high << 1,))
        content[pes + 9 : pes + 14] = head + b"".join((part << 1 | 1).to_bytes(2, "big") for part in (middle, low))
        number += 1


def cut_before(path: Path, source: Path, packet: int, *, start_seconds: float = 0.4) -> Path:
    """Copy the packets of a file from number `packet` on, the first of which is shown at `start_seconds`.

    A raw stream has no stamps to shift.
    """
    if path.suffix in _RAW:
        with av.open(str(source)) as whole:
            packets = [bytes(item) for item in whole.demux(whole.streams.video[0]) if item.size]
        path.write_bytes(b"".join(packets[packet:]))
        return path
    with av.open(str(source)) as whole, av.open(str(path), "w") as part:
        stream = whole.streams.video[0]
        copy = part.add_stream_from_template(stream)
        assert stream.time_base is not None
        offset = None
        for number, item in enumerate(whole.demux(stream)):
            if item.dts is None or item.pts is None or number < packet:
                continue
            offset = item.pts - round(start_seconds / stream.time_base) if offset is None else offset
            item.pts, item.dts, item.stream = item.pts - offset, item.dts - offset, copy
            part.mux(item)
    return path


def without_packet(path: Path, source: Path, lost: int) -> Path:
    """Copy the packets of a transport stream but one, as where reception failed for a moment."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as part:
        copy = part.add_stream_from_template(whole.streams.video[0])
        for number, item in enumerate(whole.demux(whole.streams.video[0])):
            if item.dts is not None and number != lost:
                item.stream = copy
                part.mux(item)
    return path


def with_held_stamps(path: Path, source: Path, shift: Callable[[int], float]) -> Path:
    """Copy the packets of a file, with stamps that are shifted by shift(number of the packet) seconds.

    Where that makes decoding stamps step back or stand still, they follow the last one by a tick, and no frame is shown
    before it is decoded: what FFmpeg's muxers write then.
    """
    with av.open(str(source)) as file, av.open(str(path), "w") as target:
        stream = file.streams.video[0]
        copy = target.add_stream_from_template(stream)
        assert stream.time_base is not None
        last: int | None = None
        for number, packet in enumerate(packet for packet in file.demux(stream) if packet.size):
            assert packet.pts is not None and packet.dts is not None
            by = round(shift(number) / stream.time_base)
            dts = packet.dts + by if last is None else max(packet.dts + by, last + 1)
            last, packet.dts, packet.pts = dts, dts, max(packet.pts + by, dts)
            packet.stream = copy
            target.mux(packet)
    return path


def keyframes_of(path: Path) -> list[int]:
    """Numbers of the packets that are keyframes."""
    with av.open(str(path)) as container:
        packets = [item for item in container.demux(container.streams.video[0]) if item.size]
    return [number for number, packet in enumerate(packets) if packet.is_keyframe]


def with_null_frames(path: Path, source: Path, slots: Collection[int]) -> Path:
    """Copy an AVI file with an empty chunk in each of `slots`: recorders write one where a frame was dropped."""
    content = source.read_bytes()
    start = content.index(b"movi") + 4
    index = content.index(b"idx1", start)
    entries = [content[at : at + 16] for at in range(index + 8, len(content) - 15, 16)]
    body, table = b"", b""
    while entries:
        slot = len(table) // 16
        empty = slot in slots
        chunk, flags = b"00dc" + bytes(4), bytes(4)
        if not empty:
            entry = entries.pop(0)
            at, size = int.from_bytes(entry[8:12], "little") + start - 4, int.from_bytes(entry[12:16], "little")
            chunk, flags = content[at : at + 8 + size + size % 2], entry[4:8]
        offset = 4 + len(body)
        table += b"00dc" + flags + offset.to_bytes(4, "little") + chunk[4:8]
        body += chunk
    result = bytearray(content[:start] + body + b"idx1" + len(table).to_bytes(4, "little") + table)
    result[start - 8 : start - 4] = (4 + len(body)).to_bytes(4, "little")
    result[4:8] = (len(result) - 8).to_bytes(4, "little")
    path.write_bytes(bytes(result))
    return path
