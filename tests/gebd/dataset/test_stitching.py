from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gebd import GEBDDataset, collate, stitch
from schemas.errors import UsageError
from tests.gebd import stores


@pytest.fixture
def dataset(tmp_path):
    videos = {"a.mp4": stores.regular(6.3), "b.mp4": stores.regular(2.0), "c.mp4": stores.regular(4.0)}
    return GEBDDataset(stores.make(tmp_path / "store", videos), rate_hz=10, window_seconds=2.5, hop_seconds=1.0)


def test_scores_that_depend_on_time_come_back_as_they_were(dataset):
    batches = list(DataLoader(dataset, batch_size=3, collate_fn=collate))
    random.Random(0).shuffle(batches)
    tracks = stitch((batch, torch.sin(batch.time_seconds)) for batch in batches)
    assert {name: len(track.scores) for name, track in tracks.items()} == {"a.mp4": 63, "b.mp4": 20, "c.mp4": 40}
    for track in tracks.values():
        np.testing.assert_allclose(track.time_seconds, np.arange(len(track.scores)) / 10)
        np.testing.assert_allclose(track.scores, np.sin(track.time_seconds))


def test_overlaps_are_averaged(dataset):
    samples = [sample for sample in dataset if sample.video_id == "a.mp4"]
    tracks = stitch((sample, np.full(len(sample.valid), float(k))) for k, sample in enumerate(samples))
    expected = [[] for _ in range(63)]
    for k, sample in enumerate(samples):
        for time in sample.time_seconds:
            expected[round(time * 10)].append(k)
    np.testing.assert_allclose(tracks["a.mp4"].scores, [np.mean(one) for one in expected])


def test_samples_that_are_not_valid_have_no_score(tmp_path):
    store = stores.make(tmp_path / "store", {"a.mp4": stores.regular(1.0, damaged=frozenset({3, 4}))})
    (sample,) = GEBDDataset(store)
    scores = np.where(sample.valid, 0.5, np.nan)
    np.testing.assert_allclose(stitch([(sample, scores)])["a.mp4"].time_seconds, [0, 0.1, 0.2, 0.5, 0.6, 0.7, 0.8, 0.9])


def test_scores_that_do_not_fit_are_refused(dataset):
    with pytest.raises(UsageError, match="of shape"):
        stitch([(dataset[0], np.zeros(3))])
    with pytest.raises(UsageError, match="finite"):
        stitch([(dataset[0], np.full(len(dataset[0].valid), np.nan))])
