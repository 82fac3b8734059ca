"""A trained head as one file: weights, what they were learned on, and how its scores become boundaries."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from extractor.store.disk.atomic import write_bytes
from gebd.heads.config import HeadConfig
from gebd.heads.networks import Head, HeadSpec, build_head
from gebd.heads.run_folder import file_of_run
from gebd.metric.picking import BoundaryPicker
from schemas.config import ExtractionConfig
from schemas.errors import ConfigurationError, WeightsError

__all__ = ["HEAD_NAME", "TrainedHead", "load_head", "save_head"]

HEAD_NAME = "head.safetensors"
"""Name of the file within the folder of a run."""

_FORMAT, _VERSION = "gebd-head", 1
_MAX_BYTES = 1 << 30
_NOT_FEATURES = {"seed", "outputs", "motion_form", "store_dtype", "decoder", "keep_corrupt", "format_version"}


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """A head in evaluation mode with all that prediction needs.

    `config`: how it was trained. `picker`: boundaries from its scores (probabilities). `extraction`: configuration of
    the store that it learned from. `epoch` and `validation_f1` (at 0.05): when it was the best, and how good.
    """

    head: Head
    config: HeadConfig
    picker: BoundaryPicker
    extraction: ExtractionConfig
    epoch: int
    validation_f1: float

    def require_store(self, other: ExtractionConfig) -> None:
        """Raise ConfigurationError, naming the fields, where features of another store mean something else."""
        mine, theirs = self.extraction.model_dump(mode="json"), other.model_dump(mode="json")
        fields = [
            f"{name} was {mine[name]!r}, the store has {theirs[name]!r}"
            for name in mine
            if name not in _NOT_FEATURES and mine[name] != theirs[name]
        ]
        if self.extraction.weights == "random" and self.extraction.seed != other.seed:
            fields.append(f"the seed of random weights was {self.extraction.seed}, the store has {other.seed}")
        if fields:
            raise ConfigurationError(
                f"the head was trained on features of another kind ({'; '.join(fields)}): extract alike, or train anew"
            )


def save_head(trained: TrainedHead, path: Path) -> None:
    """Write a head as safetensors, whole or not at all."""
    content = {
        "version": _VERSION,
        "spec": trained.head.spec.content(),
        "config": trained.config.model_dump(mode="json"),
        "picker": trained.picker.content(),
        "extraction": trained.extraction.model_dump(mode="json"),
        "epoch": trained.epoch,
        "validation_f1": trained.validation_f1,
    }
    state = {name: value.detach().cpu().contiguous() for name, value in trained.head.state_dict().items()}
    write_bytes(path, save(state, {_FORMAT: json.dumps(content)}))


def load_head(run: str | os.PathLike[str], device: str | torch.device = "cpu") -> TrainedHead:
    """The best head of a run: its folder, or the file itself. Nothing in the file is executed.

    Raises WeightsError where there is none, or the file is not what `train_head` wrote.
    """
    path = Path(run)
    path = file_of_run(path / HEAD_NAME if path.is_dir() else path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise WeightsError(f"{path} was expected to hold at most {_MAX_BYTES} bytes and holds more: it is not ours")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no dictionary
        return _trained(json.loads(metadata[_FORMAT]), state, torch.device(device))
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}): check its permissions") from error
    except (SafetensorError, ValidationError, KeyError, ValueError, TypeError, RuntimeError, RecursionError) as error:
        detail = str(error).splitlines()[0][:120]
        raise WeightsError(
            f"{path} is not a head that `msnet gebd train` wrote ({type(error).__name__}: {detail})"
        ) from error


def _trained(content: dict[str, Any], state: dict[str, torch.Tensor], device: torch.device) -> TrainedHead:
    if content["version"] != _VERSION:
        raise ValueError(f"version {content['version']!r}, this program reads {_VERSION}")
    with torch.random.fork_rng([]):  # initial weights that are replaced are not worth the caller's random numbers
        head = build_head(HeadSpec.of(content["spec"]))
    head.load_state_dict(state)
    return TrainedHead(
        head.to(device).eval(),
        HeadConfig(**content["config"]),
        BoundaryPicker.of(content["picker"]),
        ExtractionConfig(**content["extraction"]),
        int(content["epoch"]),
        float(content["validation_f1"]),
    )
