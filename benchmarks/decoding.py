"""What decoding gives for the files of a folder, held against PyAV's full forward decoding, and how fast it is.

    python -m benchmarks.decoding FOLDER [--repeat 3] [--rate-hz 10] [--speed] [--damage 30]

One line a file: decoder, flags, whether the sampled frames and their times are those of a full forward decoding, or the
class by which the file fails. Exit code 1 where a file that is decoded differs. --speed: frames a CPU second of both
decoders, and the share of resizing. --damage: that many copies of every sound file with a few bytes changed; how many
fail by which class, how many are decoded to what PyAV gives, and how many of these differ from the sound file unseen.
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

__all__ = ["Outcome", "compare", "damage", "main", "speed"]


@dataclass
class Outcome:
    """What became of one file: how it was decoded, or why not."""

    decoder: str = ""
    flags: str = ""
    fallback: str = ""
    frames: str = "-"
    times: str = "-"
    failure: str = ""
    sampled: int = 0
    decode_seconds: float = 0.0
    transform_seconds: float = 0.0


def _configuration(rate_hz: float, policy: DecoderPolicy = DecoderPolicy.AUTO) -> ExtractionConfig:
    return ExtractionConfig(
        model="tsm_resnet18", weights="random", seed=0, sampling=Sampling.DENSE, rate_hz=rate_hz, decoder=policy
    )


def forward_frames(path: str) -> Iterator[npt.NDArray[np.uint8]]:
    """Every frame of a file in output order, rotated as it says, by nothing but PyAV."""
    with av.open(path, **ANY_TAGS) as container:
        stream = container.streams.best("video")
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.thread_count = 1  # with more, concealed damage looks different from run to run
        for frame in container.decode(stream):
            assert isinstance(frame, av.VideoFrame)
            yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), k=(frame.rotation // 90) % 4))


def stamped_times(path: str) -> npt.NDArray[np.float64] | None:
    """Sorted stamps of the packets that are not discarded, in seconds; None where one is missing."""
    with av.open(path, **ANY_TAGS) as container:
        stream = container.streams.best("video")
        assert isinstance(stream, av.VideoStream)
        packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        stamps = [packet.pts for packet in packets]
        if None in stamps or not stream.time_base:
            return None
        return np.array([float(stamp * stream.time_base) for stamp in sorted(s for s in stamps if s is not None)])


def compare(job: FileJob, config: ExtractionConfig) -> Outcome:
    """Decode a file and hold what comes against the full forward decoding."""
    outcome = Outcome()
    chunks: list[FrameChunk] = []
    plan: ItemPlan | Failure | None = None
    try:
        for event in decode(job, config):
            match event:
                case Header():
                    plan, outcome.flags = event.plans[0], ",".join(event.info.flags)
                case FrameChunk():
                    chunks.append(event)
                case Restart():
                    chunks, outcome.fallback = [], event.reason
                case Decoded():
                    outcome.decoder = event.decoder
                    outcome.decode_seconds, outcome.transform_seconds = event.decode_seconds, event.transform_seconds
    except VideoError as error:
        outcome.failure = f"{error.failure.value}: {error.message.removeprefix(job.path).strip()}"
        return outcome
    if isinstance(plan, Failure):
        outcome.failure = f"{plan.failure.value}: {plan.message}"
        return outcome
    assert plan is not None
    outcome.sampled = len(plan.index)
    given = {int(number): row for chunk in chunks for number, row in zip(chunk.index, chunk.frames, strict=True)}
    resizer = Resizer(config.resize, config.size)
    matches = [
        np.array_equal(resizer(frame), given[number])
        for number, frame in enumerate(forward_frames(job.path))
        if number in given
    ]
    outcome.frames = "yes" if all(matches) and len(matches) == len(plan.index) == len(given) else "NO"
    times = stamped_times(job.path)
    if times is None:
        outcome.times = "made up"
    else:
        outcome.times = "yes" if np.array_equal(times[plan.index], plan.time_seconds) else "NO"
    return outcome


def speed(job: FileJob, rate_hz: float) -> str:
    """Frames of the file a CPU second, by each decoder as it is allowed, and the share of resizing."""
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
    """Decode copies of a file with 1, 3 or 20 bytes changed behind its first fifth, and count what becomes of them."""
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
    outcome = compare(FileJob(str(copy), (Item("damaged"),)), config)
    if outcome.failure:
        return outcome.failure.split(":")[0]
    if outcome.frames != "yes":
        return "DIFFERS from PyAV"
    resizer = Resizer(config.resize, config.size)
    same = all(
        np.array_equal(resizer(frame), right) for frame, right in zip(forward_frames(str(copy)), sound, strict=False)
    )
    return "decoded, unharmed" if same else "decoded as PyAV does, damage unseen"


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 where any decoded file differs from the full forward decoding."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=1, help="how often each file is decoded: damage varies")
    parser.add_argument("--rate-hz", type=float, default=10.0)
    parser.add_argument("--speed", action="store_true", help="measure frames a CPU second as well")
    parser.add_argument("--damage", type=int, default=0, help="damaged copies of every sound file to try")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    listing = list_videos(options.folder)
    different = 0
    for job in listing.jobs:
        print(job.items[0].video_id)
        outcomes = [compare(job, _configuration(options.rate_hz)) for _ in range(options.repeat)]
        different += sum("NO" in (outcome.frames, outcome.times) for outcome in outcomes)
        for line, count in Counter(map(_line, outcomes)).items():
            print(f"    {f'{count} x ' if options.repeat > 1 else ''}{line}")
        if options.speed:
            print(f"    {speed(job, options.rate_hz)}")
        if options.damage and not outcomes[0].failure:
            fates = damage(job, _configuration(options.rate_hz), options.damage)
            different += fates["DIFFERS from PyAV"]
            print("    damaged copies: " + ", ".join(f"{count} {fate}" for fate, count in fates.most_common()))
    print(f"{len(listing.jobs)} files, {different} decodings differ from PyAV's full forward decoding")
    return 1 if different else 0


def _line(outcome: Outcome) -> str:
    flags = f" flags {outcome.flags}" if outcome.flags else ""
    fallback = f" fallback ({outcome.fallback})" if outcome.fallback else ""
    if outcome.failure:
        return f"fails {outcome.failure}{flags}{fallback}"
    verdict = f"identical {outcome.frames}, times {outcome.times}"
    return f"{outcome.decoder}, {outcome.sampled} frames: {verdict}{flags}{fallback}"


if __name__ == "__main__":
    sys.exit(main())
