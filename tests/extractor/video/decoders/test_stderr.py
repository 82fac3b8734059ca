"""What is written to the process's standard error while decord works."""

from __future__ import annotations

import os

import pytest

from extractor.video.decoders.stderr import StderrCapture, is_decoder_line

DAMAGE = b"[h264 @ 0x55d0aa] error while decoding MB 1 4\n"


def test_is_decoder_line_tells_by_form() -> None:
    assert is_decoder_line("[h264 @ 0x55d0aa] error while decoding MB 1 4, bytestream -11")
    assert is_decoder_line("[mov,mp4,m4a,3gp,3g2,mj2 @ 000001f] moov atom not found")
    assert is_decoder_line("    Last message repeated 3 times")
    assert is_decoder_line("[07:17:56] /project/src/video/video_reader.cc:86: ERROR opening")
    assert not is_decoder_line("Traceback (most recent call last):")
    assert not is_decoder_line("[2026-01-01 12:00:00] INFO something")


def test_capture_keeps_the_decoders_lines_and_passes_on_the_rest(capfd: pytest.CaptureFixture[str]) -> None:
    with StderrCapture() as capture:
        os.write(2, DAMAGE + b"a log line\nunfinished")
        assert capture.take() == [DAMAGE.decode().strip()]
        assert capture.take() == []
        os.write(2, b" business\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "a log line\nunfinished business\nafter\n"


def test_capture_reads_an_unfinished_line_at_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    with StderrCapture() as capture:
        os.write(2, DAMAGE.strip())
        assert capture.take() == []
        assert capture.take(to_end=True) == [DAMAGE.decode().strip()]
    assert capfd.readouterr().err == ""


def test_captures_may_overlap_in_any_order(capfd: pytest.CaptureFixture[str]) -> None:
    first, second = StderrCapture(), StderrCapture()
    first.__enter__()
    os.write(2, DAMAGE)
    second.__enter__()
    first_lines = first.take()
    first.__exit__()
    os.write(2, DAMAGE)
    assert len(first_lines) == 1
    assert len(second.take()) == 1
    second.__exit__()
    os.write(2, b"open again\n")
    assert capfd.readouterr().err == "open again\n"
    assert first.take() == []
