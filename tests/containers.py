"""Files whose containers are odd, made with PyAV and by moving bytes about. It uses none of the product's code.

boxes(content) lists the boxes of an MP4; write_with_cover, write_late_video, write_encrypted, encrypted_matroska and
write_oriented_stream make files of one kind each.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.stream import Disposition

from tests.videos import moving_frames, write_video

__all__ = [
    "Box",
    "boxes",
    "encrypted_matroska",
    "hevc_orientation",
    "patched",
    "write_encrypted",
    "write_late_video",
    "write_oriented_stream",
    "write_with_cover",
]

_SIZE = (96, 128)
_RATE_HZ = 44100


class Box(NamedTuple):
    """A box of the highest level: its kind, where it starts, and where it ends."""

    kind: str
    start: int
    stop: int


def boxes(content: bytes) -> list[Box]:
    """Boxes of the highest level, which fill the file."""
    found, at = [], 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        found.append(Box(content[at + 4 : at + 8].decode("latin-1"), at, at + length))
        at += length
    return found


def patched(path: Path, mark: bytes, skip: int, new: bytes) -> Path:
    """Overwrite bytes of a file, `skip` bytes behind the first `mark`, and return its path."""
    content = bytearray(path.read_bytes())
    at = content.index(mark) + len(mark) + skip
    content[at : at + len(new)] = new
    path.write_bytes(bytes(content))
    return path


def write_with_cover(
    path: Path,
    *,
    codec: str = "mjpeg",
    first: bool = True,
    default: bool = True,
    attached: bool = False,
    images: int = 1,
    frames: int = 30,
    audio: bool = True,
) -> Path:
    """A file with a cover picture of 200 x 200, a video of 128 x 96 (frames=0: none), and perhaps audio.

    first: the cover stands before the video; default: it is the default track, not the video; attached: it is marked
    as an attached picture; images: how many frames its track has.
    """
    with av.open(str(path), "w") as container:
        kinds = [("cover", codec), ("video", "libx264")][:: 1 if first else -1]
        streams = {}
        for kind, name in kinds:
            if kind == "video" and not frames:
                continue
            stream = streams[kind] = container.add_stream(name, rate=25)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width = _SIZE if kind == "video" else (200, 200)
            stream.pix_fmt = {"libx264": "yuv420p", "mjpeg": "yuvj420p", "png": "rgb24"}[name]
            stream.disposition = Disposition.default if (kind == "cover") == default else Disposition(0)
            if kind == "cover" and attached:
                stream.disposition = Disposition.attached_pic
        sound = container.add_stream("aac", rate=_RATE_HZ) if audio else None
        for kind, stream in streams.items():
            assert isinstance(stream, av.VideoStream)
            container.mux(list(_encoded(stream, frames if kind == "video" else images)))
        if sound is not None:
            assert isinstance(sound, av.AudioStream)
            container.mux(list(_silence(sound, 0.5)))
    return path


def write_late_video(path: Path, seconds: int = 20, *, codec: str = "libx264", audio_codec: str = "mp2") -> Path:
    """A file whose video begins this many seconds after its audio; 20 frames."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream(audio_codec, rate=_RATE_HZ)
        video = container.add_stream(codec, rate=25)
        assert isinstance(sound, av.AudioStream)
        assert isinstance(video, av.VideoStream)
        video.height, video.width = _SIZE
        video.pix_fmt = "yuv420p"
        packets = [*_silence(sound, seconds + 1.0), *_encoded(video, 20, 25 * seconds)]
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            container.mux(packet)
    return path


def write_encrypted(path: Path, *, fragmented: bool = False) -> Path:
    """An MP4 with Common Encryption."""
    options = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "00112233445566778899aabbccddeeff",
        "encryption_kid": "ffeeddccbbaa99887766554433221100",
    }
    if fragmented:
        options["movflags"] = "frag_keyframe+empty_moov"
    return write_video(path, frames=20, options={"g": "5"}, container_options=options)


