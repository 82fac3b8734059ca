"""Where decoding may begin, by the pictures themselves."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from extractor.video.bitstreams.entry_points import EntryPoint, EntryPoints, independent, independent_units
from extractor.video.containers.preflight import inspect_video
from tests.extractor.video.bitstreams.streams_with_groups import (
    FRAMES,
    GROUP,
    KINDS,
    WITHOUT,
    with_false_keyframes,
    write_kind,
)

OPEN = {"open.mp4", "open.ts", "hevc_open.mp4", "hevc_open.mkv"}
INTRA_IN_OPEN_GROUPS = {"mpeg4.mp4", "mpeg4.mkv", "mpeg2.ts"}  # nothing tells whether their groups are closed


@pytest.mark.parametrize("name", KINDS)
def test_entry_points_are_the_keyframes_of_each_group(tmp_path: Path, name: str) -> None:
    path = write_kind(tmp_path, name)
    points = inspect_video(path).entry_points
    assert len(points) >= FRAMES // GROUP
    with av.open(str(path)) as container:
        keyframes = {
            EntryPoint(packet.pts, packet.dts, packet.size, point.opens)
            for packet in container.demux(container.streams.video[0])
            for point in points
            if packet.size and packet.is_keyframe and packet.pts is not None
        }
    assert set(points) <= keyframes
    opens = [point.opens for point in points]
    if name in OPEN:
        assert opens == [False] + [True] * (len(points) - 1)
    else:
        assert set(opens) == {name in INTRA_IN_OPEN_GROUPS}


@pytest.mark.parametrize("name", WITHOUT)
def test_streams_that_refresh_gradually_have_no_entry_point_behind_the_first(tmp_path: Path, name: str) -> None:
    path = write_kind(tmp_path, name)
    with av.open(str(path)) as container:
        keyframes = sum(bool(packet.is_keyframe) for packet in container.demux(container.streams.video[0]))
    assert keyframes > 1 or name == "refresh.ts"
    assert len(inspect_video(path).entry_points) == (name != "vp8.webm")


@pytest.mark.parametrize("name", ["closed.mp4", "open.mp4", "hevc_open.mp4", "mpeg4.mp4", "av1.mp4"])
def test_a_packet_that_is_falsely_called_a_keyframe_is_no_entry_point(tmp_path: Path, name: str) -> None:
    path = write_kind(tmp_path, name)
    assert set(inspect_video(with_false_keyframes(path, 5)).entry_points) <= set(inspect_video(path).entry_points)


class _Packet:
    """As much of a packet as is read of one."""

    pts = dts = 0

    def __init__(self, content: bytes, is_keyframe: bool, new_description: bool = False) -> None:
        self.content, self.is_keyframe, self.size = content, is_keyframe, 0
        self.new_description = new_description

    def has_sidedata(self, kind: str) -> bool:
        return kind == "new_extradata" and self.new_description

    def __bytes__(self) -> bytes:
        return self.content


IDR, SLICE, SETS, OTHER_SETS = (
    b"\0\0\1\x65\x88",
    b"\0\0\1\x41\x9a",
    b"\0\0\1\x67ab\0\0\1\x68c",
    b"\0\0\1\x67ab\0\0\1\x68d",
)


@pytest.mark.parametrize(
    ("packets", "expected"),
    [
        ([SETS + IDR, SLICE, SETS + IDR], True),
        ([IDR, SLICE, IDR], True),
        ([SETS + IDR, SETS[-5:] + SLICE, SETS + IDR], True),  # repeated in between
        ([SETS + IDR, SLICE, OTHER_SETS + IDR], False),
        ([SETS + IDR, SLICE, IDR], False),  # whether the first ones hold is not known without it
        ([IDR, SETS + SLICE, IDR], False),
        ([SETS + IDR, OTHER_SETS[-5:] + SLICE, SETS + IDR], False),
    ],
)
def test_parameter_sets_that_change_leave_no_entry_points(packets: list[bytes], expected: bool) -> None:
    points = EntryPoints("h264", b"")
    for content in packets:
        points.add(_Packet(content, IDR in content))  # type: ignore[arg-type]
        for _ in range(8):
            points.add(_Packet(SLICE, False))  # type: ignore[arg-type]
    assert len(points.found) == (2 if expected else 0)


def test_recovery_points_count_if_they_promise_exact_frames_at_once() -> None:
    intra = b"\x41\x88"
    for payload, expected in ((b"\xc0", True), (b"\x80", None), (b"\x50", None)):  # at once; not exact; after a frame
        message = b"\x06\x05\x01x" + b"\x06" + bytes([len(payload)]) + payload + b"\x80"
        assert independent_units("h264", [message, intra]) is expected
    assert independent_units("h264", [intra]) is None


@pytest.mark.parametrize("seed", range(3))
def test_any_bytes_are_read_without_an_error(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(300):
        content = random.bytes(int(random.integers(0, 40)))
        for prefix in (b"", b"\0\0\1\x06\xff", b"\0\0\1\xb3\0\0\1\0", b"\x12\0\x0a", b"\0\0\1\xb6"):
            for codec in ("vp9", "av1", "mpeg4", "mpeg2video", "vp8"):
                assert independent(codec, prefix + content) in (None, False, True)
            for codec in ("h264", "hevc"):
                for extradata in (b"", b"\1" + bytes(30)):
                    points = EntryPoints(codec, extradata)
                    points.add(_Packet(prefix + content, True))  # type: ignore[arg-type]
                    assert len(points.found) <= 1


def test_another_description_of_the_track_leaves_no_entry_points() -> None:
    for new_description in (False, True):
        points = EntryPoints("vp9", b"")
        for number in range(3):
            keyframe = _Packet(b"\x82\x49\x83\x42", True, new_description and number == 1)
            points.add(keyframe)  # type: ignore[arg-type]
            for _ in range(8):
                points.add(_Packet(b"\x86", False))  # type: ignore[arg-type]
        assert len(points.found) == (0 if new_description else 3)
