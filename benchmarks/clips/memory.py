"""Memory of the processes that decode, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing import active_children
from pathlib import Path

from training.clips.config import ClipSettings
from training.clips.loader import TrainingClips
from training.clips.records import Example
from training.clips.sources import TrainingSource

__all__ = ["print_memory"]


def print_memory(paths: Sequence[str], workers: int, epochs: int, seed: int) -> None:
    """Print the resident memory of a loader's processes behind each epoch."""
    examples = [Example(Path(path).name, path, label=0) for path in paths]
    per_step = min(8, len(examples))
    source = TrainingSource(examples, ClipSettings(), num_frames=8, seed=seed, clips_per_step=per_step, shares=1)
    with TrainingClips(source, workers) as clips:
        steps = max(1, len(examples) // per_step)
        clips.expect(0, [0])
        for epoch in range(epochs):
            for step in range(epoch * steps, (epoch + 1) * steps):
                clips.batch(step, 0)
            resident = ", ".join(f"{_resident_mib(child.pid):.0f}" for child in active_children())
            print(f"epoch {epoch + 1}: {workers} workers of {resident} MiB", flush=True)


def _resident_mib(pid: int | None) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
