"""Which of FFmpeg's messages mean that frames are damaged: the written list.

Measured with FFmpeg 8.1 on valid and on damaged files (docs/decoding.md).

Under decord every message of the level INFO and above counts, except the few that every sound file may bring: a false
alarm costs a second decoding there and nothing else. INFO, since that is the level of the only sign that H.264 gives of
some damage ("concealing 30 DC, 30 AC, 30 MV errors in P frame"), and of frames that change their size.

Under PyAV, whose word is final, only messages of the level ERROR and above count; concealed frames are marked there.
What a *decoder* reports is damage unless it is listed as harmless: concealed damage has many names, and a message that
is not known yet must not pass for a sound file. What a *demuxer* reports is harmless unless it is listed as damage: it
comments on tracks, chapters and metadata that frames do not depend on, and broken packets show in the decoder's
messages or as missing frames anyway.
"""

from __future__ import annotations

import re

__all__ = [
    "DAMAGING_OF_DEMUXERS",
    "HARMLESS_OF_DECODERS",
    "HARMLESS_UNDER_DECORD",
    "calls_for_second_opinion",
    "means_damage",
    "means_truncation",
]

HARMLESS_OF_DECODERS = (
    r"co located POCs unavailable",  # H.264: a B-frame at a recovery point; valid transport streams have it
    r"mmco: unref short failure",  # H.264: a reference was gone already when it was to be dropped
    r"number of reference frames .* exceeds max",  # H.264: an encoder that claims too little in its header
    r"Application has requested \d+ threads",
    r"deprecated pixel format used",
    r"VBV buffer",
    r"Late SEI is not implemented|If you want to help, upload a sample|SEI type \d+ size \d+ truncated",
)
"""Regular expressions of messages of a video decoder that leave the frames right."""

DAMAGING_OF_DEMUXERS = (
    r"partial file",  # mp4: the index points behind the end of the file
    r"File ended prematurely",  # matroska
    r"Packet corrupt|corrupt (?:input )?packet|PES packet size mismatch",
    r"Invalid NAL unit size",
    r"Read error at pos|Error reading|I/O error|Input/output error",
    r"invalid as first byte of an EBML number|Element .* exceeds (?:its )?(?:parent|containing)|EBML .* exceeds",
    r"Invalid length 0x\w+ > 0x\w+ for element",  # matroska: it passes over the rest of the cluster
)
"""Regular expressions of messages of a demuxer that mean lost or broken packets."""

HARMLESS_UNDER_DECORD = (
    r"Changing video frame properties on the fly",  # the line that follows it says which: see below
    r"deprecated pixel format used",
    r"\blibdav1d \d",
)
"""Regular expressions of messages after which decord is trusted still."""

_FRAME = r"w:\s*(\d+) h:\s*(\d+) fmt:\s*(\S+)"
_PROPERTIES = re.compile(rf"filter context - {_FRAME}.*incoming frame - {_FRAME}")
_HARMLESS_UNDER_DECORD = re.compile("|".join(HARMLESS_UNDER_DECORD))
_TRUNCATION = re.compile(r"partial file|File ended prematurely")
_HARMLESS = re.compile("|".join(HARMLESS_OF_DECODERS))
_DAMAGING = re.compile("|".join(DAMAGING_OF_DEMUXERS))


def calls_for_second_opinion(line: str) -> bool:
    """Whether a line that FFmpeg or decord wrote under decord means that PyAV has to decode the file.

    Frames that differ in colour properties from what the header says are harmless, as decord converts them alike;
    frames of another size or pixel format are not, as it scales them to the first.
    """
    change = _PROPERTIES.search(line)
    if change:
        return change.groups()[:3] != change.groups()[3:]
    return not _HARMLESS_UNDER_DECORD.search(line)


def means_damage(message: str, *, from_decoder: bool) -> bool:
    """Whether a message of the level ERROR means damaged frames. from_decoder: it is the video decoder's own."""
    if from_decoder:
        return not _HARMLESS.search(message)
    return bool(_DAMAGING.search(message))


def means_truncation(message: str) -> bool:
    """Whether a message says that the end of the file is missing."""
    return bool(_TRUNCATION.search(message))
