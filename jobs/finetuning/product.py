"""What fine-tuning leaves in its folder: weights for `msnet extract`, and a head for `msnet gebd predict`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from extractor.store.disk.atomic import write_bytes
from gebd.annotations.loading import write_annotations
from gebd.annotations.records import Annotations
from gebd.heads.choosing import Choice
from gebd.heads.config import HeadConfig
from gebd.heads.networks.base import Head
from gebd.heads.predict import pick_boundaries
from gebd.heads.run_folder import HeadFolder
from gebd.heads.trained import HEAD_NAME, TrainedHead, save_head
from gebd.metric.predictions import write_predictions
from gebd.metric.tracks import Track, write_tracks
from schemas.config import ExtractionConfig

WEIGHTS_NAME = "model.safetensors"
"""The weights in the folder of a run, beside the head that was trained with them."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """An evaluation on the validation part: the threshold that was chosen by it, and the scores behind it."""

    epoch: int
    choice: Choice
    tracks: dict[str, Track]
    truth: Annotations


@dataclass(frozen=True, slots=True)
class Product:
    """The folder that takes the best network and its head, and what both were made for.

    extraction: of features of the network, but for its weights.
    """

    root: Path
    config: HeadConfig
    extraction: ExtractionConfig

    def take(self, checkpoint: Path, head: Head, found: Evaluated) -> None:
        """Write weights, head, and what they find in the validation part; each file is replaced atomically.

        The head names the weights by their digest, so that features of others are refused.
        """
        content = checkpoint.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        picker = self.config.picker(found.choice.threshold)
        extraction = self.extraction.model_copy(update={"weights": digest, "seed": None})
        trained = TrainedHead(head, self.config, picker, extraction, found.epoch, found.choice.f1)
        write_bytes(self.root / WEIGHTS_NAME, content)
        save_head(trained, self.root / HEAD_NAME)
        folder = HeadFolder(self.root)
        write_annotations(found.truth, folder.annotations)
        write_predictions(pick_boundaries(found.tracks, picker), folder.predictions)
        write_tracks(found.tracks, folder.scores)
