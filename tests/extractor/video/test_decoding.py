"""Decoding against a full forward decoding by PyAV: every frame, every time, in bounded chunks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from extractor.video import decoding
from extractor.video.decoders.backends import DecodingRequest, Misbehaved
from extractor.video.decoders.decord_backend import decord_frames
from extractor.video.decoders.pyav_backend import pyav_frames
from extractor.video.decoding import decode
from extractor.video.sampling import suggested_deadline_seconds
from extractor.video.transforms import Resizer
from schemas.config import Resize
from schemas.errors import FailureClass
from schemas.records import Decoded, Failure, FileJob, FrameChunk, Header, Item, ItemPlan
from tests.extractor.video.truth import config, events, kept, request, true_frames, true_times
from tests.videos import frame_number, write_video

SOUND_UNDER_DECORD = {  # valid files that decord must decode, or the rule would be void
    "h264.mp4",
    "h264.mkv",
    "open_gop.mp4",
    "variable_rate.mp4",
    "rotated_180.mp4",
    "vp8_altref.webm",
    "vp9_altref.webm",
    "av1.mp4",
    "chroma_444_odd.mp4",
    "fragmented.mp4",
    "full_range.mp4",
    "late_start.mkv",
    "two_streams.mp4",
    "two_frames.mp4",
}


def test_decode_returns_the_true_frames_and_times_of_every_kind_of_file(
    valid: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    by_decord = set()
    resizer = Resizer(Resize.STRETCH, 32)
    for name, path in valid.items():
        if name == "one_frame.mp4":
            continue
        header, chunks, end = kept(events(path))
        (plan,) = header.plans
        assert isinstance(plan, ItemPlan)
        truth = true_frames(path)
        index = np.concatenate([chunk.index for chunk in chunks])
        assert np.array_equal(index, plan.index), name
        for number, frame in zip(index, np.concatenate([chunk.frames for chunk in chunks]), strict=True):
            assert np.array_equal(frame, resizer(np.ascontiguousarray(truth[number]))), (name, number)
        times = np.array(true_times(path))[index]
        assert plan.time_seconds == pytest.approx(times, abs=1e-9 if header.info.times_made_up else 0), name
        assert all(chunk.valid.all() for chunk in chunks)
        if end.decoder != "av":
            by_decord.add(name)
    # decord 0.6.0 cannot decode AV1, and rotates frames that decord2 does not: PyAV takes over there.
    assert by_decord >= SOUND_UNDER_DECORD - {"av1.mp4", "two_streams.mp4"}
    assert capfd.readouterr().err == ""  # FFmpeg's messages under decord are captured


@pytest.mark.parametrize("seed", range(3))
def test_both_decoders_give_the_same_native_frames_however_they_are_sampled(valid: dict[str, Path], seed: int) -> None:
    random = np.random.default_rng(seed)
    refused: set[str] = set()
    for name in sorted(SOUND_UNDER_DECORD):
        truth = true_frames(valid[name])
        share = random.choice([0.05, 0.3, 0.7])
        index = sorted({0, *np.flatnonzero(random.random(len(truth)) < share).tolist()})
        for frames in (decord_frames, pyav_frames):
            try:
                found = list(frames(request(valid[name], index, to_end=bool(seed % 2))))
            except Misbehaved:  # older versions refuse AV1, for example, which is not tested here
                refused.add(name)
                continue
            assert [frame.number for frame in found] == index
            for frame in found:
                assert np.array_equal(frame.pixels, truth[frame.number]), (name, frames, frame.number)
                assert frame_number(np.rot90(frame.pixels, 2) if "180" in name else frame.pixels) == frame.number
    assert len(refused) <= 2


def test_decode_of_segments_returns_every_frame_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=80)
    items = (Item("a", 0.0, 1.0), Item("b", 0.5, 2.0), Item("c", 9.0, 10.0), Item("d", 1.02, 1.5))
    header, chunks, _ = kept(events(path, *items))
    plans = header.plans
    assert isinstance(plans[2], Failure)
    assert plans[2].failure is FailureClass.TOO_SHORT
    index = np.concatenate([chunk.index for chunk in chunks]).tolist()
    needed = {number for plan in plans if isinstance(plan, ItemPlan) for number in plan.index.tolist()}
    assert index == sorted(needed)


def test_decode_where_all_items_are_too_short_ends_at_once(valid: dict[str, Path]) -> None:
    header, end = events(valid["one_frame.mp4"])
    assert isinstance(header, Header)
    (plan,) = header.plans
    assert isinstance(plan, Failure)
    assert plan.failure is FailureClass.TOO_SHORT
    assert isinstance(end, Decoded)
    assert end.decoder == ""


def test_decode_names_decoder_version_and_flags(valid: dict[str, Path]) -> None:
    decord = pytest.importorskip("decord")
    header, _, end = kept(events(valid["h264.mp4"]))
    assert end.decoder_version == decord.__version__
    assert end.decoder in ("decord2", "decord", "eva-decord")
    assert end.decoder_version[0].isdigit()
    assert kept(events(valid["h264.mp4"], decoder="pyav"))[2].decoder == "av"
    header, _, end = kept(events(valid["cut.mp4"]))
    assert end.flags == header.info.flags == ("discarded_packets",)
    assert end.decode_seconds > 0
    assert end.transform_seconds > 0


def test_decode_hands_on_chunks_of_bounded_bytes(valid: dict[str, Path]) -> None:
    job = FileJob(str(valid["h264.mp4"]), (Item("v"),))
    frame_bytes = 32 * 32 * 3
    chunks = [
        event
        for event in decode(job, config(rate_hz=25.0), chunk_bytes=7 * frame_bytes + 5)
        if isinstance(event, FrameChunk)
    ]
    assert [len(chunk.index) for chunk in chunks] == [7, 7, 7, 7, 7, 5]
    assert all(chunk.frames.nbytes <= 7 * frame_bytes + 5 for chunk in chunks)


def test_decode_works_only_when_asked(valid: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def watched(wanted: DecodingRequest) -> Iterator[object]:
        for frame in pyav_frames(wanted):
            taken.append(frame.number)
            yield frame

    monkeypatch.setattr(decoding, "pyav_frames", watched)
    job = FileJob(str(valid["h264.mp4"]), (Item("v"),))
    running = decode(job, config(rate_hz=25.0, decoder="pyav"), chunk_bytes=5 * 32 * 32 * 3)
    assert isinstance(next(running), Header)
    assert taken == []
    next(running)
    assert len(taken) == 5
    running.close()
    assert len(taken) == 5


def test_suggested_deadline_seconds_is_generous_and_ends() -> None:
    assert suggested_deadline_seconds(1_000_000) == 70.0
    assert suggested_deadline_seconds(None) == 60.0
    assert suggested_deadline_seconds(0, 100.0) == 260.0
    assert suggested_deadline_seconds(30_000_000, 100.0) == 360.0  # the longer one, not both
    assert suggested_deadline_seconds(1_000_000, base_seconds=5.0) == 15.0
    assert suggested_deadline_seconds(10**12, 360_000.0, base_seconds=5.0) == 3605.0
