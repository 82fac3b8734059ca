"""The lists of messages."""

from __future__ import annotations

import pytest

from extractor.video.decoders.damage import calls_for_second_opinion, means_damage, means_truncation


@pytest.mark.parametrize(
    "message",
    [
        "error while decoding MB 1 4, bytestream -11",
        "Invalid NAL unit size (0 > 7580).",
        "P cbpy damaged at 10 13",
        "Could not find ref with POC 12",
        "a message that nobody has seen yet",
    ],
)
def test_means_damage_distrusts_what_a_decoder_says(message: str) -> None:
    assert means_damage(message, from_decoder=True)


@pytest.mark.parametrize("message", ["co located POCs unavailable\n", "mmco: unref short failure\n"])
def test_means_damage_knows_what_is_harmless(message: str) -> None:
    assert not means_damage(message, from_decoder=True)


def test_means_damage_ignores_what_a_demuxer_says_of_other_things() -> None:
    assert not means_damage("Referenced QT chapter track not found", from_decoder=False)
    assert not means_damage("Unknown-sized element at 0x1cd inside parent with finite size", from_decoder=False)
    assert means_damage("stream 0, offset 0x3e416: partial file", from_decoder=False)
    assert means_damage("Invalid length 0x6e > 0x8 for element with ID 0xE7 at 0x24a4", from_decoder=False)


def test_means_truncation_is_about_the_end() -> None:
    assert means_truncation("File ended prematurely at pos. 10163 (0x27b3)")
    assert not means_truncation("error while decoding MB 1 4")


CHANGE = "[in @ 0x1] filter context - w: 128 h: 96 fmt: 0 csp: unknown, incoming frame - w: {} h: {} fmt: {} csp: bt709"


def test_calls_for_second_opinion_at_nearly_every_message() -> None:
    assert calls_for_second_opinion("[h264 @ 0x1] concealing 30 DC, 30 AC, 30 MV errors in P frame")
    assert calls_for_second_opinion("[h264 @ 0x1] co located POCs unavailable")
    assert not calls_for_second_opinion("[swscaler @ 0x1] deprecated pixel format used, make sure you did set range")
    assert not calls_for_second_opinion(CHANGE.format(128, 96, 0))
    assert calls_for_second_opinion(CHANGE.format(96, 64, 0))
    assert calls_for_second_opinion(CHANGE.format(128, 96, 12))
