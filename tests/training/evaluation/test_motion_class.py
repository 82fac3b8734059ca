"""Motion classes predicted from features of pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from training.evaluation.motion_class import probe_motion
from training.evaluation.sequences import LabelledSequence
from training.world import IGNORE


def sequence(seed: int) -> LabelledSequence:
    """Features whose change from frame to frame is one of four directions of motion; the camera is still."""
    generator = torch.Generator().manual_seed(seed)
    moved = torch.randint(0, 4, (12,), generator=generator)
    steps = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])[moved]
    place = torch.cat((torch.zeros(1, 2), steps.cumsum(0)))
    actor = moved + 1
    actor[3] = IGNORE
    place = place + 0.02 * torch.randn(13, 2, generator=generator)
    camera = torch.zeros(12, dtype=torch.int64)
    return LabelledSequence({"place": place, "nothing": torch.ones(13, 3)}, (), actor, camera)


FITTING, TEST = [sequence(i) for i in range(12)], [sequence(100 + i) for i in range(8)]


def labels(part: list[LabelledSequence]) -> Tensor:
    known = torch.cat([one.actor_motion for one in part])
    return known[known != IGNORE]


def test_probe_motion_predicts_what_features_show() -> None:
    found = probe_motion(FITTING, TEST, "place", "actor")
    assert found.pairs == 8 * 11
    assert found.accuracy > 0.95
    commonest = labels(FITTING).bincount().argmax()
    assert found.majority == float((labels(TEST) == commonest).double().mean())


def test_probe_motion_on_features_that_say_nothing_is_the_majority() -> None:
    found = probe_motion(FITTING, TEST, "nothing", "actor")
    assert found.accuracy == found.majority < 0.5


def test_probe_motion_of_the_camera_has_its_own_labels() -> None:
    found = probe_motion(FITTING, TEST, "place", "camera")
    assert (found.pairs, found.accuracy, found.majority) == (8 * 12, 1.0, 1.0)
