"""H.264 without the frames that nobody needs: the sampled frames are those of a full decoding, whatever the stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from extractor.video.containers.preflight import inspect_video
from extractor.video.decoders.backends import Misbehaved
from extractor.video.decoders.h264_headers import FrameHeader, FrameHeaders
from extractor.video.decoders.pyav_backend import pyav_frames
from extractor.video.decoders.sparse import leaves_frames_out, sparse_frames
from schemas.errors import FailureClass, VideoError
from schemas.records import Decoded, DecodingEvent, Item, Restart
from tests.extractor.video.truth import config, events, failure_of, kept, request
from tests.videos import frame_number, write_video

STREAMS = {
    "no_b.mp4": {"x264-params": "bframes=0"},
    "single.mp4": {"x264-params": "bframes=1:b-adapt=0"},
    "flat.mp4": {"x264-params": "bframes=3:b-adapt=0:b-pyramid=none"},
    "pyramid.mkv": {"x264-params": "bframes=5:b-adapt=0:b-pyramid=normal:ref=4"},
    "strict.mp4": {"x264-params": "bframes=4:b-adapt=0:b-pyramid=strict:direct=spatial"},
    "temporal.mkv": {"x264-params": "bframes=3:b-adapt=0:direct=temporal:weightb=1:weightp=2"},
    "slices.mp4": {"x264-params": "bframes=3:b-adapt=0:slices=4"},
    "open_gop.mp4": {"x264-params": "bframes=3:b-adapt=0:open-gop=1:keyint=12:min-keyint=12:scenecut=0"},
    "baseline.mp4": {"profile": "baseline"},
    "slow.mp4": {"preset": "slow", "threads": "1"},
}
WITHOUT_SUCH_FRAMES = {"no_b.mp4", "baseline.mp4"}


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """H.264 of many structures, by name."""
    folder = tmp_path_factory.mktemp("streams")
    return {
        name: write_video(folder / name, frames=60, seed=number, options=options)
        for number, (name, options) in enumerate(STREAMS.items())
    }


@pytest.fixture
def left_out(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for each packet whose header was asked: whether the frame is one to which no other refers."""
    found: list[bool] = []
    read = FrameHeaders.read

    def watched(self: FrameHeaders, packet: bytes) -> FrameHeader | None:
        header = read(self, packet)
        found.append(header is not None and header.unreferenced)
        return header

    monkeypatch.setattr(FrameHeaders, "read", watched)
    return found


