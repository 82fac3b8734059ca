"""The faults of what decoding returns for one file, against PyAV's own full forward decoding.

What neither PyAV nor the frames themselves reveal is no fault: a changed bit of VP9 that both decoders show as the same
other pixels, a changed time base. Frames that are still those of the sound file are recognised by their pixels (every
frame has its number drawn in), which tells the right clock if two disagree.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from extractor.video.containers.streams import ANY_TAGS
from extractor.video.transforms import Resizer
from schemas.config import ExtractionConfig, Resize, Sampling
from schemas.errors import VideoError
from schemas.records import (
    Decoded,
    DecodingEvent,
    Failure,
    FileJob,
    FrameChunk,
    Header,
    Item,
    ItemPlan,
    Restart,
    VideoInfo,
)

__all__ = ["Decode", "KnownFrames", "Result", "Truth", "faults_of", "known_frames", "result_of", "truth_of"]

Uint8Array = npt.NDArray[np.uint8]
Decode = Callable[..., Iterator[DecodingEvent]]
KnownFrames = Mapping[bytes, tuple[str, int, float]]
"""Frames of the sound files by the digest of their pixels: file, number, time in seconds."""

SIZE = 128  # that of the files' own frames: resizing does not average away a difference of one grey level
_SAME_SECONDS = 5e-7
_LEAVES_OUT = frozenset({"leading_pictures", "clock_restarts"})
_NO_STAMPS_ON_FRAMES = frozenset({"avi", "mpeg"})  # FFmpeg's frames of these have stamps that step backwards


@dataclass
class Result:
    """What a decode function returned: all frames of a file, or why there are none."""

    failure: str = ""
    message: str = ""
    exception: str = ""
    info: VideoInfo | None = None
    times: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    frames: list[Uint8Array] = field(default_factory=list)
    irregular: str = ""


@dataclass
class Truth:
    """What PyAV returns: resized frames in output order, their own stamps in seconds, and signs of damage."""

    frames: list[Uint8Array] = field(default_factory=list)
    times: list[float | None] = field(default_factory=list)
    corrupt: list[int] = field(default_factory=list)
    stamps: list[float] = field(default_factory=list)
    error: str = ""
    container: str = ""

    def digests(self) -> list[bytes]:
        """The digest of each frame's pixels."""
        return [_digest(frame) for frame in self.frames]


def result_of(decode: Decode, path: str, on_event: Callable[[], None], distrust: str = "") -> Result:
    """Decode every frame of a file. on_event: called at every event."""
    config = ExtractionConfig(
        model="tsm_resnet18", weights="random", seed=0, sampling=Sampling.DENSE, rate_hz=None, size=SIZE
    )
    result = Result()
    chunks: list[FrameChunk] = []
    events: list[str] = []
    plan: ItemPlan | Failure | None = None
    try:
        for event in decode(FileJob(path, (Item("mutated"),)), config, distrust=distrust):
            on_event()
            events.append(type(event).__name__)
            match event:
                case Header():
                    result.info, plan = event.info, event.plans[0]
                case FrameChunk():
                    chunks.append(event)
                case Restart():
                    chunks = []
    except VideoError as error:
        result.failure, result.message = error.failure.value, error.message
        return result
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        result.exception = f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
        return result
    if isinstance(plan, Failure):
        result.failure, result.message = plan.failure.value, plan.message
    elif plan is None or events[0] != Header.__name__ or events[-1] != Decoded.__name__:
        result.irregular = f"the events were {', '.join(dict.fromkeys(events)) or 'none'}"
    else:
        result.times = plan.time_seconds
        result.frames = [frame for chunk in chunks for frame in chunk.frames]
        result.irregular = _irregular(plan, chunks)
    return result


def _irregular(plan: ItemPlan, chunks: list[FrameChunk]) -> str:
    numbers = [int(number) for chunk in chunks for number in chunk.index]
    if numbers != plan.index.tolist():
        return f"expected the {len(plan.index)} planned frames in order; got {len(numbers)}, or another order"
    if numbers != list(range(len(numbers))):
        return "expected a plan for every frame; got one that leaves some out"
    return "" if all(chunk.valid.all() for chunk in chunks) else "expected valid frames; got some marked invalid"


def truth_of(path: str) -> Truth:
    """Decode every frame of a file with nothing but PyAV, from the start, in one thread, continuing after errors."""
    truth = Truth()
    resizer = Resizer(Resize.STRETCH, SIZE)
    try:
        for options in ({}, {"probesize": "100000000", "analyzeduration": "100000000"}):
            with av.open(path, container_options=options, **ANY_TAGS) as container:
                truth.container = container.format.name
                stream = container.streams.best("video")
                if isinstance(stream, av.VideoStream) and stream.codec_context and stream.codec_context.width:
                    stream.codec_context.thread_count = 1
                    _decode_all(container, stream, truth, resizer)
                    break
    except Exception as error:  # any exception is a sign that the file cannot be sound
        truth.error = f"{type(error).__name__}: {error}".replace(path, "the file")
    truth.stamps.sort()
    return truth


