"""The networks against an independent float64 version, from checkpoints in the reference's format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from extractor import load_model
from schemas.config import Edges
from tests.extractor.models.checkpoint_factory import random_state, save_reference
from tests.extractor.models.reference import read_reference_checkpoint, run_clip

BOUND = 1e-5


def smooth_frames(count: int, height: int, width: int, seed: int) -> torch.Tensor:
    """A moving smooth texture with noise on it, normalised, (T, 3, H, W): neighbouring frames match, few cells tie."""
    generator = torch.Generator().manual_seed(seed)
    canvas = torch.randn(1, 3, height // 4 + 8, width // 4 + 8, generator=generator)
    canvas = torch.nn.functional.interpolate(canvas, scale_factor=4, mode="bicubic")
    frames = torch.stack([canvas[0, :, t : t + height, 2 * t % 32 : 2 * t % 32 + width] for t in range(count)])
    return frames + 0.1 * torch.randn(frames.shape, generator=generator)


def relative(got: torch.Tensor, expected: np.ndarray, keep: np.ndarray | None = None) -> float:
    """Relative error in norm, over the cells of `keep` where given."""
    difference = got.double().numpy() - expected
    if keep is not None:
        difference, expected = difference * keep, expected * keep
    return float(np.linalg.norm(difference) / np.linalg.norm(expected))


def check_parity(
    tmp_path: Path, backbone: str, count: int, size: tuple[int, int], seed: int = 0, edges: Edges | None = None
) -> None:
    path = save_reference(tmp_path / "reference.pth.tar", random_state(backbone, seed=seed))
    frames = smooth_frames(count, *size, seed=seed)
    got = load_model(f"msnet_{backbone}", weights=path, num_segments=count, edges=edges)(frames.unsqueeze(0))
    assert got.displacement is not None
    at_ties = got.displacement[0].double().numpy()
    weights = read_reference_checkpoint(path)
    expected = run_clip(frames.double().numpy(), weights, backbone, at_ties=at_ties, edges=edges or "zeros")

    assert got.logits is not None and got.motion is not None and got.confidence is not None
    assert got.tied is not None and expected.tied is not None
    assert expected.motion is not None and expected.displacement is not None and expected.confidence is not None
    assert relative(got.confidence[0], expected.confidence) < BOUND
    keep = ~(expected.tied | got.tied[0].numpy())
    assert keep.mean() > 0.99, f"{(~keep).sum()} of {keep.size} cells are tied"
    assert relative(got.displacement[0], expected.displacement, keep[:, None]) < BOUND
    resolved_otherwise = abs(at_ties - expected.displacement).max(1) > 1e-2
    assert resolved_otherwise.sum() <= 2, "ties are resolved by the same rule, up to rounding"
    assert relative(got.motion[0], expected.motion) < BOUND
    assert relative(got.frame_features[0], expected.frame_features) < BOUND
    assert relative(got.clip_features[0], expected.clip_features) < BOUND
    assert relative(got.logits[0], expected.logits) < BOUND


@pytest.mark.parametrize(
    ("backbone", "count", "size"),
    [
        ("resnet18", 8, (96, 96)),
        ("resnet18", 16, (64, 72)),
        pytest.param("resnet34", 8, (64, 64), marks=pytest.mark.slow),  # more of the blocks of resnet18
        ("resnet50", 8, (64, 64)),
        pytest.param("resnet101", 8, (48, 64), marks=pytest.mark.slow),  # more of those of resnet50
        ("mobilenetv2", 8, (64, 88)),
        ("mobilenetv2", 16, (64, 64)),
    ],
)
def test_msnet_equals_the_reference(tmp_path: Path, backbone: str, count: int, size: tuple[int, int]) -> None:
    check_parity(tmp_path, backbone, count, size)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenetv2"])
def test_msnet_that_repeats_at_its_edges_equals_the_loops(tmp_path: Path, backbone: str) -> None:
    check_parity(tmp_path, backbone, 6, (64, 64), edges=Edges.REPEAT)


@pytest.mark.slow
@pytest.mark.parametrize("count", [8, 16])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "resnet50", "resnet101", "mobilenetv2"])
def test_msnet_equals_the_reference_at_full_size(tmp_path: Path, backbone: str, count: int) -> None:
    check_parity(tmp_path, backbone, count, (224, 224))
