"""The folder of a training run: its configuration, its curves, and the state to resume from.

RUN/run.json                      configuration, kind of features, the videos of both parts and their sources
RUN/curves.csv                    one row per epoch
RUN/checkpoint.pt                 weights and optimiser after the last epoch
RUN/head.safetensors              the best head (`gebd.heads.trained`)
RUN/validation_annotations.json, validation_predictions.json, validation_scores.json, report.json
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from extractor.store.disk.atomic import read_bounded, storage_errors, write_bytes
from extractor.store.disk.probe import refuse_other_folder
from gebd.annotations.files import write_json
from gebd.heads.config import HeadConfig
from gebd.heads.splitting import Parts
from schemas.config import ExtractionConfig
from schemas.errors import ConfigurationError, StoreError, WeightsError

_VERSION = 2
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training part: mean loss per frame of both parts, F1 on validation at the best `threshold`."""

    epoch: int
    training_loss: float
    validation_loss: float
    validation_f1: float
    threshold: float


@dataclass(frozen=True, eq=False)
class HeadState:
    """The epochs so far, and the state of head and optimiser after them."""

    epochs: list[Epoch]
    head: dict[str, torch.Tensor]
    optimizer: dict[str, Any]


def file_of_run(path: Path) -> Path:
    """Return the path to a file of a finished run; raises WeightsError if it does not exist."""
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist: expected a finished run. Give the folder that `msnet gebd train --out` wrote"
        )
    return path


class HeadFolder:
    """The files of one training run; every file is replaced atomically."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run = root / "run.json"
        self.curves = root / "curves.csv"
        self.checkpoint = root / "checkpoint.pt"
        self.annotations = root / "validation_annotations.json"
        self.predictions = root / "validation_predictions.json"
        self.scores = root / "validation_scores.json"
        self.report = root / "report.json"

    def begin(
        self, config: HeadConfig, extraction: ExtractionConfig, parts: Parts, *, beside: Collection[str] = ()
    ) -> None:
        """Create the folder, or check that it holds a run of the same configuration, features and videos.

        beside: names of other files and folders that it may hold.

        Raises ConfigurationError that names the differences if it holds another run; StorageError if it holds other
        files or cannot be created.
        """
        asked = {
            "version": _VERSION,
            "config": config.model_dump(mode="json"),
            "extraction": extraction.model_dump(mode="json"),
            "training": list(parts.training),
            "validation": list(parts.validation),
            "sources": {video_id: list(names) for video_id, names in parts.sources.items()},
        }
        if not self.run.exists():
            refuse_other_folder(self.root, beside.__contains__, "that of a run")
            with storage_errors(self.root):
                self.root.mkdir(parents=True, exist_ok=True)
            write_json(self.run, asked)
            return
        there = self._read_run()
        HeadConfig(**there["config"]).require_equal(config, str(self.root))
        for name, what in (("extraction", "features"), ("training", "videos"), ("validation", "validation videos")):
            if there[name] != asked[name]:
                raise ConfigurationError(f"{self.root} was trained on other {what}. Use the former, or another --out")

    def _read_run(self) -> dict[str, Any]:
        try:
            content = json.loads(read_bounded(self.run, _MAX_BYTES))
            if content["version"] != _VERSION:
                raise ValueError(f"version {content['version']!r}")
            needed = {name: content[name] for name in ("config", "extraction", "training", "validation")}
            return needed | {"sources": dict(content.get("sources", {}))}  # runs before the sources were kept
        except (OSError, ValueError, KeyError, TypeError, RecursionError, StoreError) as error:
            raise ConfigurationError(
                f"{self.run}: expected a file of `msnet gebd train`; got another ({str(error)[:80]}). Choose another "
                "folder"
            ) from error

    def parts(self) -> Parts:
        """Return the videos that the run was trained and validated on; empty if the folder holds only a head.

        Raises ConfigurationError if run.json is not that of a run.
        """
        if not self.run.exists():
            return Parts((), ())
        there = self._read_run()
        return Parts(tuple(there["training"]), tuple(there["validation"]), there["sources"])

    def save(self, state: HeadState) -> None:
        """Write the state after an epoch, then the curves."""
        data = BytesIO()
        content = {"head": state.head, "optimizer": state.optimizer}
        torch.save(content | {"epochs": [asdict(epoch) for epoch in state.epochs]}, data)
        write_bytes(self.checkpoint, data.getvalue())
        names = [field.name for field in fields(Epoch)]
        rows = [",".join(f"{value:.6g}" for value in asdict(epoch).values()) for epoch in state.epochs]
        write_bytes(self.curves, ("\n".join([",".join(names), *rows]) + "\n").encode())

    def load(self, device: torch.device) -> HeadState | None:
        """Load the state after the last epoch; None before the first. Nothing in the file is executed."""
        try:
            data = read_bounded(self.checkpoint, _MAX_BYTES)
        except FileNotFoundError:
            return None
        try:
            content = torch.load(BytesIO(data), map_location=device, weights_only=True)
            epochs = [Epoch(**epoch) for epoch in content["epochs"]]
            return HeadState(epochs, dict(content["head"]), dict(content["optimizer"]))
        except Exception as error:  # torch raises various exceptions for unreadable files
            raise WeightsError(
                f"{self.checkpoint}: expected a checkpoint of `msnet gebd train`; got another file "
                f"({str(error).splitlines()[0][:80]}). Remove it to start over"
            ) from error
