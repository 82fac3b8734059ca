"""What the headers of H.264 frames say, against what the encoder's own log of frames says."""

from __future__ import annotations

import itertools
from pathlib import Path

import av
import pytest

from extractor.video.decoders.h264_headers import FrameHeader, FrameHeaders
from tests.videos import write_video


def headers_of(path: Path) -> list[FrameHeader | None]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        headers = FrameHeaders(stream.codec_context.extradata or b"")
        return [headers.read(bytes(packet)) for packet in container.demux(stream) if packet.size]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "h264"])
def test_headers_tell_references_and_count_them(tmp_path: Path, suffix: str) -> None:
    """I P b b b P b b b ...: a reference counts up, and what no other refers to has the number of what follows."""
    options = {"x264-params": "bframes=3:b-adapt=0:b-pyramid=none:keyint=21:min-keyint=21:scenecut=0"}
    found = headers_of(write_video(tmp_path / f"a.{suffix}", frames=21, options=options))
    assert None not in found
    assert [header.unreferenced for header in found if header] == [False, *[False, True, True, True] * 5]
    assert [header.starts_over for header in found if header] == [True] + [False] * 20
    numbers = [header.number for header in found if header]
    assert numbers == [0, *[number for group in range(1, 6) for number in (group % 16, *[(group + 1) % 16] * 3)]]
    for before, after in itertools.pairwise(found):
        assert before is not None
        assert after is not None
        assert after.follows(before.number) is (before.unreferenced)


def test_headers_of_what_is_no_simple_frame_are_none(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=3)
    with av.open(str(path)) as container:
        extradata = container.streams.video[0].codec_context.extradata or b""
    headers = FrameHeaders(extradata)
    assert headers.read(b"") is None
    assert headers.read(b"\0\0\0\2\x02\x80") is None  # a data partition
    assert headers.read(b"\0\0\0\2\x09\x10") is None  # a delimiter alone
    assert FrameHeaders(b"").read(b"\0\0\1\x01\x9a") is None  # no parameters, so no length of the number
