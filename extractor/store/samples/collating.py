"""`pad_collate`: samples of any lengths as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import default_collate

from schemas.errors import UsageError
from schemas.tensors import TENSORS


def pad_collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Collate samples of `FeatureDataset` into one batch; the `collate_fn` of a DataLoader.

    Tensors with rows, like "frame" (T, D), become (B, T, D), padded with zeros to the longest; "lengths" holds the
    number of rows of each (B,), by name, of which a mask is `torch.arange(T) < lengths[:, None]`. All else, such as
    vectors of clips and labels, is collated as a DataLoader does by default.

    Raises UsageError if there is no sample, or samples have different names.
    """
    if not samples:
        raise UsageError("expected at least one sample in a batch; got none. Pass samples")
    names = list(samples[0])
    if any(sample.keys() != samples[0].keys() for sample in samples):
        raise UsageError("expected the same names in all samples of a batch; got different ones. Use one dataset")
    batch: dict[str, Any] = {}
    lengths: dict[str, Tensor] = {}
    for name in names:
        values = [sample[name] for sample in samples]
        if _has_rows(name, values[0]):
            batch[name] = pad_sequence(values, batch_first=True)
            lengths[name] = torch.tensor([len(value) for value in values])
        else:
            batch[name] = default_collate(values)
    return {**batch, "lengths": lengths} if lengths else batch


def _has_rows(name: str, value: Any) -> bool:
    """Whether the first dimension of a value counts rows; that of a clip's vector counts channels."""
    if not isinstance(value, Tensor) or not value.ndim:
        return False
    return value.ndim > 1 or name not in TENSORS or TENSORS[name].level != "clips"
