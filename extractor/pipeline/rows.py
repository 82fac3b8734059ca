"""From what a network gives to the rows a store keeps: chosen tensors, pooled motion, the store's number format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from extractor.models.msnet import MSNetOutput
from extractor.models.streaming import StreamOutput
from schemas.config import ExtractionConfig
from schemas.layout import pack_tied
from schemas.tensors import TENSORS

__all__ = ["RowMaker", "Rows", "concatenate_rows", "merge_members"]

Rows = dict[str, npt.NDArray[np.generic]]
"""Rows for the datasets of a shard by their path ("frames/feature"). Those of one group need not be equally many."""


class RowMaker:
    """Turns outputs of a network into `Rows` as a configuration wants them.

    The work is done where the output lies, so that a GPU hands over no more bytes than the store keeps.
    """

    def __init__(self, config: ExtractionConfig) -> None:
        self._outputs = frozenset(config.outputs)
        self._dtype = getattr(torch, config.store_dtype.value)
        self._motion_form = config.motion_form

    def of_clips(self, output: MSNetOutput) -> Mapping[str, Tensor]:
        """Tensors on the network's device, B clips first, for `split_clips`."""
        return self._chosen(output)

    def of_stream(self, output: StreamOutput) -> Rows:
        """Rows of one push of a `DenseStream`."""
        return {path: _to_numpy(path, tensor) for path, tensor in self._chosen(output).items()}

    @staticmethod
    def split_clips(tensors: Mapping[str, Tensor]) -> list[Rows]:
        """Rows of each of the B clips."""
        arrays = {path: _to_numpy(path, tensor) for path, tensor in tensors.items()}
        count = len(next(iter(arrays.values())))
        return [
            {path: array[i : i + 1] if path.startswith("clips/") else array[i] for path, array in arrays.items()}
            for i in range(count)
        ]

    def _chosen(self, output: MSNetOutput | StreamOutput) -> Mapping[str, Tensor]:
        chosen = {}
        for stored in TENSORS.values():
            if stored.attribute is None or stored.output not in self._outputs:
                continue
            tensor: Tensor | None = getattr(output, stored.attribute, None)
            if tensor is None:  # clips have no such tensor, or streams
                continue
            if stored.path == "frames/motion":
                tensor = self._pool(tensor)
            chosen[stored.path] = tensor if tensor.dtype == torch.bool else tensor.to(self._dtype)
        return chosen

    def _pool(self, motion: Tensor) -> Tensor:
        """Motion maps (..., C, h, w) in the form that is kept: (..., C), (..., C, g, g) or as they are."""
        if self._motion_form == "full":
            return motion
        if self._motion_form == "pooled":
            return motion.mean((-2, -1))
        side = int(str(self._motion_form))
        maps = F.adaptive_avg_pool2d(motion.flatten(0, -4), side)
        return maps.reshape(*motion.shape[:-2], side, side)


def merge_members(members: Sequence[Rows]) -> Rows:
    """Rows of one clip from those of an ensemble's members, in their order.

    Clip features stand one after another, logits are averaged (MSNet-En); rows of frames and pairs follow one
    another, and "frames/member" and "pairs/member" say whose they are. A single member's rows stay as they are.
    """
    if len(members) == 1:
        return members[0]
    merged = {
        path: np.concatenate([rows[path] for rows in members], axis=1 if path == "clips/feature" else 0)
        for path in members[0]
    }
    if "clips/logits" in merged:
        logits = merged["clips/logits"]
        merged["clips/logits"] = logits.astype(np.float32).mean(0, keepdims=True).astype(logits.dtype)
    return merged


def concatenate_rows(first: Rows, second: Rows) -> Rows:
    """`second` after `first`, dataset by dataset."""
    return {
        path: np.concatenate([rows[path] for rows in (first, second) if path in rows])
        for path in first.keys() | second.keys()
    }


def _to_numpy(path: str, tensor: Tensor) -> npt.NDArray[np.generic]:
    array = tensor.cpu().numpy()
    return pack_tied(array) if path == "pairs/tied" else array
