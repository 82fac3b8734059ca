"""Every frame that is returned for many random sets of frames, against full decoding."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from benchmarks.clips.readers import Frame
from extractor.video import FrameReader, list_videos
from extractor.video.decoders.backends import DecodingRequest
from extractor.video.decoders.pyav_backend import pyav_frames, pyav_image_frames
from schemas.errors import VideoError

__all__ = ["print_exactness"]


def print_exactness(folder: Path, sets: int, seed: int) -> int:
    """Print a line for each file; returns how many frames were wrong.

    A file whose full decoding fails may be read as far as it is sound: it is only counted how many sets were returned.
    """
    total = wrong = 0
    for job in list_videos(folder).jobs:
        reader, name = FrameReader(), Path(job.path).name
        try:
            inspection = reader.inspect(job)
            count = inspection.info.num_frames
            request = DecodingRequest(Path(job.path), inspection, np.arange(count), to_end=True)
            decoder = pyav_image_frames if inspection.images else pyav_frames
            truth = [_digest(frame.pixels) for frame in decoder(request)]
        except VideoError as error:
            print(f"{name}: {error.failure.value}, left out", flush=True)
            continue
        random = np.random.default_rng(seed)
        differing = checked = 0
        for _ in range(sets):
            index = np.sort(random.choice(count, min(count, int(random.integers(1, 17))), replace=False))
            found = reader.read(job, index, _digest)
            checked += len(index)
            differing += sum(truth[number] != digest for number, digest in zip(index.tolist(), found, strict=True))
        print(f"{name}: {differing} wrong of {checked} frames ({count} in the file)", flush=True)
        total, wrong = total + checked, wrong + differing
    print(f"{folder}: {wrong} wrong of {total} frames")
    return wrong


def _digest(frame: Frame) -> bytes:
    return hashlib.sha256(repr(frame.shape).encode() + np.ascontiguousarray(frame).tobytes()).digest()