def _decode_all(container: av.container.InputContainer, stream: av.VideoStream, truth: Truth, resizer: Resizer) -> None:
    for packet in container.demux(stream):
        if packet.size and not packet.is_discard and packet.pts is not None:
            truth.stamps.append(float(packet.pts * packet.time_base))
        frames: list[av.VideoFrame] = []
        with suppress(av.EOFError):
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                truth.error = truth.error or f"{type(error).__name__} at the packet of {packet.pts}"
        for frame in frames:
            if frame.is_corrupt:
                truth.corrupt.append(len(truth.frames))
            pixels = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90) % 4)
            truth.frames.append(resizer(np.ascontiguousarray(pixels)))
            known = frame.pts is not None and bool(frame.time_base)
            truth.times.append(float(frame.pts * frame.time_base) if known else None)  # type: ignore[operator]


def known_frames(sound: Mapping[str, Path]) -> dict[bytes, tuple[str, int, float]]:
    """Frames of sound files by the digest of their pixels, with the times of their own packets."""
    known = {}
    for name, path in sound.items():
        truth = truth_of(str(path))
        for number, (frame, seconds) in enumerate(zip(truth.frames, truth.stamps, strict=False)):
            known[_digest(frame)] = name, number, seconds
    return known


def faults_of(result: Result, truth: Truth, known: KnownFrames) -> list[tuple[str, str]]:
    """Kind and description of each fault of a result that was returned as sound; of each kind the first."""
    if result.irregular:
        return [("events", result.irregular)]
    sources = [known.get(_digest(frame)) for frame in result.frames]
    truth = _without_what_refers_to_nothing(result, truth, known)
    faults = []
    wrong = [at for at, pair in enumerate(zip(result.frames, truth.frames, strict=False)) if not np.array_equal(*pair)]
    if wrong:
        elsewhere = {digest: number for number, digest in enumerate(truth.digests())}
        found = elsewhere.get(_digest(result.frames[wrong[0]]))
        what = "is no frame of PyAV's" if found is None else f"is PyAV's frame {found}"
        faults.append(("frames" if found is None else "order", f"frame {wrong[0]} {what}, {len(wrong)} differ"))
    if len(result.frames) != len(truth.frames):
        faults.append(("count", f"{len(result.frames)} frames, {len(truth.frames)} by PyAV"))
    if truth.corrupt:
        faults.append(("corrupt", f"PyAV marks {len(truth.corrupt)} frames corrupt, first {truth.corrupt[0]}"))
    if truth.error:
        faults.append(("error", f"PyAV raises {truth.error}"))
    if len(result.times) == len(result.frames):
        faults += _times(result, truth, sources)
    else:
        faults.append(("times", f"{len(result.times)} times for {len(result.frames)} frames"))
    return faults


def _without_what_refers_to_nothing(result: Result, truth: Truth, known: KnownFrames) -> Truth:
    """The truth of a file that is flagged for pictures that refer to missing ones, as at the joint of two files.

    PyAV shows such pictures as corrupt, or as no frame of a sound file. They may be left out, or be the frame of a
    sound file that they are if decoding restarts there. If more than that differs, the truth is returned unchanged.
    """
    if result.info is None or not _LEAVES_OUT.intersection(result.info.flags):
        return truth
    digests, corrupt = truth.digests(), set(truth.corrupt)
    spoilt = [number in corrupt or digest not in known for number, digest in enumerate(digests)]
    cleared = replace(truth, frames=[], times=[], corrupt=[])
    at = 0
    for frame in result.frames:
        digest, ahead = _digest(frame), at
        while ahead < len(digests) and spoilt[ahead] and digests[ahead] != digest:
            ahead += 1
        if ahead < len(digests) and digests[ahead] == digest:
            cleared.corrupt += [len(cleared.frames)] if ahead in corrupt and digest not in known else []
            cleared.times.append(truth.times[ahead])
            at = ahead + 1
        elif digest in known:
            cleared.times.append(None)
        else:
            return truth
        cleared.frames.append(frame)
    return cleared if all(spoilt[at:]) else truth


def _times(result: Result, truth: Truth, sources: list[tuple[str, int, float] | None]) -> Iterator[tuple[str, str]]:
    """Faults of times. sources: which frame of which sound file each returned frame is, None if it is none."""
    assert result.info is not None
    times = result.times.tolist()
    falls = [at for at in range(1, len(times)) if not times[at] >= times[at - 1]]
    if falls:
        yield "times", f"{times[falls[0]]:.3f} s follows on {times[falls[0] - 1]:.3f} s"
    by_stamps = truth.container in _NO_STAMPS_ON_FRAMES
    if result.info.times_made_up:
        return
    own = truth.stamps if by_stamps and len(truth.stamps) == len(truth.frames) else truth.times
    wrong = []
    for at, (seconds, stamp, source) in enumerate(zip(times, own, sources, strict=False)):
        right = [] if stamp is None else [stamp]
        if source:
            kept = any(abs(source[2] - other) <= _SAME_SECONDS for other in truth.stamps)
            # Not in AVI, where frames are counted: behind a lost packet each has the time of the one before it.
            right = [source[2]] if kept and truth.container == "mpeg" else [*right, source[2]]
        if right and not any(abs(seconds - each) <= _SAME_SECONDS for each in right):
            wrong.append(f"frame {at} at {seconds:.3f} s for {right[0]:.3f} s")
    if wrong:
        yield "times", f"{wrong[0]}, {len(wrong)} differ"


def _digest(frame: Uint8Array) -> bytes:
    return hashlib.sha1(frame.tobytes(), usedforsecurity=False).digest()
