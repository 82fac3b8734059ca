"""Train a network of the family on the world, with held-out evaluations in a log and a state to resume from."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from extractor.models.checkpoints.bundled import checkpoint_path
from extractor.models.checkpoints.checkpoint import read_checkpoint, restore, save_checkpoint
from extractor.models.msnet import MSNet, build_network
from extractor.models.spec import describe_network
from extractor.store.disk.atomic import replacing
from extractor.store.disk.probe import probe_storage, refuse_other_folder
from schemas.errors import ConfigurationError
from training.config import HELD_OUT_SEED, LossWeights, Stage, TrainingConfig
from training.evaluation.matching import measure_matching
from training.evaluation.passes import evaluating
from training.gradients import GradientWorkers
from training.tasks.embedding import as_stored, enlarge_embedding
from training.tasks.motion import MotionTask, Task

LICENCE = "Apache-2.0"
_STATE = "state.pt"
_CHECKPOINT = "model.safetensors"
_LOSSES, _EVALUATIONS = LOGS = ("losses.csv", "evaluations.csv")
_EVALUATED_AT_A_TIME = 4


@dataclass(frozen=True)
class Progress:
    """The result of a step. `losses` are weighted, by name; `held_out` is None after steps without an evaluation."""

    step: int
    steps: int
    stage: str
    losses: Mapping[str, float]
    learning_rate: float
    frames_per_second: float
    held_out: Mapping[str, float] | None


def train(
    config: TrainingConfig,
    out: Path,
    *,
    device: torch.device | str = "cpu",
    weights: str | Path | None = None,
    save_every_seconds: float = 300.0,
    report: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train as `config` says and return the checkpoint, `out`/model.safetensors (convolutions in float16).

    The state, losses.csv and evaluations.csv are written to `out`; where it holds the state of the same configuration,
    training resumes from it. `weights` is a checkpoint to start from, of any kind that fits, or "bundled" for the one
    shipped with the package. A script that uses several processes needs `if __name__ == "__main__":`, because each
    process imports the script. `should_stop` is called after each step; where it returns True, the state is saved and
    a checkpoint of the training so far is written.

    Raises ConfigurationError where `out` holds another training or a loss is not finite, StorageError where `out` holds
    other files or cannot be created, WeightsError where `weights` does not fit, and ResourceError where a process dies.
    """
    device = torch.device(device)
    if config.processes > 1 and device.type != "cpu":
        raise ConfigurationError(
            f"expected 1 process on {device.type}; got {config.processes}. Set processes to 1, or train on a CPU"
        )
    start = None if weights is None else checkpoint_path(weights, config.model)
    trainer = Trainer(_without_idle_stages(config), out, device, start)
    saved = time.monotonic()
    with trainer.workers:
        while trainer.step < trainer.config.steps:
            report(trainer.advance())
            if should_stop():
                break
            if time.monotonic() - saved > save_every_seconds:
                trainer.save_state()
                saved = time.monotonic()
    trainer.save_state()
    return trainer.save_checkpoint()


