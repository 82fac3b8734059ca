"""The network that a training starts from, and where its weights come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from extractor.models.checkpoints.checkpoint import Checkpoint, read_checkpoint, without_classifier
from extractor.models.checkpoints.fitting import restore
from extractor.models.msnet import MSNet, build_network
from extractor.models.spec import NetworkSpec, describe_network
from schemas.errors import ConfigurationError
from training.config import TrainingConfig


@dataclass(frozen=True)
class Start:
    """A network to train. origin: the weights it has; for our own checkpoints with their recipe, back to the first."""

    network: MSNet
    origin: str | dict[str, Any]


def first_network(config: TrainingConfig, weights: Path | None, classes: Sequence[str] | None = None) -> Start:
    """The network of a configuration with random weights, or with those of a checkpoint.

    classes: of the classifier; None for that of the weights, if any, and () for none. That of a checkpoint stays if it
    has these classes: by name in our own files, by number in others'. Otherwise the network gets a new one, and `notes`
    says so. Raises WeightsError.
    """
    spec = describe_network(config.model, num_segments=config.num_segments)
    if weights is None:
        spec = replace(spec, edges=config.edges or spec.edges, num_classes=len(classes) if classes else None)
        return Start(build_network(spec, seed=config.seed), "random weights")
    checkpoint = read_checkpoint(weights)
    network = _restored(spec, checkpoint, config, classes)
    return Start(network, _origin(checkpoint))


def grafted_network(config: TrainingConfig, weights: Path | None) -> Start:
    """The backbone of a checkpoint as it is, with its classifier, under an MS module.

    A module that the checkpoint has stays; otherwise a new one starts with motion features of 0, so that all features
    are the backbone's own. A backbone whose file marks no block as shifted gets no temporal shift. Raises
    ConfigurationError without a checkpoint or for a network without an MS module, and WeightsError.
    """
    spec = describe_network(config.model, num_segments=config.num_segments)
    if not spec.has_motion or weights is None:
        got = "no weights" if weights is None else config.model
        advice = "Give --weights" if weights is None else f"Use --model msnet_{spec.backbone}"
        raise ConfigurationError(
            f"expected the weights of a backbone and a network with an MS module to graft on it; got {got}. {advice}"
        )
    checkpoint = read_checkpoint(weights)
    if not checkpoint.has_motion and checkpoint.shifted_blocks is None:
        spec = replace(spec, shifted_blocks=())
    network = restore(spec, checkpoint, seed=config.seed, edges=config.edges)
    network.notes = ()
    if not checkpoint.has_motion:
        assert network.motion_squeeze is not None
        network.motion_squeeze.start_at_zero()
    return Start(network, _origin(checkpoint))


def _restored(
    spec: NetworkSpec, checkpoint: Checkpoint, config: TrainingConfig, classes: Sequence[str] | None
) -> MSNet:
    keeps_classifier = classes is None or _has_classes(checkpoint, classes)
    kept = checkpoint if keeps_classifier else without_classifier(checkpoint)
    network = restore(spec, kept, seed=config.seed, edges=config.edges)
    network.notes = ()  # they are about weights that training changes
    if not classes or keeps_classifier:
        return network
    network.classifier = _new_classifier(network.spec.feature_dim, len(classes), config.seed)
    network.spec = replace(network.spec, num_classes=len(classes))
    if checkpoint.num_classes is not None:
        note = f"the classifier of {checkpoint.path.name} ({checkpoint.num_classes} classes) is replaced by a new one"
        network.notes = (*network.notes, note)
    return network


def _has_classes(checkpoint: Checkpoint, classes: Sequence[str]) -> bool:
    """Whether a checkpoint's classifier tells these classes apart."""
    if checkpoint.num_classes != len(classes) or checkpoint.kind == "imagenet":
        return False
    named = class_names(checkpoint)
    return named is None or named == tuple(classes)


def class_names(checkpoint: Checkpoint) -> tuple[str, ...] | None:
    """The classes that one of our own files names; None where it names none."""
    named = recipe_of(checkpoint).get("classes")
    if not isinstance(named, list) or len(named) != checkpoint.num_classes:
        return None
    return tuple(map(str, named))


def _new_classifier(width: int, classes: int, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = nn.Linear(width, classes)
        nn.init.normal_(classifier.weight, 0, 0.001)  # as the reference
        nn.init.zeros_(classifier.bias)
    return classifier


def _origin(checkpoint: Checkpoint) -> dict[str, Any]:
    found: dict[str, Any] = {"file": checkpoint.path.name, "kind": checkpoint.kind, "sha256": checkpoint.sha256}
    if checkpoint.kind == "msnet":
        found["recipe"] = recipe_of(checkpoint)
    return found


def recipe_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """How one of our own files was trained; empty where it does not say."""
    with suppress(ValueError, RecursionError):
        recipe = json.loads(checkpoint.metadata.get("recipe", "{}"))
        if isinstance(recipe, dict):
            return recipe
    return {}


def require_same_origin(given: str | dict[str, Any], first: str | dict[str, Any], root: Path) -> None:
    """Raise ConfigurationError if weights are given that a training to resume did not begin with: it has its own."""
    if isinstance(given, dict) and (not isinstance(first, dict) or given["sha256"] != first["sha256"]):
        began = first["file"] if isinstance(first, dict) else first
        raise ConfigurationError(
            f"expected the weights that {root} began with ({began}); got other ones in {given['file']}. Leave --weights"
            " out to continue, or choose another folder"
        )
