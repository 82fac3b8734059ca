"""From a network's outputs to the rows of a store: chosen tensors, pooled motion, the store's number format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from extractor.models.pieces import BatchPlan
from extractor.models.streaming import BatchOutput
from extractor.pipeline.messages import Rows, row_kind
from schemas.config import ExtractionConfig
from schemas.layout import DatasetSpec, pack_tied
from schemas.tensors import TENSORS


class RowMaker:
    """Turns outputs of a network into the `Rows` of a configuration.

    It works on the network's device, so that a GPU transfers no more bytes than the store keeps.
    """

    def __init__(self, config: ExtractionConfig) -> None:
        self._outputs = frozenset(config.outputs)
        self._dtype = getattr(torch, config.store_dtype.value)
        self._motion_form = config.motion_form

    def __call__(self, output: BatchOutput) -> dict[str, Tensor]:
        """Tensors on the network's device, by path; `to_numpy` makes rows of them on the host."""
        chosen = {}
        for stored in TENSORS.values():
            if stored.attribute is None or stored.output not in self._outputs:
                continue
            tensor: Tensor | None = getattr(output, stored.attribute, None)
            if tensor is None:  # not every output has every tensor
                continue
            if stored.path == "frames/motion":
                tensor = self._pool(tensor)
            if tensor.dtype != torch.bool:  # bits are packed on the host
                tensor = tensor.to(getattr(torch, stored.dtype) if stored.dtype else self._dtype)
            chosen[stored.path] = tensor
        return chosen

    def _pool(self, motion: Tensor) -> Tensor:
        """Pool motion maps (n, C, h, w) to the stored form: (n, C), (n, C, g, g) or unchanged."""
        if self._motion_form == "full":
            return motion
        if self._motion_form == "pooled":
            return motion.mean((-2, -1))
        return F.adaptive_avg_pool2d(motion, int(str(self._motion_form)))


def to_numpy(tensors: Mapping[str, Tensor]) -> Rows:
    """Rows of tensors that are on the host."""
    return {path: pack_tied(t.numpy()) if path == "pairs/tied" else t.numpy() for path, t in tensors.items()}


def blank_rows(plan: BatchPlan, datasets: Sequence[DatasetSpec]) -> Rows:
    """Zeros where a network would have written: what the pipeline costs without one."""
    computed = {stored.path for stored in TENSORS.values() if stored.attribute is not None}
    return {
        spec.path: np.zeros((int(getattr(plan, row_kind(spec.path)).sum()), *spec.shape), spec.dtype)
        for spec in datasets
        if spec.path in computed
    }
