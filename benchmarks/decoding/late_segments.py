"""CPU time of a late segment of a long film: decoding from a keyframe near it over decoding from the film's start.

    python -m benchmarks.decoding.late_segments [FILE ...] [--minute 50]

The films are made for it: an hour of 640 x 360 at 30 frames a second, H.264 with B-frames and HEVC with open groups of
pictures; a minute of the scene of `benchmarks.decoding.limit` is encoded, and its packets are repeated sixty times. A
segment of ten seconds is sampled 10 times a second, 25 s behind the minute, since each repetition begins with a closed
group. Both times are those of the whole of `decode`, inspection (every packet is demuxed) and comparison included; the
frames must be equal. Everything is measured once: it takes minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

import av

from benchmarks.decoding.limit import scene
from extractor.video.containers.preflight import inspect_video
from extractor.video.decoding import decode
from schemas.config import DecoderPolicy, ExtractionConfig, Sampling
from schemas.records import Decoded, FileJob, FrameChunk, Item, Restart

__all__ = ["main", "measure", "write_film"]

_SIZE, _FPS = (360, 640), 30
_OPTIONS = {
    "libx264": {"preset": "veryfast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=1:bframes=3:b-adapt=0"},
}


def write_film(
    path: Path, codec: str, *, seconds: int = 60, repetitions: int = 60, size: tuple[int, int] = _SIZE
) -> Path:
    """Encode some seconds of the scene and write them that many times, without encoding them again.

    size: (height, width).
    """
    part = path.with_name(f"part_{path.name}")
    with av.open(str(part), "w") as container:
        stream: Any = container.add_stream(codec, rate=_FPS, options=dict(_OPTIONS[codec]))
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for frame in scene(size, seconds * _FPS, 0):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    _repeat(part, path, repetitions)
    part.unlink()
    return path


def _repeat(part: Path, path: Path, repetitions: int) -> None:
    with av.open(str(path), "w") as target:
        copy: Any = None
        offset = 0
        for _ in range(repetitions):
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                copy = copy or target.add_stream_from_template(stream)
                end = 0
                for packet in source.demux(stream):
                    if packet.pts is not None and packet.dts is not None:
                        end = max(end, packet.pts + (packet.duration or 0))
                        packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, copy
                        target.mux(packet)
                offset += end


def measure(path: Path, start_seconds: float, policy: DecoderPolicy) -> tuple[float, str, str]:
    """CPU seconds of decoding ten seconds from there on, a digest of the frames, and what the decoder says of it."""
    config = ExtractionConfig(
        model="tsm_resnet18", weights="random", seed=0, sampling=Sampling.DENSE, rate_hz=10.0, decoder=policy
    )
    digest, remark = hashlib.sha256(), ""
    started = time.process_time()
    for event in decode(FileJob(str(path), (Item("late", start_seconds, start_seconds + 10.0),)), config):
        match event:
            case Restart():
                digest = hashlib.sha256()
            case FrameChunk():
                digest.update(event.index.tobytes() + event.frames.tobytes())
            case Decoded():
                remark = ", ".join((*event.flags, *([event.fallback_reason] if event.fallback_reason else [])))
    return time.process_time() - started, digest.hexdigest(), remark


def _report(path: Path, start_seconds: float) -> None:
    started = time.process_time()
    inspect_video(path)
    inspection = time.process_time() - started
    late, frames, remark = measure(path, start_seconds, DecoderPolicy.AUTO)
    from_start, truth, _ = measure(path, start_seconds, DecoderPolicy.PYAV)
    same = "same frames" if frames == truth else "OTHER FRAMES"
    print(
        f"{path.name}: from the start {from_start:.2f} s, now {late:.2f} s ({inspection:.2f} s of it inspection): "
        f"{from_start / late:.1f} times as fast, {same} ({remark})",
        flush=True,
    )


def main() -> None:
    """Print times and ratio for both films, or for the files that are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding.late_segments", description=__doc__)
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="measure these instead")
    parser.add_argument("--minute", type=float, default=50.0, help="where the segment begins, less 25 s (50)")
    options = parser.parse_args()
    start_seconds = options.minute * 60 + 25
    for path in options.files:
        _report(path, start_seconds)
    if options.files:
        return
    with tempfile.TemporaryDirectory() as folder:
        for codec in _OPTIONS:
            _report(write_film(Path(folder, f"{codec}.mp4"), codec), start_seconds)


if __name__ == "__main__":
    main()
