"""Decoding against a full forward decoding by PyAV, and what becomes of files that cannot be trusted."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from extractor.video import decoding, decord_backend
from extractor.video.backends import Misbehaved, Request
from extractor.video.decoding import decode, suggested_deadline_seconds
from extractor.video.decord_backend import decord_frames
from extractor.video.preflight import inspect_video
from extractor.video.pyav_backend import pyav_frames
from extractor.video.transforms import Resizer
from schemas.config import Resize
from schemas.errors import FailureClass, VideoError
from schemas.records import Decoded, Failure, FileJob, FrameChunk, Header, Item, ItemPlan, Restart
from tests.extractor.video.truth import config, events, kept, true_frames, true_times
from tests.videos import frame_number, write_images, write_video

SHOW_NOTHING_WRONG = {  # valid files that decord must be able to do, or the rule would be empty
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


def request(path: Path, index: list[int] | None = None, *, to_end: bool = True, keep: bool = False) -> Request:
    found = inspect_video(path, keep_corrupt=keep)
    every = np.arange(found.info.num_frames) if index is None else np.array(index)
    return Request(path, found, every, to_end, keep)


def failure_of(path: Path, **changes: object) -> VideoError:
    with pytest.raises(VideoError) as caught:
        events(path, **changes)
    return caught.value


def test_decode_gives_the_true_frames_and_times_of_every_kind_of_file(
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
    # decord 0.6.0 cannot do AV1, and turns frames that decord2 does not: such differences are for PyAV to even out.
    assert by_decord >= SHOW_NOTHING_WRONG - {"av1.mp4", "two_streams.mp4"}
    assert capfd.readouterr().err == ""  # what FFmpeg said under decord stays inside


@pytest.mark.parametrize("seed", range(3))
def test_both_decoders_give_the_same_native_frames_however_they_are_sampled(valid: dict[str, Path], seed: int) -> None:
    random = np.random.default_rng(seed)
    refused: set[str] = set()
    for name in sorted(SHOW_NOTHING_WRONG):
        truth = true_frames(valid[name])
        share = random.choice([0.05, 0.3, 0.7])
        index = sorted({0, *np.flatnonzero(random.random(len(truth)) < share).tolist()})
        for frames in (decord_frames, pyav_frames):
            try:
                found = list(frames(request(valid[name], index, to_end=bool(seed % 2))))
            except Misbehaved:  # older ones cannot do AV1, for one: honest, and not what is tested here
                refused.add(name)
                continue
            assert [frame.number for frame in found] == index
            for frame in found:
                assert np.array_equal(frame.pixels, truth[frame.number]), (name, frames, frame.number)
                assert frame_number(np.rot90(frame.pixels, 2) if "180" in name else frame.pixels) == frame.number
    assert len(refused) <= 2


def test_decode_of_segments_gives_every_frame_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=80)
    items = (Item("a", 0.0, 1.0), Item("b", 0.5, 2.0), Item("c", 9.0, 10.0), Item("d", 1.02, 1.5))
    header, chunks, _ = kept(events(path, *items))
    plans = header.plans
    assert isinstance(plans[2], Failure)
    assert plans[2].failure is FailureClass.TOO_SHORT
    index = np.concatenate([chunk.index for chunk in chunks]).tolist()
    needed = {number for plan in plans if isinstance(plan, ItemPlan) for number in plan.index.tolist()}
    assert index == sorted(needed)


def test_decode_of_a_segment_does_not_go_to_the_end(tmp_path: Path) -> None:
    """Damage behind the last sampled frame does not concern a segment, and is not looked for."""
    path = write_video(tmp_path / "a.mkv", frames=120, options={"g": "10", "bf": "0"})
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4 : len(content) * 3 // 4 + 600] = bytes(600)
    path.write_bytes(bytes(content))
    kept(events(path, Item("a", 0.0, 1.0), decoder="pyav"))
    assert failure_of(path, decoder="pyav").failure in (FailureClass.CORRUPT, FailureClass.TRUNCATED)


def test_decode_where_all_items_are_too_short_ends_at_once(valid: dict[str, Path]) -> None:
    header, end = events(valid["one_frame.mp4"])
    assert isinstance(header, Header)
    (plan,) = header.plans
    assert isinstance(plan, Failure)
    assert plan.failure is FailureClass.TOO_SHORT
    assert isinstance(end, Decoded)
    assert end.decoder == ""


@pytest.mark.parametrize("decoder", ["auto", "pyav", "decord"])
def test_decode_of_broken_files_fails_by_class_or_is_what_pyav_gives(
    broken: dict[str, Path], decoder: str, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = {
        "empty.mp4": {FailureClass.CANNOT_OPEN},
        "text.mp4": {FailureClass.CANNOT_OPEN},
        "audio_only.mp4": {FailureClass.NO_VIDEO_STREAM},
        "no_index.mp4": {FailureClass.TRUNCATED},
        "half.mp4": {FailureClass.TRUNCATED},
        "half.mkv": {FailureClass.TRUNCATED},
        "half.avi": {FailureClass.TRUNCATED},
        "flipped.mp4": {FailureClass.CORRUPT},
        "flipped.avi": {FailureClass.CORRUPT, FailureClass.CANNOT_OPEN},
        "hole.mp4": {FailureClass.CORRUPT},
    }
    for name, path in broken.items():
        if name in expected:
            assert failure_of(path, decoder=decoder).failure in expected[name], name
        elif decoder != "decord":  # HEVC conceals flipped bits without a sign; the frames are those that PyAV gives
            truth = true_frames(path)
            resizer = Resizer(Resize.STRETCH, 32)
            for chunk in kept(events(path, decoder=decoder))[1]:
                for number, frame in zip(chunk.index, chunk.frames, strict=True):
                    assert np.array_equal(frame, resizer(truth[number])), name
    assert capfd.readouterr().err == ""


def test_decode_keeps_damaged_frames_on_request_and_marks_them(broken: dict[str, Path], tmp_path: Path) -> None:
    clean = true_frames(write_video(tmp_path / "clean.mp4", frames=60, seed=0))
    for name in ("hole.mp4", "half.mp4"):  # single flipped bits may go unseen for some frames: there is no sign of them
        header, chunks, end = kept(events(broken[name], keep_corrupt=True, rate_hz=50.0))
        index = np.concatenate([chunk.index for chunk in chunks])
        valid = np.concatenate([chunk.valid for chunk in chunks])
        frames = np.concatenate([chunk.frames for chunk in chunks])
        assert index.tolist() == list(range(header.info.num_frames))
        assert not valid.all(), name
        assert valid.any(), name
        assert end.bad_frames >= np.count_nonzero(~valid)
        resizer = Resizer(Resize.STRETCH, 32)
        for number in np.flatnonzero(valid):
            assert np.array_equal(frames[number], resizer(clean[number])), (name, number)


def test_decode_keeps_the_order_of_an_avi_by_counting(broken: dict[str, Path]) -> None:
    _, chunks, _ = kept(events(broken["flipped.avi"], keep_corrupt=True, rate_hz=50.0))
    valid = np.concatenate([chunk.valid for chunk in chunks])
    assert valid.any()
    first = int(np.argmin(valid))
    assert not valid[first:].any()  # behind the first complaint no frame's time is certain


class FakeReader:
    """Stands in for decord.VideoReader: gives frames whose grey level is their number, then misbehaves."""

    length = 40
    tail_from = 10_000
    message = b""
    error_at = 10_000

    def __init__(self, path: str, num_threads: int, fault_tol: float) -> None:
        assert num_threads == 1
        self.position = 0

    def __len__(self) -> int:
        return self.length

    def get_key_indices(self) -> list[int]:
        return [0]

    def skip_frames(self, count: int) -> None:
        self.position += count

    def next(self) -> object:
        if self.position >= self.error_at:
            raise RuntimeError("broken\nin two lines")
        if self.position == 20 and self.message:
            os.write(2, self.message)
        grey = min(self.position, self.tail_from)
        self.position += 1
        pixels = np.full((96, 128, 3), grey, np.uint8)
        return types.SimpleNamespace(asnumpy=lambda: pixels)


@pytest.mark.parametrize(
    ("trait", "reason"),
    [
        ({"length": 41}, "counts 41 frames, demuxing 40"),
        ({"tail_from": 36}, "last two frames are equal"),
        ({"message": b"[h264 @ 0x1] mb_type 62 in P slice too large\n"}, "FFmpeg wrote 'mb_type 62"),
        ({"error_at": 30}, "RuntimeError: broken"),
    ],
)
def test_decode_starts_over_with_pyav_where_decord_misbehaves(
    valid: dict[str, Path], monkeypatch: pytest.MonkeyPatch, trait: dict[str, object], reason: str
) -> None:
    decord = pytest.importorskip("decord")
    monkeypatch.setattr(decord, "VideoReader", type("Reader", (FakeReader,), trait))
    path = valid["h264.mp4"]
    job = FileJob(str(path), (Item("v"),))
    found = list(decode(job, config(), chunk_bytes=1))
    restarts = [event for event in found if isinstance(event, Restart)]
    assert len(restarts) == 1
    assert reason in restarts[0].reason
    _, chunks, end = kept(found)
    assert (end.decoder, end.fallback_reason) == ("av", restarts[0].reason)
    truth, resizer = true_frames(path), Resizer(Resize.STRETCH, 32)
    for chunk in chunks:
        assert np.array_equal(chunk.frames[0], resizer(truth[chunk.index[0]]))
    assert reason in str(failure_of(path, decoder="decord"))


def test_decode_forbids_decord_a_flagged_file(valid: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "container:mpegts" in str(failure_of(valid["transport.ts"], decoder="decord"))
    monkeypatch.setattr(decoding, "HELD_BYTES", 1000)
    error = failure_of(valid["h264.mp4"], decoder="decord")
    assert error.failure is FailureClass.TOO_LARGE
    assert kept(events(valid["h264.mp4"]))[2].decoder == "av"


def test_decode_spares_a_file_the_decoder_that_died_of_it(valid: dict[str, Path]) -> None:
    job = FileJob(str(valid["h264.mp4"]), (Item("v"),))
    found = list(decode(job, config(), distrust="it hung"))
    end = found[-1]
    assert isinstance(end, Decoded)
    assert (end.decoder, end.fallback_reason) == ("av", "it hung")
    assert not any(isinstance(event, Restart) for event in found)


def test_decode_tries_decord_again_where_nothing_else_is_allowed(valid: dict[str, Path]) -> None:
    decord = pytest.importorskip("decord")
    job = FileJob(str(valid["h264.mp4"]), (Item("v"),))
    end = kept(list(decode(job, config(decoder="decord"), distrust="it hung")))[2]
    assert (end.decoder_version, end.fallback_reason) == (decord.__version__, "")


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

    def watched(wanted: Request) -> Iterator[object]:
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


def test_decode_given_up_gives_the_standard_error_back(
    valid: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    job = FileJob(str(valid["h264.mp4"]), (Item("v"),))
    running = decode(job, config(), chunk_bytes=1)
    next(running)
    next(running)
    running.close()
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_decode_refuses_a_file_that_changed_or_went(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=4)
    with pytest.raises(VideoError) as caught:
        list(decode(FileJob(str(path), (Item("v"),), size_bytes=1), config()))
    assert caught.value.failure is FailureClass.CHANGED
    path.unlink()
    with pytest.raises(VideoError) as caught:
        list(decode(FileJob(str(path), (Item("v"),)), config()))
    assert caught.value.failure is FailureClass.MISSING


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_decode_notices_that_a_file_is_written_to_meanwhile(tmp_path: Path, decoder: str) -> None:
    path = write_video(tmp_path / "a.mp4", frames=8)
    found: list[object] = []
    with pytest.raises(VideoError) as caught:
        for event in decode(FileJob(str(path), (Item("v"),)), config(decoder=decoder), chunk_bytes=1):
            found.append(event)
            os.utime(path, ns=(len(found), len(found)))
    assert caught.value.failure is FailureClass.CHANGED
    assert any(isinstance(event, FrameChunk) for event in found)
    assert not any(isinstance(event, Decoded) for event in found)


def test_decode_blames_no_damage_on_a_file_that_is_written_to_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", frames=4)

    def disturbed(wanted: Request) -> Iterator[object]:
        path.write_bytes(b"another")
        raise VideoError(FailureClass.CORRUPT, "broken")
        yield

    monkeypatch.setattr(decoding, "pyav_frames", disturbed)
    assert failure_of(path, decoder="pyav").failure is FailureClass.CHANGED


def test_decode_reads_a_folder_of_images(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", frames=12)
    header, chunks, end = kept(events(folder, fps=10.0))
    assert header.info.flags == ("images",)
    assert end.decoder == "av"
    frames = np.concatenate([chunk.frames for chunk in chunks])
    assert len(frames) == 12
    (folder / "frame_5.png").write_bytes((folder / "frame_5.png").read_bytes()[:300])
    with pytest.raises(VideoError) as caught:
        events(folder, fps=10.0)
    assert caught.value.failure is FailureClass.CORRUPT
    _, chunks, end = kept(events(folder, fps=10.0, keep_corrupt=True))
    valid = np.concatenate([chunk.valid for chunk in chunks])
    assert np.flatnonzero(~valid).tolist() == [4]
    assert end.bad_frames == 1


def test_decord_backend_never_skips_past_a_keyframe(valid: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    decord = pytest.importorskip("decord")
    skips = []

    class Watched(decord.VideoReader):  # type: ignore[misc]
        def skip_frames(self, num: int = 1) -> None:
            skips.append(num)
            super().skip_frames(num)

    monkeypatch.setattr(decord, "VideoReader", Watched)
    list(decord_frames(request(valid["fragmented.mp4"], [0, 39])))  # keyframes at 0, 12, 24 and 36
    assert skips == [10, 11, 11, 2]


def test_decord_backend_holds_no_more_than_it_says() -> None:
    assert decord_backend.held_bytes(300, 340, 256) < decord_backend.HELD_BYTES  # ten seconds of Kinetics
    assert decord_backend.held_bytes(300, 1280, 720) > decord_backend.HELD_BYTES


def test_suggested_deadline_seconds_is_generous_and_ends() -> None:
    assert suggested_deadline_seconds(1_000_000) == 70.0
    assert suggested_deadline_seconds(None) == 60.0
    assert suggested_deadline_seconds(0, 100.0) == 260.0
    assert suggested_deadline_seconds(30_000_000, 100.0) == 360.0  # the longer one, not both
    assert suggested_deadline_seconds(1_000_000, base_seconds=5.0) == 15.0
    assert suggested_deadline_seconds(10**12, 360_000.0, base_seconds=5.0) == 3605.0
