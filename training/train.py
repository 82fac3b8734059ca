"""The loop that trains a network: steps, held-out evaluations, a state to resume from, checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from extractor.models.checkpoints.checkpoint import save_checkpoint
from extractor.models.msnet import MSNet
from schemas.errors import ConfigurationError, ResourceError
from training.config import TrainingConfig
from training.folder import BEST, CHECKPOINT, TrainingFolder
from training.gradients import Gradients, compute_gradients
from training.group import Group
from training.labels.labelled import LabelledVideos
from training.precision import loss_scaler
from training.prepare import prepare
from training.start import Start, require_same_origin
from training.tasks.task import CheckpointCompanion, StepFinisher, Task

LICENCE = "Apache-2.0"
_PATIENCE_SECONDS = 60.0  # for the process that this one takes the place of to end


@dataclass(frozen=True)
class Progress:
    """The result of a step. `losses` are weighted, by name; `held_out` is None after steps without an evaluation.

    seconds_left: at the mean pace so far, evaluations included; None after the first step. note: a sentence for the
    user, from the task.
    """

    step: int
    steps: int
    stage: str
    losses: Mapping[str, float]
    learning_rate: float
    frames_per_second: float
    held_out: Mapping[str, float] | None
    seconds_left: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class Loop:
    """How often the state is saved, who hears of progress, and who may stop the training.

    should_stop is called after each step in the process that leads; where it returns True, the state is saved and a
    checkpoint of the training so far is written.
    """

    save_every_seconds: float = 300.0
    report: Callable[[Progress], None] = lambda progress: None
    should_stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        if not self.save_every_seconds >= 0:  # nor is NaN, which would never save
            raise ConfigurationError(
                f"expected seconds of 0 or more between saved states; got {self.save_every_seconds}. Correct"
                " --save-every"
            )


def train(
    config: TrainingConfig,
    out: Path,
    *,
    device: torch.device | str = "cpu",
    weights: str | Path | None = None,
    videos: LabelledVideos | None = None,
    loader_workers: int = 0,
    loop: Loop = Loop(),
) -> Path:
    """Train as `config` says and return the checkpoint, `out`/model.safetensors.

    The state, curves and checkpoints are written to `out`; where it holds the state of the same configuration, training
    resumes from it. `weights` is a checkpoint to start from, of any kind that fits, or "bundled" for the one shipped
    with the package. videos: what a task that learns from videos learns from; loader_workers: processes that decode
    them. Each process of a group (see `Group`) calls it with the same arguments and its own device.

    Raises ConfigurationError where `out` holds another training or a loss is not finite, StorageError where `out` holds
    other files or cannot be written, WeightsError where `weights` does not fit, InventoryError where most videos are
    broken, and ResourceError where the device runs out of memory.
    """
    start, task = prepare(config, weights, torch.device(device), videos, loader_workers)
    return train_task(start, task, out, loop)


def train_task(start: Start, task: Task, out: Path, loop: Loop = Loop()) -> Path:
    """Train a network on a task, of whatever package, as `train` does."""
    trainer = Trainer(start, task, out)
    try:
        return _run(trainer, loop)
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"expected a step to fit into the memory of the device; got: {str(error).partition('. ')[0]}. Let shares be"
            " smaller, use gradient checkpointing, or a smaller size or network; the last saved state is kept"
        ) from error
    finally:
        trainer.close()


def _run(trainer: Trainer, loop: Loop) -> Path:
    saved = begun = time.monotonic()
    first = trainer.step
    while trainer.step < trainer.task.steps:
        progress = trainer.advance()
        if trainer.step > first + 1:
            pace = (time.monotonic() - begun) / (trainer.step - first)
            progress = replace(progress, seconds_left=pace * (progress.steps - progress.step))
        if trainer.group.leads:
            loop.report(progress)
        stop, save = trainer.group.agree(loop.should_stop(), time.monotonic() - saved > loop.save_every_seconds)
        if stop:
            break
        if save:
            trainer.save_state()
            saved = time.monotonic()
    trainer.save_state()
    trainer.name_left_out()
    return trainer.save_checkpoint(CHECKPOINT)


class Trainer:
    """The network and the optimizer in training, and the folder that stores them."""

    def __init__(self, start: Start, task: Task, out: Path) -> None:
        self.network, self.task, self.folder = start.network, task, TrainingFolder(out)
        self.device = self.network.device
        self.group = Group(self.device)
        self.step = 0
        self._origin = start.origin
        self._trained_seconds = 0.0
        config = task.config
        self._configuration = config.model_dump_json()
        self._optimizer = task.optimizer(self.network)
        self._scaler = loss_scaler(config.precision, self.device)
        self._mean: AveragedModel | None = None
        if config.ema_decay:
            average = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
            self._mean = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self.network.backbone.checkpointing = config.gradient_checkpointing
        try:
            if self.group.leads:
                self.folder.claim(_PATIENCE_SECONDS if self.group.is_several else 0.0)
            self._resume()
            if self.group.leads:
                self.folder.begin(self.step)
        except BaseException:
            self.folder.close()
            raise

    @property
    def _stored(self) -> MSNet:
        """The network that is evaluated and stored."""
        return self.network if self._mean is None else cast(MSNet, self._mean.module)

    def advance(self) -> Progress:
        """Take one step of the optimizer.

        Raises ConfigurationError where a loss or a gradient is not finite; the weights stay as they were before the
        step, and saved.
        """
        task, step = self.task, self.step
        rate, started = task.learning_rate(step), time.monotonic()
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("rate", 1.0)
        found = compute_gradients(self.network, task, step, self.group, self._scaler)
        losses = found.losses
        if not all(map(math.isfinite, losses.values())):
            raise self._diverged(f"losses; got {losses}")
        if not self._descend(found):
            raise self._diverged("gradients; got others")
        note = None
        if isinstance(task, StepFinisher):
            note = task.finish_step(self.network, step, losses, self.group)
        seconds = time.monotonic() - started
        self._trained_seconds += seconds
        self.step += 1
        held_out = None
        if self.group.leads:
            self.folder.log_step(self.step, task.stage(step), rate, losses, task.loss_names)
        if task.evaluates_after(step):
            held_out = self.evaluate()
        pace = task.frames(step) / seconds
        return Progress(self.step, task.steps, task.stage(step), losses, rate, pace, held_out, note=note)

    def evaluate(self) -> dict[str, float]:
        """Figures on held-out clips; they are logged, and the best network so far is stored."""
        found = self.task.evaluate(self._stored, self.group)
        name = self.task.best
        if self.group.leads:
            earlier = [row[name] for row in self.folder.evaluations()] if name else []
            best = name and not math.isnan(found[name]) and not any(found[name] <= figure for figure in earlier)
            self.folder.log_evaluation(self.step, found)
            if best:
                self.save_checkpoint(BEST)
        return found

    def save_state(self) -> None:
        """Save everything that resuming needs, atomically; the process that leads does."""
        if not self.group.leads:
            return
        self.folder.save_state(
            {
                "config": self._configuration,
                "origin": json.dumps(self._origin),
                "step": self.step,
                "trained_seconds": self._trained_seconds,
                "network": self.network.state_dict(),
                "mean": None if self._mean is None else self._mean.state_dict(),
                "task": self.task.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "scaler": self._scaler.state_dict(),
            }
        )

    def save_checkpoint(self, name: str) -> Path:
        """Store the current network, with the recipe and the last held-out figures in the metadata."""
        path = self.folder.root / name
        if not self.group.leads:
            return path
        evaluated = next(reversed(self.folder.evaluations()), {})
        recipe = {
            "configuration": self.task.config.model_dump(mode="json"),
            "start": self._origin,
            "steps": self.step,
            "trained_seconds": round(self._trained_seconds),
            "device": self.device.type,
            "held_out": {name: round(value, 4) for name, value in evaluated.items() if math.isfinite(value)},
            **self.task.facts(),
        }
        stored = self._stored
        with self.task.as_stored(stored), self.folder.saving():
            dtype = None if self.task.config.stores_float32 else torch.float16
            save_checkpoint(path, stored, licence=LICENCE, recipe=recipe, dtype=dtype)
        if isinstance(self.task, CheckpointCompanion):
            with self.folder.saving():
                self.task.save_beside(path)
        return path

    def name_left_out(self) -> None:
        """Write down which videos could not be used, by any process of the group."""
        failures = self.group.gather(dict(self.task.left_out()))
        if self.group.leads and failures:
            self.folder.save_left_out(failures)

    def close(self) -> None:
        """End what the task has started, and the curves."""
        self.task.close()
        self.folder.close()

    def _diverged(self, what: str) -> ConfigurationError:
        """Save what was trained until now; returns the error that says so."""
        self.save_state()
        self.save_checkpoint(CHECKPOINT)
        return ConfigurationError(
            f"expected finite {what} at step {self.step + 1}. Lower learning_rate, or train in float32;"
            f" {self.folder.root} has what was trained before it"
        )

    def _descend(self, found: Gradients) -> bool:
        """Clip the gradients, and follow them; returns False, with nothing changed, if they are not finite.

        Gradients of float16 that overflow are left out, and scaled less.
        """
        self._scaler.unscale_(self._optimizer)
        parameters = [p for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.task.config.gradient_clip)
        if not self._scaler.is_enabled() and not math.isfinite(norm):
            return False  # one such step would make all weights NaN, and the next save the state
        found.take_statistics()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._mean is not None:
            self._mean.update_parameters(self.network)
        return True

    def _resume(self) -> None:
        state = self.folder.read_state(self._configuration, self.device, self.task.config.LATER_FIELDS)
        if state is None:
            return
        origin = json.loads(state["origin"])
        require_same_origin(self._origin, origin, self.folder.root)
        self.step, self._trained_seconds, self._origin = state["step"], state["trained_seconds"], origin
        self.network.load_state_dict(state["network"])
        self.task.load_state_dict(state["task"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._mean is not None:
            self._mean.load_state_dict(state["mean"])
