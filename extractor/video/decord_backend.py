"""Decoding with decord: forward only, one thread, and distrustful.

decord's random access is wrong on open GOPs; reading forward with `next` and `skip_frames` is not. It pads a file that
gives fewer frames than packets with repetitions of the last one, without a word: `fault_tol` makes it count them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from extractor.video.backends import Misbehaved, NativeFrame, NativeFrames, Request, distribution_version
from extractor.video.stderr import StderrCapture

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
    return distribution_version("decord2", "decord", "eva-decord")


def decord_frames(request: Request) -> NativeFrames:
    """Sampled frames of a file, decoded forward by decord.

    Raises Misbehaved on any exception, on another number of frames than demuxing found, on repeated frames, on two
    equal frames at the end of the file and on anything that FFmpeg or decord write to the standard error.
    """
    with StderrCapture() as stderr:
        try:
            yield from _frames(request, stderr)
        except (Misbehaved, GeneratorExit):
            raise
        except Exception as error:  # decord raises its own error, RuntimeError, AssertionError, IndexError, ...
            raise Misbehaved(f"decord raised {type(error).__name__}: {_first_line(error)}") from error


def _frames(request: Request, stderr: StderrCapture) -> Iterator[NativeFrame]:
    import decord  # here, since only the process that decodes needs it

    decord.logging.set_level(decord.logging.ERROR)
    decord.bridge.set_bridge("native")
    count = request.inspection.info.num_frames
    reader = decord.VideoReader(str(request.path.absolute()), num_threads=1, fault_tol=_NO_REPETITION)
    if len(reader) != count:
        raise Misbehaved(f"decord counts {len(reader)} frames, demuxing {count}")
    sampled = set(request.index.tolist())
    wanted = sorted(sampled | {count - 2, count - 1} - {-1}) if request.to_end else sorted(sampled)
    position, tail = 0, None
    for index in wanted:
        if index > position:
            reader.skip_frames(index - position)
        pixels = _next(reader, index)
        position = index + 1
        _check_silence(stderr.take())
        if index >= count - 2:
            if tail is not None and np.array_equal(tail, pixels):
                raise Misbehaved("the last two frames are equal, as they are where decord fills up a damaged file")
            tail = pixels
        if index in sampled:
            yield NativeFrame(index, pixels, True)
    del reader  # ends its thread, whose last words count as well
    _check_silence(stderr.take(to_end=True))


def _next(reader: object, index: int) -> npt.NDArray[np.uint8]:
    with contextlib.suppress(StopIteration):  # inside a generator it would end up as an unrelated RuntimeError
        pixels: npt.NDArray[np.uint8] = reader.next().asnumpy()  # type: ignore[attr-defined]
        return pixels
    raise Misbehaved(f"decord gave no frame {index}")


def _check_silence(lines: list[str]) -> None:
    if lines:
        raise Misbehaved(f"FFmpeg wrote {lines[0].split('] ', 1)[-1].strip()!r} under decord")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]
