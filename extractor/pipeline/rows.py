"""From a network's outputs to the rows of a store: chosen tensors, pooled motion, the store's number format."""

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

Rows = dict[str, npt.NDArray[np.generic]]
"""Rows by path of the dataset ("frames/feature"). Datasets of one group may have different numbers of rows."""


class RowMaker:
    """Turns outputs of a network into the `Rows` of a configuration.

    It works on the network's device, so that a GPU transfers no more bytes than the store keeps.
    """

    def __init__(self, config: ExtractionConfig) -> None:
        self._outputs = frozenset(config.outputs)
        self._dtype = getattr(torch, config.store_dtype.value)
        self._motion_form = config.motion_form

    def of_clips(self, output: MSNetOutput) -> Mapping[str, Tensor]:
        """Tensors on the network's device, with B clips along the first axis, for `split_clips`."""
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
            if tensor is None:  # not every output has every tensor
                continue
            if stored.path == "frames/motion":
                tensor = self._pool(tensor)
            chosen[stored.path] = tensor if tensor.dtype == torch.bool else tensor.to(self._dtype)
        return chosen

    def _pool(self, motion: Tensor) -> Tensor:
        """Pool motion maps (..., C, h, w) to the stored form: (..., C), (..., C, g, g) or unchanged."""
        if self._motion_form == "full":
            return motion
        if self._motion_form == "pooled":
            return motion.mean((-2, -1))
        side = int(str(self._motion_form))
        maps = F.adaptive_avg_pool2d(motion.flatten(0, -4), side)
        return maps.reshape(*motion.shape[:-2], side, side)


def merge_members(members: Sequence[Rows], num_frames: Sequence[int]) -> Rows:
    """Merge the rows that the members of a network have for one clip; member m saw `num_frames[m]` frames.

    Clip features stand one after another, and logits are averaged (MSNet-En). Rows of frames and pairs follow one
    another; "frames/member" and "pairs/member" say whose they are. A single member's rows are returned as they are.
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
    numbers = np.arange(len(members), dtype=np.uint8)
    merged["frames/member"] = np.repeat(numbers, num_frames)
    if any(path.startswith("pairs/") for path in merged):
        merged["pairs/member"] = np.repeat(numbers, np.subtract(num_frames, 1))
    return merged


def concatenate_rows(first: Rows, second: Rows) -> Rows:
    """Append the rows of `second` to those of `first`, dataset by dataset."""
    return {
        path: np.concatenate([rows[path] for rows in (first, second) if path in rows])
        for path in first.keys() | second.keys()
    }


def _to_numpy(path: str, tensor: Tensor) -> npt.NDArray[np.generic]:
    array = tensor.cpu().numpy()
    return pack_tied(array) if path == "pairs/tied" else array
