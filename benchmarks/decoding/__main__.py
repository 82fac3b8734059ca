"""What decoding returns for the files of a folder, against PyAV's full forward decoding, and how fast it is.

    python -m benchmarks.decoding FOLDER [--repeat 3] [--rate-hz 10] [--decoder auto] [--speed] [--damage 30]

One line per file: decoder, flags, whether the sampled frames and their times are those of a full forward decoding, or
the class by which the file fails. The exit code is 1 if a decoded file differs. --speed: frames per CPU second of both
decoders, and the share of resizing. --damage: decodes that many copies of each sound file with a few bytes changed, and
counts how many fail by which class, how many are decoded as PyAV decodes them, and how many of these differ from the
sound file without a sign.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import torch

from extractor.video.containers.streams import ANY_TAGS
from extractor.video.decoding import decode
from extractor.video.listing import list_videos
from extractor.video.transforms import Resizer
from schemas.config import DecoderPolicy, ExtractionConfig, Sampling
from schemas.errors import VideoError
from schemas.records import Decoded, Failure, FileJob, FrameChunk, Header, Item, ItemPlan, Restart

__all__ = ["Comparison", "compare", "damage", "main", "speed"]


@dataclass
class Comparison:
    """One file compared: how it was decoded and whether that is right, or why it failed."""

    decoder: str = ""
    flags: str = ""
    fallback: str = ""
    frames: str = "-"
    times: str = "-"
    failure: str = ""
    sampled: int = 0


def _configuration(rate_hz: float, policy: DecoderPolicy = DecoderPolicy.AUTO) -> ExtractionConfig:
    return ExtractionConfig(
        model="tsm_resnet18", weights="random", seed=0, sampling=Sampling.DENSE, rate_hz=rate_hz, decoder=policy
    )


def forward_frames(path: str) -> Iterator[npt.NDArray[np.uint8]]:
    """Every frame of a file in output order, rotated as the file says, with nothing but PyAV."""
    with av.open(path, **ANY_TAGS) as container:
        stream = container.streams.best("video")
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.thread_count = 1  # with more, concealed damage looks different from run to run
        for frame in container.decode(stream):
            assert isinstance(frame, av.VideoFrame)
            yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), k=(frame.rotation // 90) % 4))


def stamped_times(path: str) -> npt.NDArray[np.float64] | None:
    """Sorted stamps of the packets that are not discarded, in seconds; None if one is missing."""
    with av.open(path, **ANY_TAGS) as container:
        stream = container.streams.best("video")
        assert isinstance(stream, av.VideoStream)
        packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        stamps = [packet.pts for packet in packets]
        if None in stamps or not stream.time_base:
            return None
        return np.array([float(stamp * stream.time_base) for stamp in sorted(s for s in stamps if s is not None)])


def compare(job: FileJob, config: ExtractionConfig) -> Comparison:
    """Decode a file and compare the result with the full forward decoding."""
    found = Comparison()
    chunks: list[FrameChunk] = []
    plan: ItemPlan | Failure | None = None
    try:
        for event in decode(job, config):
            match event:
                case Header():
                    plan, found.flags = event.plans[0], ",".join(event.info.flags)
                case FrameChunk():
                    chunks.append(event)
                case Restart():
                    chunks, found.fallback = [], event.reason
                case Decoded():
                    found.decoder = event.decoder
    except VideoError as error:
        found.failure = f"{error.failure.value}: {error.message.removeprefix(job.path).lstrip(': ')}"
        return found
    if isinstance(plan, Failure):
        found.failure = f"{plan.failure.value}: {plan.message}"
        return found
    assert plan is not None
    found.sampled = len(plan.index)
    decoded = {int(number): row for chunk in chunks for number, row in zip(chunk.index, chunk.frames, strict=True)}
    resizer = Resizer(config.resize, config.size)
    matches = [
        np.array_equal(resizer(frame), decoded[number])
        for number, frame in enumerate(forward_frames(job.path))
        if number in decoded
    ]
    found.frames = "yes" if all(matches) and len(matches) == len(plan.index) == len(decoded) else "NO"
    times = stamped_times(job.path)
    if times is None:
        found.times = "made up"
    else:
        found.times = "yes" if np.array_equal(times[plan.index], plan.time_seconds) else "NO"
    return found


def speed(job: FileJob, rate_hz: float) -> str:
    """Frames of the file per CPU second, for each decoder alone, and the share of resizing."""
    parts = []
    for policy in (DecoderPolicy.DECORD, DecoderPolicy.PYAV):
        started, frames, seconds, resizing = time.process_time(), 0, 0.0, 0.0
        try:
            for event in decode(job, _configuration(rate_hz, policy)):
                if isinstance(event, Header):
                    frames = event.info.num_frames
                elif isinstance(event, Decoded):
                    seconds, resizing = event.decode_seconds, event.transform_seconds
        except VideoError:
            parts.append(f"{policy.value} -")
            continue
        used = time.process_time() - started
        share = resizing / (seconds + resizing) if seconds + resizing else 0.0
        parts.append(f"{policy.value} {frames / used:.0f}/s (resize {share:.0%})")
    return ", ".join(parts)


def damage(job: FileJob, config: ExtractionConfig, copies: int) -> Counter[str]:
    """Decode copies of a file with 1, 3 or 20 bytes changed behind its first fifth, and count their fates."""
    content = Path(job.path).read_bytes()
    resizer = Resizer(config.resize, config.size)
    sound = [resizer(frame) for frame in forward_frames(job.path)]
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, Path(job.path).name)
        for seed in range(copies):
            random = np.random.default_rng(seed)
            damaged = bytearray(content)
            for position in random.integers(len(content) // 5, len(content) * 4 // 5, int(random.choice([1, 3, 20]))):
                damaged[position] ^= int(random.integers(1, 256))
            copy.write_bytes(bytes(damaged))
            counts[_fate(copy, config, sound)] += 1
    return counts


def _fate(copy: Path, config: ExtractionConfig, sound: list[npt.NDArray[np.uint8]]) -> str:
    found = compare(FileJob(str(copy), (Item("damaged"),)), config)
    if found.failure:
        return found.failure.split(":")[0]
    if found.frames != "yes":
        return "DIFFERS from PyAV"
    resizer = Resizer(config.resize, config.size)
    same = all(
        np.array_equal(resizer(frame), right) for frame, right in zip(forward_frames(str(copy)), sound, strict=False)
    )
    return "decoded, unharmed" if same else "decoded as PyAV does, damage unseen"


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns 1 if any decoded file differs from the full forward decoding."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=1, help="how often each file is decoded: damage varies")
    parser.add_argument("--rate-hz", type=float, default=10.0)
    parser.add_argument("--decoder", type=DecoderPolicy, default=DecoderPolicy.AUTO, choices=list(DecoderPolicy))
    parser.add_argument("--speed", action="store_true", help="measure frames per CPU second as well")
    parser.add_argument("--damage", type=int, default=0, help="damaged copies of each sound file to decode")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    listing = list_videos(options.folder)
    config = _configuration(options.rate_hz, options.decoder)
    different = 0
    for job in listing.jobs:
        print(job.items[0].video_id)
        comparisons = [compare(job, config) for _ in range(options.repeat)]
        different += sum("NO" in (found.frames, found.times) for found in comparisons)
        for line, count in Counter(map(_line, comparisons)).items():
            print(f"    {f'{count} x ' if options.repeat > 1 else ''}{line}")
        if options.speed:
            print(f"    {speed(job, options.rate_hz)}")
        if options.damage and not comparisons[0].failure:
            fates = damage(job, config, options.damage)
            different += fates["DIFFERS from PyAV"]
            print("    damaged copies: " + ", ".join(f"{count} {fate}" for fate, count in fates.most_common()))
    print(f"{len(listing.jobs)} files, {different} decodings differ from PyAV's full forward decoding")
    return 1 if different else 0


def _line(found: Comparison) -> str:
    flags = f" flags {found.flags}" if found.flags else ""
    fallback = f" fallback ({found.fallback})" if found.fallback else ""
    if found.failure:
        return f"fails {found.failure}{flags}{fallback}"
    verdict = f"identical {found.frames}, times {found.times}"
    return f"{found.decoder}, {found.sampled} frames: {verdict}{flags}{fallback}"


if __name__ == "__main__":
    sys.exit(main())
