"""CONTRIBUTING.md, "Where to add", a tensor: an entry and the code that computes it, from options to the reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from extractor.extraction.request import Request
from extractor.extraction.resolving import resolve
from extractor.models.streaming import BatchOutput
from extractor.pipeline.network import load_network
from extractor.store import FeatureStore, Run, commit_shard, new_attempt, write_run
from extractor.video import decode, list_videos
from schemas.config import Sampling
from schemas.errors import ConfigurationError
from schemas.layout import StorePaths
from schemas.tensors import TENSORS, Needs, StoredTensor
from tests.extractor.pipeline.truth import stage
from tests.videos import write_video


def speed(output: BatchOutput) -> torch.Tensor | None:
    """Mean length of a pair's displacement, in cells."""
    return None if output.displacement is None else output.displacement.norm(dim=-3).mean((-2, -1))


@pytest.mark.parametrize("sampling", [Sampling.WINDOWS, Sampling.CLIPS])
def test_tensor_is_added_by_one_entry(sampling: Sampling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = StoredTensor("pairs/speed", lambda net, grid: (), "speed", "speed", needs=Needs.MOTION)
    monkeypatch.setitem(TENSORS, "speed", entry)
    monkeypatch.setattr(BatchOutput, "speed", property(speed), raising=False)

    write_video(tmp_path / "videos" / "a.mp4", frames=20, size=(64, 64), seed=1)
    request = Request(weights="random", size=64, num_frames=4, sampling=sampling)
    resolved = resolve(request)
    assert resolved.config.outputs[-1] == "speed"
    with pytest.raises(ConfigurationError, match=r"clip, frame, motion, .*, speed \(motion and stages also"):
        resolve(Request(weights="random", outputs=("pace",)))

    paths = StorePaths(tmp_path / "store")
    paths.root.mkdir()
    run = write_run(paths, Run(resolved.config, resolved.shape, "gzip", 10**9, "", ""))
    attempt = new_attempt(paths, run, "shard-00000", "token")
    (job,) = list_videos(tmp_path / "videos").jobs
    network = load_network(run.config, resolved.weights, "cpu")
    stage(network, run.config, attempt, ["a.mp4"], decode(job, run.config), batch_frames=8)
    commit_shard(attempt, ["a.mp4"])

    found = FeatureStore(paths.root).video("a.mp4", ["speed", "displacement"])
    assert found["speed"].shape == (len(found["displacement"]),)
    expected = np.linalg.norm(found["displacement"].astype(np.float64), axis=1).mean((-2, -1))
    np.testing.assert_allclose(found["speed"], expected, rtol=2e-3)
