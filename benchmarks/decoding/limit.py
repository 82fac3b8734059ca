"""CPU of decoding and resizing over that of decoding alone, which is the least it can cost.

    python -m benchmarks.decoding.limit [FILE ...]

Plain decoding is PyAV's, of the same file in one thread, and nothing is done with the frames. Decoding as an extraction
does it adds the inspection of the file, the conversion of the sampled frames (10 a second, of 30) to RGB, and resizing
to 224 x 224; `sparse` leaves out the frames that nobody needs. The videos are made for it: ten seconds of H.264 with
B-frames, of a textured scene under a moving camera, with an object that moves by itself and the noise of a sensor. Both
are measured in turns, and of each the least CPU time counts, since other programs on the machine only ever add to it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
import torch

from extractor.video.decoding import decode
from extractor.video.encoding import available_codec, encode_video
from schemas.config import DecoderPolicy, ExtractionConfig, Sampling
from schemas.records import FileJob, FrameChunk, Item

__all__ = ["LARGE", "SMALL", "DecodeCost", "decode_costs", "decode_costs_of", "main", "scene", "write_scene"]

_FPS, _SECONDS, _RATE_HZ = 30, 10, 10.0
SMALL, LARGE = (256, 340), (1080, 1920)
_REPETITIONS = {SMALL: 30, LARGE: 5}


class DecodeCost(NamedTuple):
    """CPU of decoding and resizing over that of plain decoding, and milliseconds a sampled frame."""

    ratio: float
    ms_a_frame: float


def decode_costs(path: Path, policies: Sequence[DecoderPolicy], repetitions: int) -> list[DecodeCost]:
    """The cost of a file by each policy."""
    frames = _decode(path, policies[0])
    ways: list[Callable[[], object]] = [lambda: _decode_plainly(path)]
    ways += [lambda policy=policy: _decode(path, policy) for policy in policies]  # type: ignore[misc]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plain, *others = _least_cpu_seconds(ways, repetitions)
    finally:
        torch.set_num_threads(threads)
    return [DecodeCost(seconds / plain, seconds / frames * 1000) for seconds in others]


def decode_costs_of(size: tuple[int, int], policies: Sequence[DecoderPolicy]) -> list[DecodeCost]:
    """The cost of the made video of a size, `SMALL` or `LARGE`."""
    with tempfile.TemporaryDirectory() as folder:
        return decode_costs(write_scene(Path(folder, "scene.mp4"), size), policies, _REPETITIONS[size])


def write_scene(path: Path, size: tuple[int, int], *, seconds: int = _SECONDS, seed: int = 0) -> Path:
    """Write the video; size: (height, width). Raises ValueError if this FFmpeg cannot encode H.264."""
    if available_codec() != "libx264":
        raise ValueError("expected an FFmpeg that encodes H.264 (libx264); got one without. Install PyAV's own wheel")
    encode_video(path, scene(size, seconds * _FPS, seed), fps=_FPS)
    return path


def main() -> None:
    """Print the ratios of both videos, or of the files that are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding.limit", description=__doc__)
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="measure these instead")
    options = parser.parse_args()
    for path in options.files:
        print(f"{path.name}: {_line(path, 10)}", flush=True)
    if options.files:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, size in (("decode_ratio_340x256", SMALL), ("decode_ratio_1080p", LARGE)):
            path = write_scene(Path(folder, f"{name}.mp4"), size)
            rate = path.stat().st_size * 8 / _SECONDS / 1e6
            print(f"{name}: {_line(path, _REPETITIONS[size])} ({rate:.1f} Mbit/s)", flush=True)


def _line(path: Path, repetitions: int) -> str:
    policies = [DecoderPolicy.AUTO, DecoderPolicy.PYAV, DecoderPolicy.SPARSE]
    costs = decode_costs(path, policies, repetitions)
    return ", ".join(f"{policy.value} {cost.ratio:.2f}" for policy, cost in zip(policies, costs, strict=True))


def _least_cpu_seconds(ways: Sequence[Callable[[], object]], repetitions: int) -> list[float]:
    least = [float("inf")] * len(ways)
    for _ in range(repetitions):
        for number, way in enumerate(ways):
            started = time.process_time()
            way()
            least[number] = min(least[number], time.process_time() - started)
    return least


def _decode_plainly(path: Path) -> None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass


def _decode(path: Path, policy: DecoderPolicy) -> int:
    """Decode a file; returns the number of frames."""
    config = ExtractionConfig(
        model="tsm_resnet18", weights="random", seed=0, sampling=Sampling.DENSE, rate_hz=_RATE_HZ, decoder=policy
    )
    events = decode(FileJob(str(path), (Item("scene"),)), config)
    return sum(len(event.index) for event in events if isinstance(event, FrameChunk))


def scene(size: tuple[int, int], count: int, seed: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Frames (H, W, 3) of a camera that pans over a texture, with an object that moves over it, and with noise."""
    height, width = size
    random = np.random.default_rng(seed)
    background = _texture(random, height + 2 * 64, width + 2 * 64)
    thing = _texture(random, height // 3, width // 4)
    noise = [random.normal(0, 2, (height, width, 1)).astype(np.int16) for _ in range(7)]
    for number in range(count):
        top, left = (64 + int(60 * wave) for wave in (np.sin(number / 40), np.cos(number / 31)))
        frame = background[top : top + height, left : left + width].copy()
        y, x = (int(room * (0.5 + 0.3 * np.sin(number / pace))) for room, pace in ((height / 2, 13), (width / 2, 17)))
        frame[y : y + thing.shape[0], x : x + thing.shape[1]] = thing
        yield np.clip(frame + noise[number % len(noise)], 0, 255).astype(np.uint8)


def _texture(random: np.random.Generator, height: int, width: int) -> npt.NDArray[np.int16]:
    """(H, W, 3) of random grey levels and colours, alike at all scales, as photographs are."""
    total = torch.zeros(1, 3, height, width)
    for side in (2, 4, 8, 16, 32, 64):
        coarse = torch.from_numpy(random.normal(size=(1, 3, height // side + 2, width // side + 2))).float()
        coarse = coarse.mean(1, keepdim=True) + 0.3 * coarse
        total += torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    grey = 128 + total / total.std() * 45
    return grey[0].permute(1, 2, 0).clamp(0, 255).numpy().astype(np.int16)


if __name__ == "__main__":
    main()
