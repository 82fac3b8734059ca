"""Headers read byte by byte."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from extractor.video.bitstreams.headers import (
    LeadingPictures,
    extradata_signature,
    is_hidden,
    may_interlace,
    opens_group,
    resolution_signature,
)
from extractor.video.containers.structure import claimed_bytes, end_of_flash
from tests.videos import write_video


def keyframes(path: Path) -> tuple[str, bytes, list[bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size and packet.is_keyframe]
        return stream.codec_context.codec.canonical_name, stream.codec_context.extradata or b"", packets


@pytest.mark.parametrize("name", ["vp8_altref.webm", "vp9_altref.webm", "av1.mp4", "bframes.avi", "h264.mkv"])
def test_resolution_signature_is_one_for_a_file_and_another_for_another_size(
    valid: dict[str, Path], tmp_path: Path, name: str
) -> None:
    codec, extradata, packets = keyframes(valid[name])
    found = {resolution_signature(codec, packet, extradata) for packet in packets}
    found.add(extradata_signature(codec, extradata))
    assert len(found - {b""}) == 1
    encoder = {"vp8": "libvpx", "vp9": "libvpx-vp9", "av1": "libsvtav1", "mpeg4": "mpeg4", "h264": "libx264"}[codec]
    other = write_video(tmp_path / name, frames=4, size=(64, 96), codec=encoder)
    codec, extradata, packets = keyframes(other)
    found.add(resolution_signature(codec, packets[0], extradata))
    found.add(extradata_signature(codec, extradata))
    assert len(found - {b""}) == 2


CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "other")


def read_everything(content: bytes, extradata: bytes, path: Path) -> None:
    """Every parser of the module, on the same bytes."""
    for codec in CODECS:
        may_interlace(codec, resolution_signature(codec, content, extradata))
        may_interlace(codec, extradata_signature(codec, content))
        may_interlace(codec, content)
        is_hidden(codec, content)
    opens_group(content, extradata)
    leading = LeadingPictures(extradata)
    leading.skips(content)
    leading.skips(content[1:])
    path.write_bytes(content)
    claimed = claimed_bytes(path)
    assert claimed is None or claimed >= 0
    joint = end_of_flash(path)
    assert joint is None or joint < len(content)


@pytest.mark.parametrize("seed", range(20))
def test_parsers_take_any_bytes(tmp_path: Path, seed: int) -> None:
    """Random bytes behind every beginning that a parser looks for, with the separators that parsers split at."""
    random = np.random.default_rng(seed)
    beginnings = [
        b"",
        b"RIFF",
        b"FLV\1\5\0\0\0\x09\0\0\0\0\x09",
        b"\x1a\x45\xdf\xa3",
        b"\0\0\0\1",
        b"\0\0\1",
        b"\0\0\0\x18ftyp",
        b"\0\0\0\1moov",
    ]
    beginnings += [b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67", b"\x9d\x01\x2a", b"\x49\x83\x42", b"\0\0\1\x20"]
    marks = [b"\0\0\1", b"\0\0\0\1", b"\0\0\0\0", b"\1\1\1", b"\xff\xff", b"\0\0\3", b"\x67", b"\x42\1"]
    for beginning in beginnings:
        pieces = [random.bytes(int(random.integers(0, 24))) for _ in range(6)]
        content = beginning + b"".join(piece + marks[int(random.integers(len(marks)))] for piece in pieces)
        for length in {0, 1, 2, 3, 4, 5, 6, 7, 8, int(random.integers(len(content) + 1)), len(content)}:
            read_everything(content[:length], random.bytes(int(random.integers(0, 30))), tmp_path / "stub")


@pytest.mark.parametrize(
    "name", ["h264.mp4", "hevc_open_gop.mp4", "vp9_altref.webm", "av1.mp4", "bframes.avi", "raw.h264"]
)
def test_parsers_take_stumps_of_real_packets(valid: dict[str, Path], tmp_path: Path, name: str) -> None:
    _, extradata, packets = keyframes(valid[name])
    for length in (*range(40), 100, 200, 400):
        read_everything(packets[0][:length], extradata[:length], tmp_path / "stub")
        read_everything(packets[0][length:], extradata[length:], tmp_path / "stub")


def test_leading_pictures_are_skipped_where_their_keyframe_has_nothing_before_it() -> None:
    def unit(kind: int) -> bytes:
        return b"\0\0\1" + bytes([kind << 1, 1, 0x80])

    cra, rasl, trailing, idr, broken_link, end = unit(21), unit(8), unit(1), unit(19), unit(16), unit(36)
    leading = LeadingPictures(b"")
    assert [leading.skips(packet) for packet in (trailing, cra, rasl, trailing)] == [False, False, True, False]
    assert [leading.skips(packet) for packet in (cra, rasl)] == [False, False]  # what it refers to is there
    assert [leading.skips(packet) for packet in (trailing + end, cra, rasl)] == [False, False, True]
    assert [leading.skips(packet) for packet in (end + cra, rasl)] == [False, True]
    assert [leading.skips(packet) for packet in (broken_link, rasl)] == [False, True]
    assert leading.restarted is False
    leading.skips(idr)
    assert leading.restarted


def test_resolution_signature_of_damage_does_not_raise() -> None:
    for codec in ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "other"):
        for packet in (b"", b"\0", b"\0\0\1", b"\xff" * 40, b"\0\0\0\4\x67\1\2\3", b"\x0a\xff"):
            resolution_signature(codec, packet, b"")
            resolution_signature(codec, packet, b"\1" * 10)
            extradata_signature(codec, packet)
            may_interlace(codec, packet)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, False),
        ({"profile": "baseline"}, False),
        ({"x264-params": "tff=1"}, True),
        ({"x264-params": "fake-interlaced=1"}, True),
    ],
)
def test_may_interlace_reads_the_parameter_set(tmp_path: Path, options: dict[str, str], expected: bool) -> None:
    path = write_video(tmp_path / "a.mp4", frames=4, options=options)
    codec, extradata, _ = keyframes(path)
    assert may_interlace(codec, extradata_signature(codec, extradata)) is expected


def test_is_hidden_reads_the_flag_of_vp8() -> None:
    assert is_hidden("vp8", b"\x01\0\0")
    assert not is_hidden("vp8", b"\x11\0\0")
    assert not is_hidden("h264", b"\x01\0\0")
