"""When decord may decode, and when its frames are discarded."""

from __future__ import annotations

import os
import types
from pathlib import Path

import numpy as np
import pytest

from extractor.video import decoding
from extractor.video.decoders import decord_backend
from extractor.video.decoders.decord_backend import decord_frames
from extractor.video.decoding import decode
from extractor.video.transforms import Resizer
from schemas.config import Resize
from schemas.errors import FailureClass
from schemas.records import Decoded, FileJob, Item, Restart
from tests.extractor.video.truth import config, events, failure_of, kept, request, true_frames


class FakeReader:
    """Replaces decord.VideoReader: returns frames whose grey level is their number, then misbehaves."""

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


def test_closed_decode_restores_standard_error(valid: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    job = FileJob(str(valid["h264.mp4"]), (Item("v"),))
    running = decode(job, config(), chunk_bytes=1)
    next(running)
    next(running)
    running.close()
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


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
