"""`msnet weights train`: train a network on procedural video."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS
from jobs.cli.app import INTERRUPTED, resumable
from jobs.cli.display import bar_width, open_bar, paragraph, rows, say_above
from jobs.cli.parameters import Device
from jobs.cli.streams import say
from jobs.cli.weights.checkpoints import weights_app
from jobs.cluster.devices import DeviceChoice, choose_device
from jobs.cluster.machine import lacks_bfloat16
from jobs.cluster.signals import Interruptions
from training.config import RECIPES, TrainingPrecision, read_config
from training.train import LOGS, Progress, train as run_training

_LINE_EVERY_SECONDS = 20.0
_SLOW = (
    "this processor has no instructions for bfloat16, which the configuration asks for: --precision float32 is faster"
    " here (measured: 7 times)"
)
_IN_WORDS = {
    "error_cells": "displacement, mean error, cells",
    "visible_error_cells": "the same, seen in both frames",
    "zero_error_cells": "no motion, mean error, cells",
}


@weights_app.command()
@resumable
def train(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for state, logs and checkpoint.", show_default=False)
    ],
    config: Annotated[
        str, typer.Option("--config", "-c", help=f"A TOML file, or a bundled recipe: {', '.join(RECIPES)}.")
    ] = "default",
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", "-w", help=f"A checkpoint to start from, or `{BUNDLED_WEIGHTS}`. (default: from scratch)"
        ),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Overrides the configuration.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Overrides the configuration.")] = None,
    precision: Annotated[
        TrainingPrecision | None, typer.Option("--precision", help="Overrides the configuration.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes", min=1, max=64, help="Processes that share each step, on a CPU. Overrides the configuration."
        ),
    ] = None,
    device: Device = DeviceChoice.AUTO,
) -> int:
    """Train a network on procedural video. The same command continues a training that was stopped."""
    changes: dict[str, Any] = {"model": model, "seed": seed, "precision": precision, "processes": processes}
    wanted = read_config(config, **{name: value for name, value in changes.items() if value is not None})
    chosen = choose_device(device)
    if wanted.precision is TrainingPrecision.BFLOAT16 and chosen == "cpu" and lacks_bfloat16():
        say(paragraph(_SLOW), to=sys.stderr)
    with Interruptions() as interruptions, _Display() as display:
        interruptions.drain_on_first()
        path = run_training(
            wanted,
            out,
            device=chosen,
            weights=weights,
            report=display.show,
            should_stop=lambda: interruptions.happened,
        )
    say(f"{_what(display.last)}: {path}")
    logs = [str(out / name) for name in LOGS if (out / name).exists()]  # a short training may have no evaluation yet
    if logs:
        say(f"losses and held-out evaluations: {', '.join(logs)}")
    return INTERRUPTED if interruptions.happened else 0


def _what(last: Progress | None) -> str:
    """Describe the checkpoint by the last step of this run."""
    if last is None:
        return "trained to the end already; checkpoint"
    return "checkpoint" if last.step == last.steps else f"checkpoint after {last.step} of {last.steps} steps"


class _Display:
    """A progress bar on a terminal, occasional lines elsewhere; held-out evaluations as lines in both cases."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] = open_bar(desc="steps", unit="step")
        self._last_line = 0.0
        self.last: Progress | None = None

    def __enter__(self) -> _Display:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, progress: Progress) -> None:
        """Show the progress after a step."""
        self.last = progress
        losses = ", ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        if not self._bar.disable:
            self._bar.total, self._bar.ncols = progress.steps, bar_width()
            self._bar.set_postfix_str(f"{progress.stage}, loss {sum(progress.losses.values()):.3f}", refresh=False)
            self._bar.update(progress.step - self._bar.n)
        elif time.monotonic() - self._last_line > _LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            pace = f"{progress.frames_per_second:.0f} frames/s"
            head = f"step {progress.step} of {progress.steps} ({progress.stage}, {pace})"
            say(paragraph(f"{head}: {losses}"), to=sys.stderr)
        if progress.held_out is not None:
            found = progress.held_out.items()
            known = [(_IN_WORDS.get(name, f"{name} loss"), f"{value:.3f}") for name, value in found if value == value]
            say_above(paragraph(f"held out, after step {progress.step}"))
            say_above(rows(known))
