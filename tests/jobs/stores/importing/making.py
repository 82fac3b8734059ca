"""Folders as video_features writes them: float64 files, one a stream, with rates and times in files of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def save(folder: Path, stem: str, **values: np.ndarray) -> None:
    """STEM_KEY.npy of each value, as `np.save` does there."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in values.items():
        np.save(folder / f"{stem}_{key}.npy", value)


def features(rows: int, width: int, seed: int) -> np.ndarray:
    """What a float32 network returns, through lists of Python floats: float64."""
    found = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    return np.array(found.tolist())


def save_i3d(
    folder: Path,
    stem: str,
    rows: int,
    *,
    fps: float = 25.0,
    stack: int = 64,
    step: int = 64,
    width: int = 8,
    seed: int = 0,
) -> None:
    """Both streams; a stack's time is that of the frame behind it, which closes the last pair of optical flow."""
    stamps = np.array([(k * step + stack) / fps * 1000 for k in range(rows)])
    rgb, flow = features(rows, width, seed), features(rows, width, seed + 1)
    save(folder, stem, rgb=rgb, flow=flow, fps=np.array(fps), timestamps_ms=stamps)


def save_frames(
    folder: Path, stem: str, rows: int, *, key: str = "clip", fps: float = 10.0, width: int = 8, seed: int = 0
) -> None:
    """A row a frame, at its number over the rate."""
    stamps = np.array([k / fps * 1000 for k in range(rows)])
    save(folder, stem, **{key: features(rows, width, seed)}, fps=np.array(fps), timestamps_ms=stamps)
