"""The network of a configuration."""

from __future__ import annotations

import torch

from extractor.models.loading import load_model
from extractor.models.msnet import MSNet, MSNetEnsemble
from extractor.models.spec import describe_network
from schemas.config import ExtractionConfig


def load_network(config: ExtractionConfig, weights: str, device: str) -> MSNet | MSNetEnsemble:
    """Load the network of a configuration onto a device. weights: as `load_model` takes them."""
    return load_model(
        config.model,
        weights=weights,
        num_segments=config.num_frames,
        seed=config.seed or 0,
        dtype=getattr(torch, config.dtype.value),
        device=device,
        edges=config.edges if describe_network(config.model).shifted_blocks else None,
    )
