"""Frames a second of CPU that each way of reading returns, on the same clips, in turns."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.clips.readers import Frame, Read, by_decord, by_torchcodec, ours, torchcodec_is_missing
from benchmarks.decoding.__main__ import forward_frames
from training.clips.augmentation import cropped, draw_augmentation
from training.clips.config import ClipSettings
from training.clips.sampling import training_positions

__all__ = ["print_speed"]

_NUM_FRAMES = 8


def print_speed(paths: Sequence[str], title: str, epochs: int, seed: int) -> None:
    """Print frames a second of CPU in the first epoch and the later ones, and how many frames of others were wrong."""
    torch.set_num_threads(1)
    truth = {path: list(forward_frames(path)) for path in paths}
    others: dict[str, Read] = {"decord": by_decord}
    if not torchcodec_is_missing():
        others["torchcodec"] = by_torchcodec
    for name, settings in (("decoding", None), ("whole clip", ClipSettings())):
        spent = _spent({"ours": ours(), **others}, truth, settings, epochs, seed)
        for part, wanted in (("first epoch", [0]), ("later epochs", list(range(1, epochs)))):
            frames = _NUM_FRAMES * len(paths) * len(wanted)
            rates = {way: frames / sum(spent[way, epoch] for epoch in wanted) for way in ("ours", *others)}
            told = ", ".join(f"{way} {rate:.0f}" for way, rate in rates.items())
            ratios = ", ".join(f"{rates['ours'] / rates[way]:.2f} of {way}" for way in others)
            print(f"{title}, {name}, {part}: frames a second of CPU: {told}; ours is {ratios}", flush=True)
    for way, read in others.items():
        wrong, frames = _wrong(read, truth, epochs, seed)
        print(f"{title}: {way} returned {wrong} wrong frames of {frames}", flush=True)


def _clips(frames: dict[str, list[Frame]], epoch: int, seed: int) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """A random clip of each video."""
    return [
        (
            path,
            np.unique(
                training_positions(
                    len(found), _NUM_FRAMES, ClipSettings(), np.random.default_rng((seed, epoch, number))
                )
            ),
        )
        for number, (path, found) in enumerate(frames.items())
    ]


def _spent(
    ways: dict[str, Read], truth: dict[str, list[Frame]], settings: ClipSettings | None, epochs: int, seed: int
) -> dict[tuple[str, int], float]:
    """CPU seconds of each way in each epoch."""
    spent: dict[tuple[str, int], float] = defaultdict(float)
    for epoch in range(epochs):
        for number, (path, index) in enumerate(_clips(truth, epoch, seed)):
            convert = _conversion(truth[path][0], settings, np.random.default_rng((seed, epoch, number)))
            order = list(ways.items())
            for way, read in order[number % len(order) :] + order[: number % len(order)]:
                started = time.process_time()
                with suppress(Exception):  # another reader's own, counted as wrong frames
                    read(path, index, convert)
                spent[way, epoch] += time.process_time() - started
    return spent


def _conversion(
    frame: Frame, settings: ClipSettings | None, generator: np.random.Generator
) -> Callable[[Frame], Frame]:
    if settings is None:
        return lambda pixels: pixels
    height, width = frame.shape[:2]
    box = draw_augmentation(width, height, settings, generator, may_flip=True).box
    return lambda pixels: cropped(pixels, box, settings.size_px)


def _wrong(read: Read, truth: dict[str, list[Frame]], epochs: int, seed: int) -> tuple[int, int]:
    """How many frames differ from those of full decoding, and of how many."""
    wrong = total = 0
    for epoch in range(epochs):
        for path, index in _clips(truth, epoch, seed):
            total += len(index)
            try:
                found = read(path, index, lambda pixels: pixels)
            except Exception:  # another reader's own: none of its frames came
                wrong += len(index)
                continue
            wrong += sum(
                not np.array_equal(frame, truth[path][number])
                for number, frame in zip(index.tolist(), found, strict=True)
            )
    return wrong, total