class Trainer:
    """The network, heads and optimizer in training, and the folder that stores them."""

    def __init__(self, config: TrainingConfig, out: Path, device: torch.device, weights: Path | None) -> None:
        self.config, self.out, self.device = config, out, device
        self.step = 0
        self._start = _provenance(weights)
        self._trained_seconds = 0.0
        self.network = _first_network(config, weights).to(device)
        enlarge_embedding(self.network, config.embedding_halvings)
        self.task: Task = MotionTask(self.network, config, world_seed=config.seed, device=device)
        self._held_out = MotionTask(self.network, config, world_seed=HELD_OUT_SEED, device=device)
        self._optimizer = torch.optim.AdamW(_groups(self.network, self.task, config.weight_decay))
        self._resume()
        self.workers = GradientWorkers(self.network, self.task, config)

    def advance(self) -> Progress:
        """Take one step of the optimizer."""
        stage, step_of_stage = self.config.stage_at(self.step)
        rate = _learning_rate(stage, step_of_stage)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        started = time.monotonic()
        values = {name: float(loss) for name, loss in self.workers.compute(self.step).items()}
        if not all(map(math.isfinite, values.values())):
            raise ConfigurationError(f"expected finite losses; got {values} at step {self.step}. Lower learning_rate")
        parameters = [p for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
        self._optimizer.step()
        seconds = time.monotonic() - started
        self._trained_seconds += seconds
        self.step += 1
        columns = {name: values.get(name, "") for name in LossWeights.model_fields}  # the same in every stage
        _append(self.out / _LOSSES, {"step": self.step, "stage": stage.name, "learning_rate": rate, **columns})
        held_out = None
        if self.step % self.config.evaluate_every_steps == 0 or self.step == self.config.steps:
            held_out = self.evaluate()
            _append(self.out / _EVALUATIONS, {"step": self.step, **held_out})
        frames_hz = stage.frames_per_step / seconds
        return Progress(self.step, self.config.steps, stage.name, values, rate, frames_hz, held_out)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Unweighted losses on held-out clips and, with an MS module, errors of its displacement in cells."""
        held_out = self._held_out
        held_out.load_state_dict(self.task.state_dict())
        length, count = self.config.num_segments, self.config.evaluation_clips
        stage = Stage(
            name="held out",
            steps=1,
            size_px=self.config.evaluation_size_px,
            num_frames=(length,),
            frames_per_step=length * count,
            losses=LossWeights(**dict.fromkeys(LossWeights.model_fields, 1.0)),
        )
        clips = held_out.clips(stage, 0)
        found = dict.fromkeys(LossWeights.model_fields, math.nan)
        with evaluating(self.network):
            parts = [slice(start, start + _EVALUATED_AT_A_TIME) for start in range(0, count, _EVALUATED_AT_A_TIME)]
            losses = [held_out.losses_on(self.network, clips.of(part), stage) for part in parts]
        for name in losses[0]:
            found[name] = float(torch.stack([loss[name] for loss in losses]).mean())
        if self.network.motion_squeeze is not None:
            scores = measure_matching(self.network, clips)
            found |= {"error_cells": scores.inside.mean_cells, "zero_error_cells": scores.inside_zero.mean_cells}
            found |= {"visible_error_cells": scores.visible.mean_cells}
        return found

    def save_state(self) -> None:
        """Atomically save everything that resuming needs."""
        state = {
            "config": self.config.model_dump_json(),
            "start": json.dumps(self._start),
            "step": self.step,
            "trained_seconds": self._trained_seconds,
            "network": self.network.state_dict(),
            "task": self.task.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        with replacing(self.out / _STATE) as temporary:
            torch.save(state, temporary)

    def save_checkpoint(self) -> Path:
        """Save the current network, with the recipe and the last held-out figures in the metadata."""
        evaluated = next(reversed(_rows(self.out / _EVALUATIONS)), {})
        recipe = {
            "configuration": self.config.model_dump(mode="json"),
            "start": self._start,
            "steps": self.step,
            "trained_seconds": round(self._trained_seconds),
            "device": self.device.type,
            "held_out": {name: round(float(value), 4) for name, value in evaluated.items()},
        }
        path = self.out / _CHECKPOINT
        with as_stored(self.network, self.config.embedding_halvings):
            save_checkpoint(path, self.network, licence=LICENCE, recipe=recipe, dtype=torch.float16)
        return path

    def _resume(self) -> None:
        path = self.out / _STATE
        if not path.exists():
            refuse_other_folder(self.out, LOGS.__contains__, "a training")
            probe_storage(self.out)
            for name in LOGS:
                (self.out / name).unlink(missing_ok=True)
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
            raise ConfigurationError(
                f"expected the state of a training; got {path}, which cannot be read. Choose another folder, or remove"
                " the file to start over"
            ) from error
        if state["config"] != self.config.model_dump_json():
            field = _first_difference(json.loads(state["config"]), self.config.model_dump(mode="json"))
            raise ConfigurationError(
                f"expected the configuration that {self.out} was trained with; got another configuration ({field}"
                " differs). Use the same one to continue, or choose another folder"
            )
        self.step, self._trained_seconds = state["step"], state["trained_seconds"]
        self._start = json.loads(state["start"])
        self.network.load_state_dict(state["network"])
        self.task.load_state_dict(state["task"])
        self._optimizer.load_state_dict(state["optimizer"])
        for name in LOGS:
            _drop_rows_after(self.out / name, self.step)


def _without_idle_stages(config: TrainingConfig) -> TrainingConfig:
    """Drop the stages that train matching alone, where the network has no MS module."""
    if describe_network(config.model).has_motion:
        return config
    stages = tuple(stage for stage in config.stages if not stage.matching_only)
    if not stages:
        raise ConfigurationError(
            f"expected a stage that is not matching_only, because {config.model} has no MS module; got none. Add one"
        )
    return config.model_copy(update={"stages": stages})


def _first_network(config: TrainingConfig, weights: Path | None) -> MSNet:
    spec = describe_network(config.model, num_segments=config.num_segments)
    if weights is None:
        return build_network(spec, seed=config.seed)
    return restore(spec, read_checkpoint(weights), seed=config.seed, edges=spec.edges)


def _provenance(weights: Path | None) -> str | dict[str, Any]:
    """The weights that training starts from; for our own checkpoints with their recipe, back to the first weights."""
    if weights is None:
        return "random weights"
    checkpoint = read_checkpoint(weights)
    found: dict[str, Any] = {"file": weights.name, "kind": checkpoint.kind, "sha256": checkpoint.sha256}
    if checkpoint.kind == "msnet":
        with suppress(ValueError, RecursionError):
            found["recipe"] = json.loads(checkpoint.metadata.get("recipe", "{}"))
    return found


def _groups(network: MSNet, task: Task, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels; none for norms and biases, whose scale needs no limit."""
    parameters = [*network.parameters(), *task.parameters()]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _learning_rate(stage: Stage, step: int) -> float:
    """Learning rate at step number `step` of the stage: a linear warm-up, then a cosine down to the final rate."""
    if step < stage.warmup_steps:
        return stage.learning_rate * (step + 1) / stage.warmup_steps
    done = (step - stage.warmup_steps) / max(1, stage.steps - stage.warmup_steps)
    low, high = stage.final_learning_rate, stage.learning_rate
    return low + (high - low) * 0.5 * (1 + math.cos(math.pi * done))


def _append(path: Path, row: Mapping[str, object]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _drop_rows_after(path: Path, step: int) -> None:
    """Drop the rows of steps after the saved state, which will be written again."""
    kept = [row for row in _rows(path) if int(row["step"]) <= step]
    path.unlink(missing_ok=True)
    for row in kept:
        _append(path, row)


def _first_difference(one: Any, other: Any, where: str = "") -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one:
            if one[key] != other.get(key):
                return _first_difference(one[key], other.get(key), f"{where}.{key}" if where else key)
    return where or "it"
