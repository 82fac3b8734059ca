"""Decoding with decord: forward only, one thread, and distrustful.

decord's random access is wrong on open GOPs, and so is `skip_frames` where it passes a keyframe, as it seeks then:
measured with decord2 3.4, 70 of 84 frames wrong on an HEVC file with open GOPs, 6 of 8 on a small MPEG-4 one, all
without a word. Keyframes are therefore passed by `next` alone, and skipping stays within a group of pictures.

decord pads a file that gives fewer frames than packets with repetitions of the last one, without a word as well:
`fault_tol` makes it count them.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from extractor.video.decoders.backends import Misbehaved, NativeFrame, NativeFrames, Request, distribution_version
from extractor.video.decoders.damage import calls_for_second_opinion
from extractor.video.decoders.stderr import StderrCapture
from schemas.records import VideoInfo

__all__ = ["HELD_BYTES", "decord_frames", "decord_name_and_version", "held_bytes"]

HELD_BYTES = 256 * 1024 * 1024
"""Bytes of native frames above which a file is not given to decord.

decord reads the file as fast as it can while it waits for a frame, and its decoding thread turns all of that into
frames whether they are asked for or not: in the worst case it holds every frame of the file at its native size
(measured: 460 MiB after three calls on 280 frames of 720p). PyAV decodes what is pulled and holds two frames.
"""

_NO_REPETITION = 1e-9  # fault_tol below 1 is a share of the frames: any repeated frame at all is then an error


def held_bytes(num_frames: int, width: int, height: int) -> int:
    """Bytes of native frames that decord may come to hold for a file."""
    return num_frames * width * height * 3


def decord_name_and_version() -> tuple[str, str]:
    """Distribution that provides `import decord`, and its version."""
    import decord

    return distribution_version("decord2", "decord", "eva-decord", version=str(decord.__version__))


def decord_frames(request: Request) -> NativeFrames:
    """Sampled frames of a file, decoded forward by decord.

    Raises Misbehaved on any exception, on another number of frames than demuxing found, on repeated frames, on two
    equal frames at the end of the file and on what FFmpeg or decord write to the standard error (see damage.py).
    """
    with StderrCapture() as stderr:
        reason = ""
        try:
            yield from _frames(request, stderr)
        except Misbehaved as verdict:
            reason = str(verdict)
        except Exception as error:  # decord raises its own error, RuntimeError, AssertionError, IndexError, ...
            reason = f"decord raised {type(error).__name__}: {_first_line(error)}"
        # Here the exception is gone, and with it its traceback, which kept the reader and so its thread alive: that
        # would have gone on writing messages after the standard error is given back.
        if reason:
            raise Misbehaved(reason)


def _frames(request: Request, stderr: StderrCapture) -> Iterator[NativeFrame]:
    import decord  # here, since only the process that decodes needs it

    decord.logging.set_level(decord.logging.INFO)  # why INFO: see damage.py
    decord.bridge.set_bridge("native")
    count = request.inspection.info.num_frames
    reader = decord.VideoReader(str(request.path.absolute()), num_threads=1, fault_tol=_NO_REPETITION)
    if len(reader) != count:
        raise Misbehaved(f"decord counts {len(reader)} frames, demuxing {count}")
    walk = _Walk(reader, request.inspection.info)
    sampled = set(request.index.tolist())
    wanted = sorted(sampled | {count - 2, count - 1} - {-1}) if request.to_end else sorted(sampled)
    tail = None
    for index in wanted:
        pixels = walk.to(index)
        _check_silence(stderr.take())
        if index >= count - 2:
            if tail is not None and np.array_equal(tail, pixels):
                raise Misbehaved("the last two frames are equal, as they are where decord fills up a damaged file")
            tail = pixels
        if index in sampled:
            yield NativeFrame(index, pixels, True)
    del reader, walk  # ends its thread, whose last words count as well
    _check_silence(stderr.take(to_end=True))


class _Walk:
    """Goes forward through an open file, never by a seek."""

    def __init__(self, reader: Any, info: VideoInfo) -> None:
        self.reader = reader
        self.keyframes: list[int] = sorted(reader.get_key_indices())
        self.position = 0
        upright = info.rotation % 180 == 0
        self.shape = (info.height, info.width, 3) if upright else (info.width, info.height, 3)

    def to(self, index: int) -> npt.NDArray[np.uint8]:
        """Frame `index`, (H, W, 3) uint8, which must not lie behind."""
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
        if pixels.shape != self.shape:  # rotated frames of some widths come with a fourth channel, and wrong
            raise Misbehaved(f"decord gave a frame of shape {pixels.shape} where {self.shape} was expected")
        return pixels

    def _next(self) -> Any:
        with contextlib.suppress(StopIteration):  # inside a generator it would end up as an unrelated RuntimeError
            frame = self.reader.next()
            self.position += 1
            return frame
        raise Misbehaved(f"decord gave no frame {self.position}")


def _check_silence(lines: list[str]) -> None:
    for line in lines:
        if calls_for_second_opinion(line):
            raise Misbehaved(f"FFmpeg wrote {line.split('] ', 1)[-1].strip()!r} under decord")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]
