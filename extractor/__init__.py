"""MSNet features of one video on one device: network, video, store, pipeline.

The names below are loaded on first use, so that reading a store does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "DenseStream": "extractor.models.streaming",
    "EnsembleOutput": "extractor.models.msnet",
    "MSNet": "extractor.models.msnet",
    "MSNetEnsemble": "extractor.models.msnet",
    "MSNetOutput": "extractor.models.msnet",
    "NetworkSpec": "extractor.models.spec",
    "StreamOutput": "extractor.models.streaming",
    "build_network": "extractor.models.msnet",
    "describe_network": "extractor.models.spec",
    "load_model": "extractor.models.loading",
    "normalize": "extractor.models.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
