"""From a network's outputs to the rows of a store: chosen tensors, pooled maps, the store's number format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from extractor.models.pieces import BatchPlan
from extractor.models.streaming import BatchOutput
from extractor.pipeline.messages import Rows, row_kinds
from schemas.config import ExtractionConfig
from schemas.layout import DatasetSpec, pack_tied
from schemas.tensors import STAGES, TENSORS, Grid


class RowMaker:
    """Turns outputs of a network into the `Rows` of a configuration.

    It works on the network's device, so that a GPU transfers no more bytes than the store keeps. stages: those of the
    network's stages that it reads.
    """

    def __init__(self, config: ExtractionConfig) -> None:
        self._stored = [stored for stored in TENSORS.values() if stored.attribute and stored.output in config.outputs]
        self.stages = tuple(stage for stage in STAGES if any(stored.attribute == stage for stored in self._stored))
        self._dtype = getattr(torch, config.store_dtype.value)
        self._motion_grid = _motion_grid(config.motion_form)

    def __call__(self, output: BatchOutput) -> dict[str, Tensor]:
        """Tensors on the network's device, by path; `to_numpy` makes rows of them on the host."""
        chosen = {}
        for stored in self._stored:
            tensor: Tensor | None = getattr(output, str(stored.attribute), None)
            if tensor is None:  # not every output has every tensor
                continue
            tensor = _averaged(tensor, self._motion_grid if stored.path == "frames/motion" else stored.grid)
            if tensor.dtype != torch.bool:  # bits are packed on the host
                tensor = tensor.to(getattr(torch, stored.dtype) if stored.dtype else self._dtype)
            chosen[stored.path] = tensor
        return chosen


def _motion_grid(form: str | None) -> Grid | None:
    """The grid of a `motion_form`, as in `StoredTensor.grid`."""
    if form == "full":
        return None
    return () if form in (None, "pooled") else (int(form), int(form))


def _averaged(maps: Tensor, grid: Grid | None) -> Tensor:
    """Average maps (n, C, h, w) as `StoredTensor.grid` says: (n, C), (n, C, *grid), or as they are."""
    if grid is None:
        return maps
    return F.adaptive_avg_pool2d(maps, (grid[0], grid[1])) if grid else maps.mean((-2, -1))


def to_numpy(tensors: Mapping[str, Tensor]) -> Rows:
    """Rows of tensors that are on the host."""
    return {path: pack_tied(t.numpy()) if path == "pairs/tied" else t.numpy() for path, t in tensors.items()}


def blank_rows(plan: BatchPlan, datasets: Sequence[DatasetSpec]) -> Rows:
    """Zeros where a network would have written: what the pipeline costs without one."""
    computed, kinds = {stored.path for stored in TENSORS.values() if stored.attribute is not None}, row_kinds()
    return {
        spec.path: np.zeros((int(getattr(plan, kinds[spec.path]).sum()), *spec.shape), spec.dtype)
        for spec in datasets
        if spec.path in computed
    }
