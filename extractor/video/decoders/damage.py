"""Which of FFmpeg's messages mean that frames are damaged: explicit lists.

Measured with FFmpeg 8.1 on valid and on damaged files (docs/decoding.md).

Under decord every message of level INFO and above counts, except the few that sound files produce: a false alarm costs
a second decoding and nothing else. The level is INFO because the only sign of some H.264 damage has that level
("concealing 30 DC, 30 AC, 30 MV errors in P frame"), and so have reports of frames that change size.

Under PyAV, whose verdict is final, only messages of level ERROR and above count; it marks concealed frames itself. A
*decoder's* message means damage unless listed as harmless: concealed damage has many names, and a file with an unknown
message must not pass as sound. A *demuxer's* message is harmless unless listed as damage: it comments on tracks,
chapters and metadata that frames do not depend on, and broken packets show up in the decoder's messages or as missing
frames anyway.
"""

from __future__ import annotations

import re


def _any_of(*expressions: str) -> re.Pattern[str]:
    return re.compile("|".join(expressions))


_HARMLESS_OF_DECODERS = _any_of(
    r"co located POCs unavailable",  # H.264: a B-frame at a recovery point; valid transport streams have it
    r"mmco: unref short failure",  # H.264: a reference to drop was already gone
    r"number of reference frames .* exceeds max",  # H.264: the encoder understates them in its header
    r"Application has requested \d+ threads",
    r"deprecated pixel format used",
    r"VBV buffer",
    r"Late SEI is not implemented|If you want to help, upload a sample|SEI type \d+ size \d+ truncated",
)
"""Messages of a video decoder that do not affect the frames."""

_DAMAGING_OF_DEMUXERS = _any_of(
    r"partial file",  # mp4: the index points beyond the end of the file
    r"File ended prematurely",  # matroska
    r"Packet corrupt|corrupt (?:input )?packet|PES packet size mismatch",
    r"Invalid NAL unit size",
    r"Read error at pos|Error reading|I/O error|Input/output error",
    r"invalid as first byte of an EBML number|Element .* exceeds (?:its )?(?:parent|containing)|EBML .* exceeds",
    r"Invalid length 0x\w+ > 0x\w+ for element",  # matroska: it skips the rest of the cluster
)
"""Messages of a demuxer that mean lost or broken packets."""

_HARMLESS_UNDER_DECORD = _any_of(
    r"Changing video frame properties on the fly",  # the next line says which: see `_PROPERTIES`
    r"deprecated pixel format used",
    r"\blibdav1d \d",
)
"""Messages after which decord is still trusted."""

_FRAME = r"w:\s*(\d+) h:\s*(\d+) fmt:\s*(\S+)"
_PROPERTIES = re.compile(rf"filter context - {_FRAME}.*incoming frame - {_FRAME}")
_TRUNCATION = re.compile(r"partial file|File ended prematurely")


def calls_for_second_opinion(line: str) -> bool:
    """Whether a line that FFmpeg or decord wrote under decord means that PyAV has to decode the file.

    Frames whose colour properties differ from the header's are harmless, since decord converts them all alike; frames
    of another size or pixel format are not, since decord scales them to the first.
    """
    change = _PROPERTIES.search(line)
    if change:
        return change.groups()[:3] != change.groups()[3:]
    return not _HARMLESS_UNDER_DECORD.search(line)


def means_damage(message: str, *, from_decoder: bool) -> bool:
    """Whether a message of level ERROR means damaged frames. from_decoder: the video decoder wrote it."""
    if from_decoder:
        return not _HARMLESS_OF_DECODERS.search(message)
    return bool(_DAMAGING_OF_DEMUXERS.search(message))


def means_truncation(message: str) -> bool:
    """Whether a message says that the end of the file is missing."""
    return bool(_TRUNCATION.search(message))
