"""Features for a head, from videos: extracted with the weights that it was trained with."""

from __future__ import annotations

from pathlib import Path

from extractor.extraction.request import Request
from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS, bundled_checkpoint, bundled_networks
from extractor.models.checkpoints.inspection import inspect_checkpoint
from gebd.heads.trained import TrainedHead
from jobs.cluster.options import Options
from jobs.finetuning.product import WEIGHTS_NAME
from jobs.run.extraction import extract
from jobs.run.outcome import Outcome
from jobs.run.watcher import Watcher
from schemas.errors import WeightsError


def extract_for_head(
    run: Path, trained: TrainedHead, videos: Path | str, store: Path, *, device: str, watcher: Watcher
) -> Outcome:
    """Extract features of the kind that a head was trained on from videos into a store, or continue one.

    run: the folder of the head. Its weights are those that fine-tuning left there, or the bundled ones. Raises
    WeightsError if neither are those that the head was trained with, and whatever `extract` raises.
    """
    config = trained.extraction
    request = Request(
        model=config.model,
        weights=_weights(run, trained),
        sampling=config.sampling,
        rate_hz=config.rate_hz,
        edges=config.edges,
        outputs=tuple(trained.head.spec.shapes),
        size=config.size,
        resize=config.resize,
        dtype=config.dtype,
    )
    return extract(videos, store, request, Options(device=device), watcher)


def _weights(run: Path, trained: TrainedHead) -> str:
    """The checkpoint that the head was trained with."""
    config = trained.extraction
    beside = run / WEIGHTS_NAME
    if beside.is_file() and inspect_checkpoint(beside).sha256 == config.weights:
        return str(beside)
    bundled = bundled_checkpoint(config.model) if config.model in bundled_networks() else None
    if bundled is not None and inspect_checkpoint(bundled).sha256 == config.weights:
        return BUNDLED_WEIGHTS
    raise WeightsError(
        f"expected the weights that the head of {run} was trained with, as {WEIGHTS_NAME} beside it; got none."
        " Extract with them yourself, and give the store"
    )
