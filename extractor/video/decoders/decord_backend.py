"""Decoding with decord: forward only, in one thread, and checked.

decord's random access is wrong on open GOPs, and so is `skip_frames` past a keyframe, because it seeks there: measured
with decord2 3.4, 70 of 84 frames were wrong on an HEVC file with open GOPs and 6 of 8 on a small MPEG-4 file, all
silently. So only `next` passes a keyframe, and skipping stays within a group of pictures.

decord silently pads a file that yields fewer frames than packets by repeating the last one; `fault_tol` makes it count
the repetitions.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from extractor.video.decoders.backends import (
    DecodingRequest,
    Misbehaved,
    NativeFrame,
    NativeFrames,
    distribution_version,
)
from extractor.video.decoders.damage import calls_for_second_opinion
from extractor.video.decoders.stderr import StderrCapture
from schemas.records import VideoInfo

HELD_BYTES = 256 * 1024 * 1024
"""Bytes of native frames above which decord does not get a file.

decord reads the file as fast as it can while it waits for a frame, and its decoding thread turns all of that into
frames, requested or not: in the worst case it holds every frame of the file at its native size (measured: 460 MiB after
three calls on 280 frames of 720p). PyAV decodes on demand and holds two frames.
"""

_NO_REPETITION = 1e-9  # fault_tol below 1 is a share of the frames: so any repeated frame is an error


def held_bytes(num_frames: int, width: int, height: int) -> int:
    """Bytes of native frames that decord may hold for a file, in the worst case."""
    return num_frames * width * height * 3


def decord_name_and_version() -> tuple[str, str]:
    """Name and version of the distribution that provides `import decord`."""
    import decord

    return distribution_version("decord2", "decord", "eva-decord", version=str(decord.__version__))


def decord_frames(request: DecodingRequest) -> NativeFrames:
    """Sampled frames of a file, decoded forward by decord.

    Raises Misbehaved on any exception, if the number of frames is not the one that demuxing found, on repeated frames,
    on two equal frames at the end of the file, and on what FFmpeg or decord write to standard error (see damage.py).
    """
    with StderrCapture() as stderr:
        reason = ""
        try:
            yield from _frames(request, stderr)
        except Misbehaved as verdict:
            reason = str(verdict)
        except Exception as error:  # decord raises its own error, RuntimeError, AssertionError, IndexError, ...
            first_line = (str(error).splitlines() or [""])[0][:200]
            reason = f"decord raised {type(error).__name__}: {first_line}"
        # Raised only here, where the first exception is gone: its traceback would keep the reader and its thread
        # alive, and the thread would go on writing messages after standard error is restored.
        if reason:
            raise Misbehaved(reason)


def _frames(request: DecodingRequest, stderr: StderrCapture) -> Iterator[NativeFrame]:
    import decord  # here, since only a decoding process needs it

    decord.logging.set_level(decord.logging.INFO)  # why INFO: see damage.py
    decord.bridge.set_bridge("native")
    count = request.inspection.info.num_frames
    reader = decord.VideoReader(str(request.path.absolute()), num_threads=1, fault_tol=_NO_REPETITION)
    if len(reader) != count:
        raise Misbehaved(f"decord counts {len(reader)} frames, demuxing {count}")
    forward = _ForwardReader(reader, request.inspection.info)
    sampled = set(request.index.tolist())
    wanted = sorted(sampled | {count - 2, count - 1} - {-1}) if request.to_end else sorted(sampled)
    tail = None
    for index in wanted:
        pixels = forward.frame(index)
        _check_silence(stderr.take())
        if index >= count - 2:
            if tail is not None and np.array_equal(tail, pixels):
                raise Misbehaved("the last two frames are equal, as when decord pads a damaged file")
            tail = pixels
        if index in sampled:
            yield NativeFrame(index, pixels, True)
    del reader, forward  # ends decord's thread, whose last messages count, too
    _check_silence(stderr.take(to_end=True))


class _ForwardReader:
    """Reads an open file forward, and never seeks."""

    def __init__(self, reader: Any, info: VideoInfo) -> None:
        self.reader = reader
        self.keyframes: list[int] = sorted(reader.get_key_indices())
        self.position = 0
        upright = info.rotation % 180 == 0
        self.shape = (info.height, info.width, 3) if upright else (info.width, info.height, 3)

    def frame(self, index: int) -> npt.NDArray[np.uint8]:
        """Frame `index`, (H, W, 3) uint8; it must not lie before the current position."""
        while self.position < index:
            later = bisect.bisect_right(self.keyframes, self.position)
            before_next = self.keyframes[later] - 1 if later < len(self.keyframes) else index
            target = min(index, before_next)
            if target > self.position:
                self.reader.skip_frames(target - self.position)
                self.position = target
            if self.position < index:
                self._next()
        pixels: npt.NDArray[np.uint8] = self._next().asnumpy()
        if pixels.shape != self.shape:  # rotated frames of some widths come with a fourth channel and wrong content
            raise Misbehaved(f"expected a frame of shape {self.shape}; decord returned {pixels.shape}")
        return pixels

    def _next(self) -> Any:
        with contextlib.suppress(StopIteration):  # a generator would turn it into an unrelated RuntimeError
            frame = self.reader.next()
            self.position += 1
            return frame
        raise Misbehaved(f"decord returned no frame {self.position}")


def _check_silence(lines: list[str]) -> None:
    for line in lines:
        if calls_for_second_opinion(line):
            raise Misbehaved(f"FFmpeg wrote {line.split('] ', 1)[-1].strip()!r} under decord")