def encrypted_matroska(path: Path) -> Path:
    """A Matroska file whose video track says that it is encrypted (its frames are not)."""
    content = write_video(path, frames=10, metadata={"ENC_KEY_ID": "a tag that says nothing"}).read_bytes()
    encodings = _element("6d80", _element("6240", _element("5033", b"\1"), _element("5035", _element("47e1", b"\5"))))
    at = content.rindex(bytes.fromhex("1654ae6b"))  # Tracks; the first is in the list of where things are
    size, width = _size_at(content, at + 4)
    track = at + 4 + width + 6  # behind a checksum, which is dropped
    assert content[track] == 0xAE  # TrackEntry
    track_size, track_width = _size_at(content, track + 1)
    entry = content[track + 1 + track_width : track + 1 + track_width + track_size] + encodings
    rest = content[track + 1 + track_width + track_size : at + 4 + width + size]
    tracks = _element("1654ae6b", _element("ae", entry), rest)
    head = content[:at] + tracks + content[at + 4 + width + size :]
    segment = head.index(bytes.fromhex("18538067")) + 4
    path.write_bytes(head[:segment] + b"\1" + b"\xff" * 7 + head[segment + 8 :])  # of unknown size
    return path


def write_oriented_stream(path: Path, description: str, *, rotation: int = 0, frames: int = 20) -> Path:
    """H.264 with an orientation inside the stream, as FFmpeg's h264_metadata puts it there.

    description: "rotate=90", "flip=horizontal"; rotation: of the container.
    """
    source = write_video(path.with_name("source.mp4"), frames=frames, rotation=rotation)
    with av.open(str(source)) as plain, av.open(str(path), "w") as container:
        stream = plain.streams.video[0]
        target = container.add_stream_from_template(stream)
        change = av.BitStreamFilterContext(f"h264_metadata=display_orientation=insert:{description}", stream, target)
        for packet in plain.demux(stream):
            for changed in change.filter(packet if packet.dts is not None else None):
                changed.stream = target
                container.mux(changed)
    source.unlink()
    return path


def hevc_orientation(path: Path, *, quarter_turns: int = 1, at_keyframe: int = 0) -> Path:
    """Raw HEVC (its suffix must say so) with an orientation inside the stream, before one of its keyframes."""
    options = {"x265-params": "log-level=none:pools=1:keyint=10:min-keyint=10:scenecut=0:bframes=0:info=0"}
    content = write_video(path, codec="libx265", frames=20, options=options).read_bytes()
    bits = 0 << 19 | (quarter_turns << 14) << 1 | 1  # no cancel, no flips, 16 bits of angle, persistent
    payload = (bits << 4 | 8).to_bytes(3, "big")
    unit = b"\0\0\0\1" + bytes([39 << 1, 1, 47, 3]) + payload.replace(b"\0\0\0", b"\0\0\3\0") + b"\x80"
    starts = [at for at in range(len(content) - 5) if content[at : at + 3] == b"\0\0\1"]
    keys = [at for at in starts if content[at + 3] >> 1 & 63 in (19, 20, 21)]
    at = keys[at_keyframe]
    path.write_bytes(content[:at].removesuffix(b"\0") + unit + b"\0" + content[at:])
    return path


def _encoded(stream: av.VideoStream, frames: int, start: int = 0) -> Iterator[av.Packet]:
    for number, array in enumerate(moving_frames(frames, (stream.height, stream.width))):
        frame = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = start + number, Fraction(1, 25)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _silence(stream: av.AudioStream, seconds: float) -> Iterator[av.Packet]:
    for number in range(int(seconds * _RATE_HZ / 1152)):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 1152), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = _RATE_HZ, number * 1152
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _element(kind: str, *content: bytes) -> bytes:
    joined = b"".join(content)
    return bytes.fromhex(kind) + (1 << 56 | len(joined)).to_bytes(8, "big") + joined


def _size_at(content: bytes, at: int) -> tuple[int, int]:
    """Size of an element of Matroska, and how many bytes say so."""
    width = 9 - content[at].bit_length()
    return int.from_bytes(content[at : at + width], "big") & ((1 << 7 * width) - 1), width
