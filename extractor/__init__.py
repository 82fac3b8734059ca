"""MSNet features of one video on one device: network, video, store, pipeline.

The names below are loaded on first use, so that reading a store does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.lazy import import_on_use

if TYPE_CHECKING:
    from extractor.models.loading import load_model, normalize
    from extractor.models.msnet import EnsembleOutput, MSNet, MSNetEnsemble, MSNetOutput, build_network
    from extractor.models.spec import NetworkSpec, describe_network
    from extractor.models.streaming import DenseStream, StreamOutput

__all__ = [
    "DenseStream",
    "EnsembleOutput",
    "MSNet",
    "MSNetEnsemble",
    "MSNetOutput",
    "NetworkSpec",
    "StreamOutput",
    "build_network",
    "describe_network",
    "load_model",
    "normalize",
]

__getattr__, __dir__ = import_on_use(
    __name__,
    {
        "models.loading": ("load_model", "normalize"),
        "models.msnet": ("EnsembleOutput", "MSNet", "MSNetEnsemble", "MSNetOutput", "build_network"),
        "models.spec": ("NetworkSpec", "describe_network"),
        "models.streaming": ("DenseStream", "StreamOutput"),
    },
)
