"""What a kill costs a training: `python -m benchmarks.kills.training [--rounds 10] [--workers 2]`.

Each round trains classes of made-up videos with two workers, kills a worker or the command with SIGKILL after a random
step, runs the command again where that was the command, and compares the curve with that of a training that was left
alone.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np

from extractor.video.encoding import encode_video

STEPS = 12
_MARK = "MSNET_KILLED_TRAINING"
_LONGEST_SECONDS = 300.0
_TITLE = b"RayTrainWorker"
_CONFIG = f"""
num_segments = 4
epochs = {STEPS / 2}
clips_per_step = 4
clips_per_share = 2
learning_rate = 0.005
evaluate_every_epochs = 5
[clips]
size_px = 64
"""


def main() -> None:
    """Train once undisturbed and then under kills; print each round, and end with 1 if a curve differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills.training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="kill") as place:
        folder = Path(place)
        write_videos(folder)
        assert Training(folder, "alone", options.workers).wait() == 0
        worst = 0.0
        for number in range(options.rounds):
            kind, step = ("worker", "command")[number % 2], draw.randint(1, STEPS - 2)
            difference = killed(folder, f"round-{number}", options.workers, kind, step, draw)
            worst = max(worst, difference)
            print(f"{kind} killed after step {step}: losses differ by at most {difference:.1e}", flush=True)
    print(f"largest relative difference {worst:.1e} in {options.rounds} rounds")
    sys.exit(0 if worst < 1e-4 else 1)


def write_videos(folder: Path) -> None:
    """Two classes of four small videos, and a configuration that trains on them for STEPS steps."""
    generator = np.random.default_rng(0)
    for name in ("one", "two"):
        for split, count in (("train", 4), ("val", 1)):
            (folder / "videos" / split / name).mkdir(parents=True)
            for number in range(count):
                still = generator.integers(0, 256, (1, 12, 12, 3))
                moving = np.concatenate([np.roll(still, shift, 2) for shift in range(16)])
                frames = np.kron(moving, np.ones((1, 6, 6, 1), np.int64)).astype(np.uint8)
                encode_video(folder / "videos" / split / name / f"{number}.mp4", iter(frames), fps=16)
    (folder / "config.toml").write_text(_CONFIG)


def killed(folder: Path, name: str, workers: int, kind: str, step: int, draw: random.Random) -> float:
    """Kill a worker or the command after a step; the largest relative difference of a loss from the curve "alone"."""
    training = Training(folder, name, workers)
    training.wait_for_step(step)
    if kind == "worker":
        with suppress(ProcessLookupError):  # the training may be just about to end
            os.kill(draw.choice(training.worker_ids()), signal.SIGKILL)
        assert training.wait() == 0, training.log()
    else:
        training.process.kill()
        training.process.wait()
        again = Training(folder, name, workers)
        assert again.wait() == 0, again.log()
    one, other = losses(folder / "alone"), losses(folder / name)
    assert [row[0] for row in one] == [row[0] for row in other] == list(range(1, STEPS + 1))
    return max(abs(a - b) / max(abs(a), 1e-9) for (_, a), (_, b) in zip(one, other, strict=True))


def losses(run: Path) -> list[tuple[int, float]]:
    """Steps and losses of a training."""
    with (run / "losses.csv").open(newline="") as file:
        return [(int(row["step"]), float(row["cross_entropy"])) for row in csv.DictReader(file)]


class Training:
    """The command in a process of its own; its workers are known by a mark in their environment."""

    def __init__(self, folder: Path, name: str, workers: int) -> None:
        self.out, self._log = folder / name, folder / f"{name}.log"
        self._mark = uuid.uuid4().hex
        command = [sys.executable, "-m", "msnet_features", "weights", "train", "--task", "classify"]
        command += ["--videos", str(folder / "videos"), "--config", str(folder / "config.toml"), "--save-every", "1"]
        command += ["--workers", str(workers), "--device", "cpu", "--loader-workers", "0", "--out", str(self.out)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, _MARK: self._mark}, stdout=log, stderr=subprocess.STDOUT
            )

    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text()

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(_LONGEST_SECONDS)

    def wait_for_step(self, step: int) -> None:
        """Wait until a step is in the log of losses, or the training has ended."""
        deadline = time.monotonic() + _LONGEST_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError, ValueError, KeyError):
                if losses(self.out)[-1][0] >= step:
                    return
            time.sleep(0.02)

    def worker_ids(self) -> list[int]:
        """Processes of Ray Train's workers."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if (
                    entry.name.isdigit()
                    and _TITLE in (entry / "cmdline").read_bytes()
                    and self._mark.encode() in (entry / "environ").read_bytes()
                ):
                    found.append(int(entry.name))
        return found


if __name__ == "__main__":
    main()