def packets_of(path: Path) -> Iterator[tuple[int, int, bool]]:
    """Position in the file, size, and whether no other frame refers to it, of the packets of a video in file order."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        headers = FrameHeaders(stream.codec_context.extradata or b"")
        for packet in container.demux(stream):
            if packet.size:
                header = headers.read(bytes(packet))
                assert packet.pos is not None
                assert header is not None
                yield packet.pos, packet.size, header.unreferenced


def damaged(path: Path, position: int, size: int) -> Path:
    """A copy of a file in which `size` bytes from a position on are other ones."""
    content = bytearray(path.read_bytes())
    content[position : position + size] = bytes(byte ^ 0xA5 for byte in content[position : position + size])
    copy = path.with_name(f"damaged_{position}_{path.name}")
    copy.write_bytes(bytes(content))
    return copy


def frames_of(found: list[DecodingEvent]) -> NDArray[np.uint8]:
    """All frames behind the last restart."""
    return np.concatenate([chunk.frames for chunk in kept(found)[1]])


def frames_or_failure(path: Path, decoder: str) -> bytes | FailureClass:
    """The pixels that decoding two frames a second returns, or the class by which it fails."""
    try:
        return frames_of(events(path, decoder=decoder, rate_hz=2.0)).tobytes()
    except VideoError as error:
        return error.failure


@pytest.mark.parametrize("name", STREAMS)
def test_sparse_frames_are_those_of_a_full_decoding(streams: dict[str, Path], left_out: list[bool], name: str) -> None:
    random = np.random.default_rng(len(name))
    path = streams[name]
    assert leaves_frames_out(inspect_video(path))
    for share in (0.02, 0.2, 0.5, 0.9):
        for to_end in (True, False):
            wanted = sorted({int(random.integers(60)), *np.flatnonzero(random.random(60) < share).tolist()})
            asked = request(path, wanted, to_end=to_end)
            found, truth = list(sparse_frames(asked)), list(pyav_frames(asked))
            assert [frame.number for frame in found] == wanted
            for frame, right in zip(found, truth, strict=True):
                assert np.array_equal(frame.pixels, right.pixels), (name, frame.number)
                assert frame_number(frame.pixels) == frame.number
    assert any(left_out) is (name not in WITHOUT_SUCH_FRAMES)


def test_decode_leaves_frames_out_of_h264_without_flags_alone(valid: dict[str, Path], left_out: list[bool]) -> None:
    for name, path in valid.items():
        left_out.clear()
        if name in ("one_frame.mp4", "two_frames.mp4"):  # nothing to leave out
            continue
        found = events(path, decoder="sparse")
        header, _, end = kept(found)
        assert np.array_equal(frames_of(found), frames_of(events(path, decoder="pyav"))), name
        if header.info.codec == "h264" and not header.info.flags:
            assert end.decoder == "av"
            assert left_out, name
        else:
            assert not left_out, name


def test_decode_leaves_nothing_out_unless_asked(streams: dict[str, Path], left_out: list[bool]) -> None:
    for decoder in ("auto", "pyav", "decord"):
        kept(events(streams["flat.mp4"], decoder=decoder))
    kept(events(streams["flat.mp4"], decoder="sparse", keep_corrupt=True))
    assert not left_out


def test_damage_of_a_needed_frame_fails_the_file(streams: dict[str, Path]) -> None:
    path = streams["flat.mp4"]
    position, size, _ = [packet for packet in packets_of(path) if not packet[2]][4]
    copy = damaged(path, position + size // 3, size // 2)
    assert failure_of(copy, decoder="sparse").failure is FailureClass.CORRUPT
    with pytest.raises(Misbehaved, match="without the frames that nobody needs"):
        list(sparse_frames(request(copy, [0, 30])))


def test_damage_of_a_frame_that_nobody_needs_goes_unseen_and_affects_no_other(streams: dict[str, Path]) -> None:
    """What leaving out costs, and why it has to be asked for."""
    path = streams["flat.mp4"]
    sound = frames_or_failure(path, "pyav")
    unseen = 0
    for position, size, unreferenced in packets_of(path):
        if unreferenced:
            copy = damaged(path, position + 12, size - 12)
            in_full, sparsely = frames_or_failure(copy, "pyav"), frames_or_failure(copy, "sparse")
            assert sparsely in (in_full, sound)
            unseen += in_full is FailureClass.CORRUPT and sparsely == sound
    assert unseen


def test_a_file_that_arouses_doubt_is_decoded_in_full(
    streams: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every frame claims that no other refers to it; the decoder knows better, and returns frames nobody expects."""
    path = streams["no_b.mp4"]
    monkeypatch.setattr(FrameHeaders, "read", lambda self, packet: FrameHeader(True, False, b"\x01\xff\xff", 4))
    found = events(path, decoder="sparse", rate_hz=2.0)
    assert any(isinstance(event, Restart) for event in found)
    end = found[-1]
    assert isinstance(end, Decoded)
    assert end.fallback_reason.startswith("without the frames that nobody needs")
    frames, right = (frames_of(each) for each in (found, events(path, decoder="pyav", rate_hz=2.0)))
    assert np.array_equal(frames, right)


@pytest.mark.parametrize("name", ["flat.mp4", "strict.mp4", "no_b.mp4"])
def test_a_reference_that_claims_to_be_none_is_not_left_out(streams: dict[str, Path], name: str) -> None:
    """One changed bit of a header. The next frame's number tells; FFmpeg fills the gap silently."""
    path = streams[name]
    claimed = 0
    for position, _, unreferenced in list(packets_of(path))[1:-1]:
        content = bytearray(path.read_bytes())
        if unreferenced or content[position + 4] & 31 != 1:
            continue
        content[position + 4] &= 0x9F  # nal_ref_idc 0
        copy = path.with_name(f"claims_{name}")
        copy.write_bytes(bytes(content))
        assert frames_or_failure(copy, "sparse") == frames_or_failure(copy, "pyav")
        claimed += 1
    assert claimed > 5


def test_sparse_decoding_of_a_segment_stops_where_it_ends(streams: dict[str, Path]) -> None:
    path = streams["pyramid.mkv"]
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4 : len(content) * 3 // 4 + 300] = bytes(300)
    copy = path.with_name("late_damage.mkv")
    copy.write_bytes(bytes(content))
    end = kept(events(copy, Item("v", 0.0, 0.5), decoder="sparse"))[2]
    assert end.fallback_reason == ""
    assert failure_of(copy, decoder="sparse").failure in (FailureClass.CORRUPT, FailureClass.TRUNCATED)


def test_the_policy_is_part_of_the_digest_and_changes_no_other() -> None:
    digests = {config(decoder=decoder).digest() for decoder in ("auto", "pyav", "decord", "sparse")}
    assert len(digests) == 4
