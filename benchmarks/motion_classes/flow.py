"""The two-stream way (Simonyan and Zisserman, NIPS 2014): optical flow as a second data set of videos.

Flow is OpenCV's DIS between neighbouring frames of the file. TV-L1, which the paper compares with, is not measured: it
is part of OpenCV's contributed modules (`cv2.optflow`), which the extra `evaluate` does not install. `write_flow` takes
it, or any other flow, as a function.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.motion_classes.motions import FPS
from benchmarks.motion_classes.videos import Written, write_table
from extractor.video.encoding import encode_video
from training.evaluation.dis import DisFlow

MOST_PX = 20.0
"""Flow beyond this is clipped, as the field does."""

TIMES_NAME = "flow_seconds.csv"
TIME_COLUMNS = ("path", "pairs", "seconds")

_CRF = 4  # near lossless; what is lost, 0.2 px on average, goes with 8 bits and the conversion of colours

Flow = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class FlowTime:
    """Seconds that the flow of `pairs` pairs of frames of one video took, without decoding and encoding."""

    path: str
    pairs: int
    seconds: float


def write_flow(videos: Path, out: Path, table: Sequence[Written], flow: Flow | None = None) -> list[FlowTime]:
    """Write the flow of every video of `table` under the same path in `out`, then the table and OUT/flow_seconds.csv.

    flow: (T, H, W, 3) uint8 to (T - 1, 2, H, W) float32 px; DIS unless given. Files that exist are kept, with the
    times that an earlier run measured.
    """
    flow = flow or DisFlow().forward
    out.mkdir(parents=True, exist_ok=True)
    known = {taken.path: taken for taken in read_times(out)}
    with (out / TIMES_NAME).open("a", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        if not known:
            rows.writerow(TIME_COLUMNS)
        for video in table:
            if video.path in known and (out / video.path).exists():
                continue
            taken = _write_one(videos / video.path, out / video.path, flow)
            known[video.path] = FlowTime(video.path, *taken)
            rows.writerow((video.path, taken[0], f"{taken[1]:.6f}"))
            file.flush()
    write_table(out, list(table))
    return [known[video.path] for video in table]


def read_times(out: Path) -> list[FlowTime]:
    """Read OUT/flow_seconds.csv; the last row of a video counts. Empty where it does not exist."""
    if not (out / TIMES_NAME).exists():
        return []
    with (out / TIMES_NAME).open(newline="", encoding="utf-8") as file:
        times = [FlowTime(row["path"], int(row["pairs"]), float(row["seconds"])) for row in csv.DictReader(file)]
    return list({taken.path: taken for taken in times}.values())


def milliseconds_a_pair(times: Sequence[FlowTime]) -> float:
    """Median over videos: others that use the machine disturb some of them."""
    return float(np.median([1000 * taken.seconds / taken.pairs for taken in times]))


def encoded(flow: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(2, H, W) px to (H, W, 3) uint8: u and v from -20 to 20 px, 128 for none, and their length from 0 to 20 px."""
    u, v = flow
    length = np.hypot(u, v) * (255 / MOST_PX)
    planes = np.stack((128 + u * (127 / MOST_PX), 128 + v * (127 / MOST_PX), length), -1)
    coded: NDArray[np.uint8] = planes.round().clip(0, 255).astype(np.uint8)
    return coded


def decoded_flow(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The inverse of `encoded` up to rounding and clipping: (H, W, 3) uint8 to (2, H, W) px."""
    flow: NDArray[np.float32] = (frame[..., :2].astype(np.float32).transpose(2, 0, 1) - 128) * (MOST_PX / 127)
    return flow


def native_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """All frames of a file that this benchmark wrote, (H, W, 3) uint8."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _write_one(source: Path, path: Path, flow: Flow) -> tuple[int, float]:
    pixels = torch.from_numpy(np.stack(list(native_frames(source))))
    start = time.perf_counter()
    found = flow(pixels).numpy()
    seconds = time.perf_counter() - start
    path.parent.mkdir(parents=True, exist_ok=True)
    encode_video(path, (encoded(pair) for pair in found), fps=FPS, crf=_CRF, keyframe_every=1)
    return len(found), seconds
