"""Losses on held-out videos: among one another, the same each time, those of the losses that are on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from extractor.models.msnet import build_network
from tests.videos import write_video
from training.clips.records import Example
from training.group import Group
from training.tasks.contrast.config import ContrastConfig, LossWeights
from training.tasks.contrast.held_out import _judged, held_out_losses
from training.tasks.contrast.networks import KeyNetwork, Projections


def _unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))), dim=-1)


def test_negatives_are_all_other_videos() -> None:
    queries, keys, videos = _unit(4, 5), _unit(4, 2, 5), torch.tensor([0, 1, 2, 0])
    found = _judged({"query inter_frame": queries, "key inter_frame": keys, "videos": videos, "shuffled": videos}, 0.5)
    losses = []
    for n in range(4):
        others = [keys[m, k] for m in range(4) for k in (0, 1) if videos[m] != videos[n]]
        for k in (0, 1):
            scores = torch.stack([queries[n] @ keys[n, k], *(queries[n] @ other for other in others)]) / 0.5
            losses.append(-float(scores.log_softmax(0)[0]))
    assert found == {"inter_frame": pytest.approx(sum(losses) / 8, rel=1e-5)}


def test_losses_are_the_same_each_time_and_change_no_network(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{n}.mp4", frames=16, size=(48, 48), seed=n) for n in range(3)]
    examples = [Example(path.name, str(path)) for path in paths]
    views = {"size_px": 32, "segment_frames": 2}
    config = ContrastConfig.model_validate({"projection": 8, "views": views, "losses": {"intra_frame": 0}})
    network = build_network("msnet_resnet18", seed=0)
    heads = Projections(config.losses, 512, 8, 3)
    keys, before = KeyNetwork(network, heads), {name: one.clone() for name, one in network.state_dict().items()}
    found = [held_out_losses(network, heads, keys, examples, config, Group(network.device), 0) for _ in range(2)]
    assert found[0] == found[1] and set(found[0]) == {*LossWeights.model_fields} - {"intra_frame"}
    assert network.training and all(torch.equal(one, before[name]) for name, one in network.state_dict().items())
