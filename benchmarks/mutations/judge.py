"""What decoding gives for one file, held against PyAV's own full forward decoding: which faults there are.

Nothing is a fault of which neither PyAV nor the frames themselves give a sign: a changed bit of VP9 that both decoders
show as the same other pixels, a changed time base. Frames that are still those of the sound file are known by their
pixels (every frame has its number drawn in), so that where two clocks disagree it is known which is right.
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

__all__ = ["Decode", "Given", "Known", "Truth", "faults_of", "given_by", "known_frames", "truth_of"]

Uint8Array = npt.NDArray[np.uint8]
Decode = Callable[..., Iterator[DecodingEvent]]
Known = Mapping[bytes, tuple[str, int, float]]
"""Frames of the sound files by the digest of their pixels: file, number, time in seconds."""

SIZE = 128  # that of the files' own frames: what differs by a grey level is not averaged away
_SAME_SECONDS = 5e-7
_LEAVES_OUT = frozenset({"leading_pictures", "clock_restarts"})
_NO_STAMPS_ON_FRAMES = frozenset({"avi", "mpeg"})  # FFmpeg's frames of these have stamps that step backwards


@dataclass
class Given:
    """What a decode function gave: all frames of a file, or why not."""

    failure: str = ""
    message: str = ""
    exception: str = ""
    info: VideoInfo | None = None
    times: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    frames: list[Uint8Array] = field(default_factory=list)
    irregular: str = ""


@dataclass
class Truth:
    """What PyAV gives: resized frames in output order, their own stamps in seconds, and signs of damage."""

    frames: list[Uint8Array] = field(default_factory=list)
    times: list[float | None] = field(default_factory=list)
    corrupt: list[int] = field(default_factory=list)
    stamps: list[float] = field(default_factory=list)
    error: str = ""
    container: str = ""

    def digests(self) -> list[bytes]:
        """Those of its frames, by which they are known."""
        return [_digest(frame) for frame in self.frames]


def given_by(decode: Decode, path: str, beat: Callable[[], None], distrust: str = "") -> Given:
    """Decode every frame of a file. beat: called at every event."""
    config = ExtractionConfig(
        model="tsm_resnet18", weights="random", seed=0, sampling=Sampling.DENSE, rate_hz=None, size=SIZE
    )
    given = Given()
    chunks: list[FrameChunk] = []
    events: list[str] = []
    plan: ItemPlan | Failure | None = None
    try:
        for event in decode(FileJob(path, (Item("mutated"),)), config, distrust=distrust):
            beat()
            events.append(type(event).__name__)
            match event:
                case Header():
                    given.info, plan = event.info, event.plans[0]
                case FrameChunk():
                    chunks.append(event)
                case Restart():
                    chunks = []
    except VideoError as error:
        given.failure, given.message = error.failure.value, error.message
        return given
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        given.exception = f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
        return given
    if isinstance(plan, Failure):
        given.failure, given.message = plan.failure.value, plan.message
    elif plan is None or events[0] != Header.__name__ or events[-1] != Decoded.__name__:
        given.irregular = f"the events were {', '.join(dict.fromkeys(events)) or 'none'}"
    else:
        given.times = plan.time_seconds
        given.frames = [frame for chunk in chunks for frame in chunk.frames]
        given.irregular = _irregular(plan, chunks)
    return given


def _irregular(plan: ItemPlan, chunks: list[FrameChunk]) -> str:
    numbers = [int(number) for chunk in chunks for number in chunk.index]
    if numbers != plan.index.tolist():
        return f"{len(plan.index)} frames were planned, {len(numbers)} came, or in another order"
    if numbers != list(range(len(numbers))):
        return "a plan for every frame leaves some out"
    return "" if all(chunk.valid.all() for chunk in chunks) else "frames are marked invalid, which nobody asked for"


def truth_of(path: str) -> Truth:
    """Decode every frame of a file by nothing but PyAV, from the start, with one thread, going on behind errors."""
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
    except Exception as error:  # whatever it is, it is a sign that what was given cannot be sound
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
    """Frames of sound files by their pixels, with the times that their own packets have."""
    known = {}
    for name, path in sound.items():
        truth = truth_of(str(path))
        for number, (frame, seconds) in enumerate(zip(truth.frames, truth.stamps, strict=False)):
            known[_digest(frame)] = name, number, seconds
    return known


def faults_of(given: Given, truth: Truth, known: Known) -> list[tuple[str, str]]:
    """Kind and description of every fault of what was given as sound; for each kind the first."""
    if given.irregular:
        return [("events", given.irregular)]
    sources = [known.get(_digest(frame)) for frame in given.frames]
    truth = _without_what_refers_to_nothing(given, truth, known)
    faults = []
    wrong = [at for at, pair in enumerate(zip(given.frames, truth.frames, strict=False)) if not np.array_equal(*pair)]
    if wrong:
        elsewhere = {digest: number for number, digest in enumerate(truth.digests())}
        found = elsewhere.get(_digest(given.frames[wrong[0]]))
        what = "is no frame of PyAV's" if found is None else f"is PyAV's frame {found}"
        faults.append(("frames" if found is None else "order", f"frame {wrong[0]} {what}, {len(wrong)} differ"))
    if len(given.frames) != len(truth.frames):
        faults.append(("count", f"{len(given.frames)} frames, {len(truth.frames)} by PyAV"))
    if truth.corrupt:
        faults.append(("corrupt", f"PyAV marks {len(truth.corrupt)} frames corrupt, first {truth.corrupt[0]}"))
    if truth.error:
        faults.append(("error", f"PyAV raises {truth.error}"))
    if len(given.times) == len(given.frames):
        faults += _times(given, truth, sources)
    else:
        faults.append(("times", f"{len(given.times)} times for {len(given.frames)} frames"))
    return faults


def _without_what_refers_to_nothing(given: Given, truth: Truth, known: Known) -> Truth:
    """The truth of a file that is flagged for pictures that refer to what is not there, as at the joint of two files.

    Such pictures, which PyAV shows corrupt or as no frame of a sound file, may be left out, or be given as the frame of
    a sound file that they are where decoding begins anew. Where more than that differs, the truth is as it was.
    """
    if given.info is None or not _LEAVES_OUT.intersection(given.info.flags):
        return truth
    digests, corrupt = truth.digests(), set(truth.corrupt)
    spoilt = [number in corrupt or digest not in known for number, digest in enumerate(digests)]
    cleared = replace(truth, frames=[], times=[], corrupt=[])
    at = 0
    for frame in given.frames:
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


def _times(given: Given, truth: Truth, sources: list[tuple[str, int, float] | None]) -> Iterator[tuple[str, str]]:
    """Faults of times. sources: which frame of which sound file each given frame is, where it is one."""
    assert given.info is not None
    times = given.times.tolist()
    falls = [at for at in range(1, len(times)) if not times[at] >= times[at - 1]]
    if falls:
        yield "times", f"{times[falls[0]]:.3f} s follows on {times[falls[0] - 1]:.3f} s"
    by_stamps = truth.container in _NO_STAMPS_ON_FRAMES
    if given.info.times_made_up:
        return
    own = truth.stamps if by_stamps and len(truth.stamps) == len(truth.frames) else truth.times
    wrong = []
    for at, (seconds, stamp, source) in enumerate(zip(times, own, sources, strict=False)):
        right = [] if stamp is None else [stamp]
        if source:
            kept = any(abs(source[2] - other) <= _SAME_SECONDS for other in truth.stamps)
            # not in AVI, which is counted: behind a lost packet every frame is at the time of the one before it
            right = [source[2]] if kept and truth.container == "mpeg" else [*right, source[2]]
        if right and not any(abs(seconds - each) <= _SAME_SECONDS for each in right):
            wrong.append(f"frame {at} at {seconds:.3f} s for {right[0]:.3f} s")
    if wrong:
        yield "times", f"{wrong[0]}, {len(wrong)} differ"


def _digest(frame: Uint8Array) -> bytes:
    return hashlib.sha1(frame.tobytes(), usedforsecurity=False).digest()
