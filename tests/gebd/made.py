"""Annotations made for the tests, in the schemas of the public files, without the code under test."""

from __future__ import annotations

import pickle
import random
import struct
from typing import Any

import numpy as np

EVENT, RANGE, SHOT = (
    "EventChange (Change of Action)",
    "ShotChangeGradualRange: Change",
    "ShotChangeImmediateTimestamp: x",
)


def mark(start: float, end: float | None = None, label: str = EVENT) -> dict[str, Any]:
    return {"start_time": start, "end_time": start if end is None else end, "label": label}


def raw_entry(*raters: list[dict[str, Any]], duration: float = 10.0, **changes: Any) -> dict[str, Any]:
    return {
        "fps": 25.0,
        "num_frames": "250",
        "video_duration": duration,
        "path_video": "abseiling/3y1V7BNNBds.mp4",
        "f1_consis": [0.5 + n / 10 for n in range(len(raters))],
        "f1_consis_avg": 0.6,
        "substages_timestamps": list(raters),
    } | changes


def processed_entry(*raters: list[float], duration: float = 10.0, fps: float = 25.0, **changes: Any) -> dict[str, Any]:
    return {
        "num_frames": round(duration * fps),
        "path_video": "abseiling/3y1V7BNNBds.mp4",
        "fps": fps,
        "video_duration": duration,
        "path_frame": "abseiling/3y1V7BNNBds",
        "f1_consis": [0.5] * len(raters),
        "f1_consis_avg": 0.5,
        "substages_myframeidx": [[float(int(time * fps)) for time in rater] for rater in raters],
        "substages_timestamps": [list(rater) for rater in raters],
    } | changes


def instance_entry(*frames: int, num_frames: int = 200, fps: float = 25.0) -> dict[str, Any]:
    return {
        "raw": {"action": 11, "substages": [0, *frames, num_frames], "shot_timestamps": [43.36, 53.48]},
        "path": "yMK2zxDDs2A/s00004_0_100_7_931",
        "myfps": fps,
        "my_num_frames": num_frames,
        "my_duration": num_frames / fps,
        "my_substages_frameidx": list(frames),
    }


def raw_marks(rng: random.Random, duration: float) -> list[dict[str, Any]]:
    """Marks of a careless rater: near the ends, in one another's reach, overlapping, out of order, equal."""
    found = []
    for _ in range(rng.randrange(9)):
        start = rng.choice([round(rng.uniform(0, duration), 1), rng.uniform(0, duration)])
        label = rng.choice([EVENT, RANGE, SHOT, SHOT])
        found.append(mark(start, start + rng.choice([0.0, 0.1, 0.5, 1.5]) if label == RANGE else start, label))
    return found


def as_old_numpy(content: Any, protocol: int = 3) -> bytes:
    """A pickle as numpy 1 would have written it: the name of its inner module had no underscore."""
    data = pickle.dumps(content, protocol)
    assert b"numpy._core.multiarray\n" in data
    return data.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")


def old_scalar(value: float) -> bytes:
    """Instructions that make numpy.float64(value), written by hand."""
    dtype = (
        b"cnumpy\ndtype\nX\x02\x00\x00\x00f8K\x00K\x01\x87R"
        b"(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    return b"cnumpy.core.multiarray\nscalar\n" + dtype + b"C\x08" + struct.pack("<d", value) + b"\x86R"


def with_numpy(content: Any) -> Any:
    """The same with numpy numbers for floats, as the public files have them."""
    if isinstance(content, dict):
        return {key: with_numpy(value) for key, value in content.items()}
    if isinstance(content, list):
        return [with_numpy(value) for value in content]
    return np.float64(content) if isinstance(content, float) else content
