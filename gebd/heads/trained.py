"""A trained head in one file: weights, the kind of features, and how its scores become boundaries."""

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
from gebd.heads.networks.base import Head
from gebd.heads.networks.building import build_head
from gebd.heads.networks.spec import HeadSpec
from gebd.heads.run_folder import file_of_run
from gebd.metric.picking import BoundaryPicker
from schemas.config import ExtractionConfig
from schemas.errors import ConfigurationError, WeightsError

HEAD_NAME = "head.safetensors"
"""Name of the file in the folder of a run."""

_FORMAT, _VERSION = "gebd-head", 2
_MAX_BYTES = 1 << 30
_NOT_FEATURES = {"seed", "outputs", "motion_form", "store_dtype", "decoder", "keep_corrupt", "format_version"}


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """A head in evaluation mode, with everything that prediction needs.

    `config`: of its training. `picker`: turns its scores (probabilities) into boundaries. `extraction`: configuration
    of the store that it was trained on. `epoch`: the best epoch. `validation_f1`: its F1 by the configured criterion.
    """

    head: Head
    config: HeadConfig
    picker: BoundaryPicker
    extraction: ExtractionConfig
    epoch: int
    validation_f1: float

    def require_store(self, other: ExtractionConfig) -> None:
        """Raise ConfigurationError that names the fields if the features of another store differ in kind."""
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
                f"the head was trained on another kind of features ({'; '.join(fields)}). Extract with its "
                "settings, or train anew"
            )


def save_head(trained: TrainedHead, path: Path) -> None:
    """Write a head as safetensors, atomically."""
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
    """Load the best head of a run, given its folder or the file itself. Nothing in the file is executed.

    Raises WeightsError if there is none, or `train_head` did not write the file.
    """
    path = Path(run)
    path = file_of_run(path / HEAD_NAME if path.is_dir() else path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise WeightsError(f"{path}: expected a head of at most {_MAX_BYTES} bytes; got more. Check the path")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no dictionary
        return _trained(json.loads(metadata[_FORMAT]), state, torch.device(device))
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}). Check its permissions") from error
    except (SafetensorError, ValidationError, KeyError, ValueError, TypeError, RuntimeError, RecursionError) as error:
        detail = str(error).splitlines()[0][:120]
        raise WeightsError(
            f"{path}: expected a head of `msnet gebd train`; got another file ({type(error).__name__}: {detail}). Give "
            "the folder that it wrote"
        ) from error


def _trained(content: dict[str, Any], state: dict[str, torch.Tensor], device: torch.device) -> TrainedHead:
    if content["version"] != _VERSION:
        raise ValueError(f"expected version {_VERSION}; got {content['version']!r}")
    spec = HeadSpec.of(content["spec"])
    with torch.random.fork_rng([]), torch.device("meta"):  # without memory: a spec of a few bytes can ask for terabytes
        expected = {name: value.shape for name, value in build_head(spec).state_dict().items()}
    if expected != {name: value.shape for name, value in state.items()}:
        raise ValueError("weights of another shape than its spec has")
    if not all(bool(value.isfinite().all()) for value in state.values()):
        raise ValueError("weights that are not finite")
    with torch.random.fork_rng([]):  # the initial weights are replaced: leave the caller's random state alone
        head = build_head(spec)
    head.load_state_dict(state)
    return TrainedHead(
        head.to(device).eval(),
        HeadConfig(**content["config"]),
        BoundaryPicker.of(content["picker"]),
        ExtractionConfig(**content["extraction"]),
        int(content["epoch"]),
        float(content["validation_f1"]),
    )
