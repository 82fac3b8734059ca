"""Fit the standardisation of a head's inputs to the training part."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from gebd.dataset.dataset import GEBDDataset
from gebd.dataset.samples import collate
from gebd.heads.networks.base import Head, Standardise

_MOST_WINDOWS = 1000


def fit_standardisation(head: Head, dataset: GEBDDataset, batch_windows: int) -> None:
    """Set the head's standardisation from valid frames of at most 1,000 windows, spread evenly over the dataset."""
    step = -(-len(dataset) // _MOST_WINDOWS)
    part = Subset(dataset, range(0, len(dataset), step))
    moments = {name: _Moments(head.standard(name)) for name in head.standards}
    own = torch.Generator()  # else the loader draws from the caller's random state
    for batch in DataLoader(part, batch_size=batch_windows, collate_fn=collate, generator=own):
        on_device = {name: rows.to(head.device) for name, rows in batch.tensors.items()}
        with torch.no_grad():
            raw = head.raw_inputs(on_device)
        for name, values in raw.items():
            moments[name].add(values[batch.valid.to(head.device)].flatten(0, -2))
    for one in moments.values():
        one.finish()


class _Moments:
    """Sums of values and of their squares, in float64."""

    def __init__(self, target: Standardise) -> None:
        self._target = target
        self._count = 0
        self._sum = torch.zeros_like(target.mean, dtype=torch.float64)
        self._squares = torch.zeros_like(self._sum)

    def add(self, values: Tensor) -> None:
        """Add values (n, C)."""
        values = values.double()
        self._count += len(values)
        self._sum += values.sum(0)
        self._squares += values.square().sum(0)

    def finish(self) -> None:
        """Set mean and deviation of the layer."""
        mean = self._sum / max(self._count, 1)
        deviation = (self._squares / max(self._count, 1) - mean.square()).clamp_min(0).sqrt()
        self._target.fit(mean.float(), deviation.float())
