"""Load a single network with the weights of a checkpoint of any kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from extractor.models.checkpoints.bundled import RANDOM_WEIGHTS, checkpoint_path
from extractor.models.checkpoints.checkpoint import Checkpoint, read_checkpoint
from extractor.models.checkpoints.inspection import architecture_of
from extractor.models.loading import load_checkpoint, load_model
from extractor.models.msnet import MSNet
from extractor.models.spec import describe_network
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
    path = checkpoint_path(weights, model or BUNDLED_MODEL)
    if str(path) != RANDOM_WEIGHTS:
        return load_read_weights(read_checkpoint(path), path, model, device)
    if model is None:
        raise WeightsError("expected the name of a network for random weights; got none. Give --model")
    network = load_model(model, weights=RANDOM_WEIGHTS, device=device)
    if not isinstance(network, MSNet):
        raise _ensemble(model)
    return _loaded(network, path), network


def load_read_weights(
    checkpoint: Checkpoint, weights: Path, model: str | None, device: str
) -> tuple[LoadedWeights, MSNet]:
    """`load_weights` of a checkpoint that was read from `weights`."""
    name = model or architecture_of(checkpoint)
    if name is None:
        raise WeightsError(f"expected weights of a known network; got {weights}. Name its network with --model")
    if describe_network(name).is_ensemble:
        raise _ensemble(name)
    network = load_checkpoint(checkpoint, name, device=device)
    return _loaded(network, weights), network


def _loaded(network: MSNet, weights: Path) -> LoadedWeights:
    return LoadedWeights(network.spec.name, str(weights), network.spec.weights_sha256, network.notes)


def _ensemble(name: str) -> WeightsError:
    return WeightsError(f"expected a single network; got {name}, an ensemble of two. Evaluate each member")
