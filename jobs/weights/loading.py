"""Load a single network with the weights of a checkpoint of any kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from extractor.models.checkpoints.bundled import RANDOM_WEIGHTS, checkpoint_path
from extractor.models.checkpoints.inspection import inspect_checkpoint
from extractor.models.loading import load_model
from extractor.models.msnet import MSNet
from jobs.weights.defaults import BUNDLED_MODEL
from schemas.errors import WeightsError


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """The network and weights that were loaded; `notes` are the remarks from loading."""

    model: str
    weights: str
    sha256: str | None
    notes: tuple[str, ...]


def load_weights(weights: str | Path, model: str | None, device: str) -> tuple[LoadedWeights, MSNet]:
    """Load a network with the weights of a checkpoint; by default, the network that the checkpoint matches.

    `weights` may also be "random", which needs `model`, or "bundled". Raises WeightsError where the checkpoint does not
    load, matches none of our networks, or belongs to an ensemble.
    """
    weights = checkpoint_path(weights, model or BUNDLED_MODEL)
    if model is None and str(weights) == RANDOM_WEIGHTS:
        raise WeightsError("expected the name of a network for random weights; got none. Give --model")
    name = model or inspect_checkpoint(weights).architecture
    if name is None:
        raise WeightsError(f"expected weights of a known network; got {weights}. Name its network with --model")
    network = load_model(name, weights=str(weights), device=device)
    if not isinstance(network, MSNet):
        raise WeightsError(f"expected a single network; got {name}, an ensemble of two. Evaluate each member")
    spec = network.spec
    return LoadedWeights(spec.name, str(weights), spec.weights_sha256, network.notes), network
