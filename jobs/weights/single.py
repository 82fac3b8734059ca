"""A single network with the weights that are to be judged, whatever kind of checkpoint they are in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from extractor.models.checkpoints.bundled import checkpoint_path
from extractor.models.checkpoints.inspection import inspect_checkpoint
from extractor.models.loading import RANDOM_WEIGHTS, load_model
from extractor.models.msnet import MSNet
from schemas.errors import WeightsError

__all__ = ["TWIN_WEIGHTS", "EvaluatedWeights", "load_weights"]

TWIN_WEIGHTS = Path("weights/tsn_resnet18.safetensors")
"""Where a checkout of this repository has the TSN that was trained as the bundled MSNet was."""

BUNDLED_MODEL = "msnet_resnet18"


@dataclass(frozen=True, slots=True)
class EvaluatedWeights:
    """Which network with which weights; `notes` is what loading said of them."""

    model: str
    weights: str
    sha256: str | None
    notes: tuple[str, ...]


def load_weights(weights: str | Path, model: str | None, device: str) -> tuple[EvaluatedWeights, MSNet]:
    """One network with the weights of a checkpoint, of the name that it looks like unless given.

    `weights` may be "random", which needs a name, or "bundled". WeightsError where it does not load, looks like none
    of ours, or is an ensemble.
    """
    weights = checkpoint_path(weights, model or BUNDLED_MODEL)
    if model is None and str(weights) == RANDOM_WEIGHTS:
        raise WeightsError("random weights need the name of a network: give --model")
    name = model or inspect_checkpoint(weights).architecture
    if name is None:
        raise WeightsError(f"{weights} looks like no network of the family: name one with --model")
    network = load_model(name, weights=str(weights), device=device)
    if not isinstance(network, MSNet):
        raise WeightsError(f"one network was expected, {name} is two: evaluate each of its members")
    spec = network.spec
    return EvaluatedWeights(spec.name, str(weights), spec.weights_sha256, network.notes), network
