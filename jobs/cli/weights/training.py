"""`msnet weights train`: train a network on procedural video, or on videos of one's own, with labels or without."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS
from jobs.cli.app import INTERRUPTED, resumable
from jobs.cli.display import paragraph
from jobs.cli.parameters import takes
from jobs.cli.streams import say
from jobs.cli.weights.checkpoints import weights_app
from jobs.cli.weights.lists import VideoLists, video_lists
from jobs.cli.weights.progress import TrainingDisplay
from jobs.cli.weights.work import SaveEvery, training_work
from jobs.cluster.devices import DeviceChoice, choose_device
from jobs.cluster.signals import Interruptions
from schemas.errors import ConfigurationError
from schemas.wording import counted
from training.config import TrainingConfig, TrainingPrecision
from training.configurations import RECIPES, read_config

if TYPE_CHECKING:
    from training.train import Progress

_SLOW = (
    "this processor has no instructions for bfloat16, which the configuration asks for: --precision float32 is faster"
    " here (measured: 7 times)"
)
_RECIPES = "; ".join(f"{task}: {', '.join(names)}" for task, names in RECIPES.items())
_VIDEOS = "Learning from videos (--task classify or contrast)"


_NOT_OF_MOTION = {  # by field of the other tasks, what to do instead
    "epochs": "Its stages count steps: set `steps` of each",
    "clips_per_step": "Set `frames_per_step` of each stage",
    "clips_per_share": "Use --shares",
    "learning_rate": "Set `learning_rate` of each stage",
}
_OWN_FILE = " in a TOML file of your own (--config)"


class _Task(StrEnum):
    MOTION = "motion"
    CLASSIFY = "classify"
    CONTRAST = "contrast"


def _changes(
    model: Annotated[str | None, typer.Option("--model", help="Overrides the configuration.")] = None,
    size_px: Annotated[
        int | None,
        typer.Option("--size", help="Side of the square frames in pixels, in all stages. Overrides the configuration."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Overrides the configuration.")] = None,
    precision: Annotated[
        TrainingPrecision | None, typer.Option("--precision", help="Overrides the configuration.")
    ] = None,
    shares: Annotated[
        int | None,
        typer.Option("--shares", min=1, max=1024, help="Parts of a step's clips (--task motion), for several workers."),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option("--epochs", help="Times that each video is seen.", rich_help_panel=_VIDEOS)
    ] = None,
    clips_per_step: Annotated[
        int | None, typer.Option("--clips-per-step", min=1, help="Clips of a step.", rich_help_panel=_VIDEOS)
    ] = None,
    clips_per_share: Annotated[
        int | None,
        typer.Option(
            "--clips-per-share",
            min=1,
            help="Clips that a device takes at a time, and norms see together.",
            rich_help_panel=_VIDEOS,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Overrides the configuration.", rich_help_panel=_VIDEOS)
    ] = None,
) -> dict[str, Any]:
    """What overrides the configuration."""
    return {name: value for name, value in locals().items() if value is not None}


def _require_of_task(changes: dict[str, Any], task: _Task) -> None:
    """Refuse what overrides a configuration of other tasks only."""
    foreign = {"shares"} if task is not _Task.MOTION else _NOT_OF_MOTION.keys()
    for name in sorted(foreign & changes.keys()):
        advice = _NOT_OF_MOTION.get(name, "Use --clips-per-share")
        where = "" if advice.startswith("Use") else _OWN_FILE
        option = f"--{name.replace('_', '-')}"
        raise ConfigurationError(f"expected no {option} with --task {task.value}; got {changes[name]}. {advice}{where}")


@weights_app.command()
@resumable
@takes(changes=_changes, lists=video_lists, work=training_work)
def train(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for state, curves and checkpoints.", show_default=False)
    ],
    changes: dict[str, Any],
    lists: VideoLists | None,
    task: Annotated[
        _Task,
        typer.Option(
            "--task", help="Learn from procedural video, classes of your own videos, or your own videos without labels."
        ),
    ] = _Task.MOTION,
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", help=f"A TOML file, or a bundled recipe ({_RECIPES}; the first by default)."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            "-w",
            help=f"A checkpoint or public weights to start from, or `{BUNDLED_WEIGHTS}`. (default: from scratch)",
        ),
    ] = None,
    save_every: SaveEvery = 300.0,
    *,
    work: dict[str, Any],
) -> int:
    """Train a network. The same command continues a training that was stopped."""
    from jobs.weights.training import TrainingRequest, train_weights
    from training.folder import BEST, CURVES, LEFT_OUT, LOGS
    from training.train import Loop

    _require_of_task(changes, task)
    wanted = read_config(config, task=task.value, **changes)
    if (lists is not None) == (task is _Task.MOTION):
        expected, got = ("--videos", "none. Give it") if lists is None else ("no --videos", "some. Leave it out")
        raise ConfigurationError(f"expected {expected} with --task {task.value}; got {got}, or change --task")
    videos = None if lists is None else lists.read(needs_labels=task is _Task.CLASSIFY)
    if videos is not None:
        for label, text in videos.report.lines():
            say(paragraph(f"{label}: {text}", indent="    "), to=sys.stderr)
    if work["ray_address"] is None:
        _warn_of_bfloat16(wanted, work["device"])
    request = TrainingRequest(wanted, out, weights, videos, **work)
    with Interruptions() as interruptions, TrainingDisplay() as display:
        interruptions.drain_on_first()
        loop = Loop(save_every, report=display.show, should_stop=lambda: interruptions.happened)
        path = train_weights(request, loop)
    say(f"{_what(display.last)}: {path}")
    if (out / BEST).exists():
        say(f"best by validation: {out / BEST}")
    logs = [str(out / name) for name in LOGS if (out / name).exists()]  # a short training may have no evaluation yet
    if logs:
        what = "losses and held-out evaluations" if len(logs) > 1 else "losses"
        say(f"{what}: {', '.join(logs)}; for TensorBoard: {out / CURVES}")
    _tell_of_left_out(out / LEFT_OUT)
    return INTERRUPTED if interruptions.happened else 0


def _tell_of_left_out(path: Path) -> None:
    """Say how many videos could not be used, by class of failure."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", newline="") as file:
        counts = Counter(row["failure"] for row in csv.DictReader(file))
    found = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    say(
        paragraph(
            f"{counted(counts.total(), 'video')} could not be used ({found}), and others took their place: {path}"
        )
    )


def _warn_of_bfloat16(wanted: TrainingConfig, device: DeviceChoice) -> None:
    from jobs.cluster.machine import lacks_bfloat16

    if wanted.precision is TrainingPrecision.BFLOAT16 and choose_device(device) == "cpu" and lacks_bfloat16():
        say(paragraph(_SLOW), to=sys.stderr)


def _what(last: Progress | None) -> str:
    """Describe the checkpoint by the last step of this run."""
    if last is None:
        return "trained to the end already; checkpoint"
    return "checkpoint" if last.step == last.steps else f"checkpoint after {last.step} of {last.steps} steps"
