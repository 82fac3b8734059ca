"""A data set of encoded files, a folder a class, rendered with the looks of the procedural world (docs/world.md).

Appearance is random: textures, outlines, sizes, places, number of things, light and noise; half of the videos move as a
whole, in the others things move before a background at rest. Three leaks are closed. Things live on a torus larger than
the picture, so places are uniform at every time whatever the direction. There is no motion blur. Every picture is coded
as a keyframe: a codec that predicts blurs what moves fast.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.motion_classes.motions import (
    CELL_PX,
    CLASSES,
    FPS,
    FRAMES,
    HEIGHT_PX,
    WIDTH_PX,
    Trajectory,
    draw_trajectory,
)
from extractor.video.encoding import encode_video
from training.world.casting import Casting, rotated
from training.world.config import WorldConfig
from training.world.draw import Draw, stream_seed
from training.world.layers import Look, Pose
from training.world.looks.atlas import Atlas
from training.world.looks.banks import Banks
from training.world.motion import linear_map
from training.world.rendering.artefacts import Nuisances
from training.world.rendering.render import render

TABLE_NAME = "videos.csv"
SPLIT_SEEDS = {"train": 6_100_000, "test": 6_200_000}
"""Seeds of the worlds: apart from each other, and from those of training, evaluation and demonstrations."""

COLUMNS = ("path", "label", "split", "speed")

_TORUS_PX = 640.0  # even at the smallest zoom, what leaves it on one side and returns on the other is out of sight
_ROWS = (7, 10)  # things stand in the cells of a square grid on the torus, 64 to 91 px apart
_PRESENT = 0.8
_RADIUS = (0.13, 0.36)  # of the shorter side
_PACE = (0.85, 1.15)
_NUISANCES = 0.5
_FRAMES_AT_A_TIME = 5  # a thing that crosses the picture is painted only where it is for some frames
_SIZE = (HEIGHT_PX, WIDTH_PX)

WORLD = WorldConfig(
    height=HEIGHT_PX,
    width=WIDTH_PX,
    num_frames=FRAMES,
    rate_hz=FPS,
    sprites=(_ROWS[1] ** 2, _ROWS[1] ** 2),
    deforming=0.0,
    nuisances=_NUISANCES,
    bank_lifetime_steps=100,
)


@dataclass(frozen=True, slots=True)
class Written:
    """A video of the data set. path: below the folder, with slashes. speed: cells of 8 px, at 112 px, a sampled frame.

    What rotates or zooms is measured at the edge of the visible square, or of a thing of mean size.
    """

    path: str
    label: str
    split: str
    speed: float


def write_videos(out: Path, *, train: int, test: int, seed: int = 0) -> list[Written]:
    """Write `train` and `test` videos a class, OUT/SPLIT/CLASS/NNN.mp4, and then OUT/videos.csv.

    The same arguments give the same frames; a video does not depend on how many there are. Files that exist are kept.
    """
    written: list[Written] = []
    for split, count in (("train", train), ("test", test)):
        banks = Banks(WORLD, SPLIT_SEEDS[split] + seed, torch.device("cpu"))
        for index in range(count):
            for number, label in enumerate(CLASSES):
                path = f"{split}/{label}/{index:03d}.mp4"
                step = index * len(CLASSES) + number
                filmed = Film(label, SPLIT_SEEDS[split] + seed, step)
                written.append(Written(path, label, split, filmed.speed))
                if not (out / path).exists():
                    (out / path).parent.mkdir(parents=True, exist_ok=True)
                    encode_video(out / path, filmed.frames(*banks.at(step)), fps=FPS, keyframe_every=1)
    write_table(out, written)
    return written


def write_table(out: Path, videos: list[Written]) -> None:
    """Write OUT/videos.csv."""
    with (out / TABLE_NAME).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows((video.path, video.label, video.split, f"{video.speed:.4f}") for video in videos)


def read_table(out: Path) -> list[Written]:
    """Read what `write_table` wrote."""
    with (out / TABLE_NAME).open(newline="", encoding="utf-8") as file:
        return [Written(row["path"], row["label"], row["split"], float(row["speed"])) for row in csv.DictReader(file)]


class Film:
    """One video of a class, drawn from the seed of its world and its number; nothing is rendered before `frames`."""

    def __init__(self, label: str, seed: int, step: int) -> None:
        draw = Draw(stream_seed(seed, 1, step))
        self._noise_seed = stream_seed(seed, 2, step)
        # Equal draws for every class: only the trajectory, which is drawn last, knows the class.
        self._casting = Casting(WORLD, 1, draw)
        self._look, self._start = _appearance(self._casting, draw)
        self._whole = bool(draw.chance((1,), 0.5))
        pace = draw.uniform((self._casting.slots,), *_PACE)
        self._pace = torch.ones_like(pace) if self._whole else pace
        self._trajectory = draw_trajectory(label, draw)
        reach_px = 3.5 * 2 * CELL_PX if self._whole else math.sqrt(_RADIUS[0] * _RADIUS[1]) * HEIGHT_PX
        self.speed = self._trajectory.speed_cells(reach_px)

    def frames(self, textures: Atlas, shapes: Atlas) -> Iterator[NDArray[np.uint8]]:
        """The frames, (H, W, 3) uint8."""
        pose = self._poses(self._trajectory)
        linear = linear_map(pose.angle, pose.log_zoom, pose.shear)
        look = self._look.map(lambda value: value[:, None].expand(-1, FRAMES, *value.shape[1:]))
        nuisances = Nuisances(1, FRAMES, _NUISANCES, Draw(self._noise_seed))
        for start in range(0, FRAMES, _FRAMES_AT_A_TIME):
            span = slice(start, min(start + _FRAMES_AT_A_TIME, FRAMES))
            count = span.stop - span.start
            part = render(look.during(span), pose.during(span), linear[:, span], count, _SIZE, textures, shapes)
            still = torch.zeros(1, count, 2, *_SIZE)  # no displacement, no motion blur
            pixels = nuisances.apply(part.frames, still, span)[0].mul(255).round().byte()
            yield from pixels.permute(0, 2, 3, 1).contiguous().numpy()

    def _poses(self, way: Trajectory) -> Pose:
        """Poses of all layers at every frame, (1, T, K, ...)."""
        start, middle, pace = self._start, self._casting.middle, self._pace
        shape = (FRAMES, self._casting.slots)
        moves = torch.ones(shape[1]) if self._whole else (torch.arange(shape[1]) > 0).float()
        offset = way.offset_px[:, None] * (pace * moves)[:, None]  # (T, K, 2)
        angle = way.angle[:, None] * pace * moves
        log_zoom = way.log_zoom[:, None].expand(shape) * moves
        if self._whole:  # everything turns and grows around the middle of the picture
            zoom = log_zoom.exp()[..., None]
            centre = middle + zoom * rotated(_on_torus(start.centre[0] - middle + offset / zoom), angle)
        else:
            centre = middle + _on_torus(start.centre[0] - middle + offset)
        centre[:, 0] = middle + offset[:, 0]  # the background has no end
        return Pose(
            centre=centre[None],
            angle=(start.angle + angle)[None],
            log_zoom=(start.log_zoom + log_zoom)[None],
            shear=start.shear.expand(shape)[None],
            phase=start.phase.expand(*shape, 2)[None],
        )


def _appearance(casting: Casting, draw: Draw) -> tuple[Look, Pose]:
    """Looks and poses (1, K, ...), places uniform on the torus."""
    look, pose = casting.look(torch.zeros(1, dtype=torch.int64)), casting.pose()
    slots = casting.slots
    rows = int(draw.integers((1,), *_ROWS))
    # Each thing in a cell of its own, the grid anywhere: uniform places, but never all of them out of sight.
    cell = torch.arange(slots) - 1
    corner = torch.stack((cell % rows, cell // rows), -1) + draw.uniform((slots, 2))
    place = _on_torus(corner * (_TORUS_PX / rows) + draw.uniform((1, 2), 0, _TORUS_PX))
    alive = draw.chance((slots,), _PRESENT) & (cell < rows**2)
    alive[0] = True
    radius = draw.log_uniform((slots,), *_RADIUS) * HEIGHT_PX
    radius[0] = HEIGHT_PX / 2
    pose.centre = (casting.middle + place)[None]
    look = replace(
        look,
        alive=alive[None],
        instance=torch.zeros_like(look.instance),
        radius=radius[None],
        amplitude=torch.zeros_like(look.amplitude),
        attached=torch.zeros_like(look.attached),
    )
    return look, pose


def _on_torus(place: Tensor) -> Tensor:
    """Places relative to the middle, in [-_TORUS_PX / 2, _TORUS_PX / 2)."""
    return (place + _TORUS_PX / 2).remainder(_TORUS_PX) - _TORUS_PX / 2
