"""Training a network of the family on the world: steps, a held-out evaluation in the log, a state to resume from."""

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
from training.descent import Descent
from training.evaluation.matching import measure_matching
from training.evaluation.passes import evaluating
from training.tasks.embedding import as_stored, enlarge_embedding
from training.tasks.motion import MotionTask, Task

__all__ = ["LICENCE", "LOGS", "Progress", "TrainingRun", "train"]

LICENCE = "Apache-2.0"
_STATE = "state.pt"
_CHECKPOINT = "model.safetensors"
_LOSSES, _EVALUATIONS = LOGS = ("losses.csv", "evaluations.csv")
_EVALUATED_AT_A_TIME = 4


@dataclass(frozen=True)
class Progress:
    """What a step gave. `losses` are weighted, by name; `held_out` is there after steps that evaluate."""

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

    `out` takes the state, losses.csv and evaluations.csv; where it holds the state of the same configuration, training
    goes on from there. `weights` is a checkpoint to start from, of any kind that fits, or "bundled" for the one that
    comes with the package. A script that asks for several processes needs `if __name__ == "__main__":`, as each of them
    imports it. `should_stop` is asked after each step; the state is saved then, too, and a checkpoint is
    written for what has been learned so far.

    ConfigurationError where `out` holds another training; StorageError where it holds other things or cannot be made;
    WeightsError where `weights` does not fit; ResourceError where one of several processes is killed.
    """
    device = torch.device(device)
    if config.processes > 1 and device.type != "cpu":
        raise ConfigurationError(f"{config.processes} processes share the clips of a step on a CPU alone: expected 1")
    start = None if weights is None else checkpoint_path(weights, config.model)
    run = TrainingRun(_without_idle_stages(config), out, device, start)
    saved = time.monotonic()
    with run.descent:
        while run.step < run.config.steps:
            report(run.advance())
            if should_stop():
                break
            if time.monotonic() - saved > save_every_seconds:
                run.save_state()
                saved = time.monotonic()
    run.save_state()
    return run.save_checkpoint()


class TrainingRun:
    """The network, its heads and the optimizer on their way, and the folder that keeps them."""

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
        self.descent = Descent(self.network, self.task, config)

    def advance(self) -> Progress:
        """One step of the optimizer."""
        stage, step_of_stage = self.config.stage_at(self.step)
        rate = _learning_rate(stage, step_of_stage)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        started = time.monotonic()
        losses = self.descent.gradients(self.step)
        if not all(loss.isfinite() for loss in losses.values()):
            raise ConfigurationError(f"the loss is no number at step {self.step}: try a lower learning_rate")
        parameters = [p for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
        self._optimizer.step()
        values = {name: float(loss) for name, loss in losses.items()}
        seconds = time.monotonic() - started
        self._trained_seconds += seconds
        self.step += 1
        _append(self.out / _LOSSES, {"step": self.step, "stage": stage.name, "learning_rate": rate, **_padded(values)})
        held_out = None
        if self.step % self.config.evaluate_every_steps == 0 or self.step == self.config.steps:
            held_out = self.evaluate()
            _append(self.out / _EVALUATIONS, {"step": self.step, **held_out})
        frames_hz = stage.frames_per_step / seconds
        return Progress(self.step, self.config.steps, stage.name, values, rate, frames_hz, held_out)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Unweighted losses on held-out clips and, with an MS module, how far its displacement is off, in cells."""
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
        """All that resuming needs, atomically."""
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
        """The network as it is, with the recipe and the last held-out figures in the metadata."""
        recipe = {
            "configuration": self.config.model_dump(mode="json"),
            "start": self._start,
            "steps": self.step,
            "trained_seconds": round(self._trained_seconds),
            "device": self.device.type,
            "held_out": _last_row(self.out / _EVALUATIONS),
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
                f"{path} was expected to hold the state of a training and cannot be read: choose another folder, or"
                " remove the file to begin anew"
            ) from error
        if state["config"] != self.config.model_dump_json():
            field = _first_difference(json.loads(state["config"]), self.config.model_dump(mode="json"))
            raise ConfigurationError(
                f"{self.out} holds a training of another configuration ({field} differs): expected the same one, to go"
                " on with it; choose another folder for a new one"
            )
        self.step, self._trained_seconds = state["step"], state["trained_seconds"]
        self._start = json.loads(state["start"])
        self.network.load_state_dict(state["network"])
        self.task.load_state_dict(state["task"])
        self._optimizer.load_state_dict(state["optimizer"])
        for name in LOGS:
            _drop_rows_after(self.out / name, self.step)


def _without_idle_stages(config: TrainingConfig) -> TrainingConfig:
    """The configuration without stages that have nothing to teach to a network without an MS module."""
    if describe_network(config.model).has_motion:
        return config
    stages = tuple(stage for stage in config.stages if not stage.matching_only)
    if not stages:
        raise ConfigurationError(f"{config.model} has no MS module: expected a stage that is not matching_only")
    return config.model_copy(update={"stages": stages})


def _first_network(config: TrainingConfig, weights: Path | None) -> MSNet:
    if weights is None:
        return build_network(describe_network(config.model, num_segments=config.num_segments), seed=config.seed)
    spec = describe_network(config.model, num_segments=config.num_segments)
    return restore(spec, read_checkpoint(weights), seed=config.seed, edges=spec.edges)


def _provenance(weights: Path | None) -> str | dict[str, Any]:
    """What the training started from; of one of our own checkpoints with its recipe, and so on back to the first."""
    if weights is None:
        return "random weights"
    checkpoint = read_checkpoint(weights)
    found: dict[str, Any] = {"file": weights.name, "kind": checkpoint.kind, "sha256": checkpoint.sha256}
    if checkpoint.kind == "msnet":
        with suppress(ValueError, RecursionError):
            found["recipe"] = json.loads(checkpoint.metadata.get("recipe", "{}"))
    return found


def _groups(network: MSNet, task: Task, weight_decay: float) -> list[dict[str, Any]]:
    """Decay for matrices and kernels; none for norms and biases, which have no scale to be kept down."""
    parameters = [*network.parameters(), *task.parameters()]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _learning_rate(stage: Stage, step: int) -> float:
    """Of the stage's step number `step`: a linear rise, then a cosine down to the final rate."""
    if step < stage.warmup_steps:
        return stage.learning_rate * (step + 1) / stage.warmup_steps
    done = (step - stage.warmup_steps) / max(1, stage.steps - stage.warmup_steps)
    low, high = stage.final_learning_rate, stage.learning_rate
    return low + (high - low) * 0.5 * (1 + math.cos(math.pi * done))


def _padded(losses: Mapping[str, float]) -> dict[str, float | str]:
    """Every loss a column, empty where the step had none, so that all rows of a file have the same columns."""
    return {name: losses.get(name, "") for name in LossWeights.model_fields}


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
    """Rows of steps that were taken after the state was saved will be written again."""
    kept = [row for row in _rows(path) if int(row["step"]) <= step]
    path.unlink(missing_ok=True)
    for row in kept:
        _append(path, row)


def _last_row(path: Path) -> dict[str, float]:
    rows = _rows(path)
    return {name: round(float(value), 4) for name, value in rows[-1].items()} if rows else {}


def _first_difference(one: Any, other: Any, where: str = "") -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one:
            if one[key] != other.get(key):
                return _first_difference(one[key], other.get(key), f"{where}.{key}" if where else key)
    return where or "it"
