"""The MS module alone: matching, ties, confidence, precision, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from extractor.models.correlation import NORM_EPSILON
from extractor.models.motion_squeeze import MotionSqueeze, SoftArgmax
from tests.extractor.models.reference import soft_argmax

RADIUS = 7
SIDE = 2 * RADIUS + 1


def scores_with(peaks: dict[tuple[int, int], float], floor: float = 0.0) -> torch.Tensor:
    """Scores (P * P,) of one cell with `peaks` by (dy, dx)."""
    scores = torch.full((SIDE, SIDE), floor)
    for (dy, dx), value in peaks.items():
        scores[dy + RADIUS, dx + RADIUS] = value
    return scores.flatten()


@pytest.mark.parametrize("kind", ["kernel", "plain"])
def test_soft_argmax_equals_a_plain_loop(kind: str) -> None:
    scores = torch.rand(2, 3, SIDE * SIDE, generator=torch.Generator().manual_seed(0))
    displacement, confidence, tied = SoftArgmax(RADIUS, kind)(scores)  # type: ignore[arg-type]
    for cell in np.ndindex(2, 3):
        of_cell = scores[cell].double().numpy().reshape(SIDE, SIDE)
        expected, best, tie = soft_argmax(of_cell, kernel=kind == "kernel")
        torch.testing.assert_close(displacement[cell].double(), torch.from_numpy(expected), atol=1e-5, rtol=1e-5)
        assert confidence[cell].item() == pytest.approx(best) and bool(tied[cell]) == tie


def test_soft_argmax_returns_x_to_the_right_then_y_down() -> None:
    displacement, confidence, tied = SoftArgmax(RADIUS)(scores_with({(-2, 5): 1.0}))
    x, y = displacement.flatten().tolist()
    assert x == pytest.approx(5, abs=0.01) and y == pytest.approx(-2, abs=0.01)
    assert confidence.item() == 1 and not tied.item()


def test_soft_argmax_resolves_flat_scores_to_no_motion() -> None:
    displacement, _, tied = SoftArgmax(RADIUS)(scores_with({}, floor=0.999))
    assert displacement.abs().max() < 1e-4 and tied.item()
    displacement, confidence, tied = SoftArgmax(RADIUS)(scores_with({}))
    assert displacement.abs().max() < 1e-4 and confidence.item() == 0 and tied.item()


def test_soft_argmax_is_stable_under_rounding_on_flat_regions() -> None:
    noise = torch.randn(8, 8, SIDE * SIDE, generator=torch.Generator().manual_seed(0)) * 1e-7
    displacement, _, tied = SoftArgmax(RADIUS)(0.99 + noise)
    assert displacement.abs().max() < 1e-3 and tied.all()


@pytest.mark.parametrize(
    ("peaks", "expected"),  # both by (dy, dx)
    [
        ({(0, 6): 0.9, (3, 3): 0.9}, (3, 3)),  # |p| of 6 against 4.2
        ({(0, -4): 0.9, (-4, 0): 0.9}, (-4, 0)),  # equal |p|: the upper row
        ({(0, 4): 0.9, (0, -4): 0.9}, (0, -4)),  # the same row: the left one
        ({(1, 1): 0.9, (6, 6): 0.9000005}, (1, 1)),  # within 1e-6 of the maximum
        ({(1, 1): 0.9, (6, 6): 0.900002}, (6, 6)),  # beyond it
    ],
)
def test_soft_argmax_resolves_ties_to_the_smallest_then_row_major(
    peaks: dict[tuple[int, int], float], expected: tuple[int, int]
) -> None:
    scores = scores_with(peaks)
    best = int(SoftArgmax(RADIUS)._best(scores, scores.amax(-1, keepdim=True)))
    assert (best // SIDE - RADIUS, best % SIDE - RADIUS) == expected


@pytest.mark.parametrize(
    ("peaks", "tied"),
    [
        ({(0, 0): 0.9, (0, 1): 0.9}, False),  # neighbours are one peak
        ({(0, 0): 0.9, (1, 1): 0.9}, False),
        ({(0, 0): 0.9, (0, 2): 0.9}, True),
        ({(0, 0): 0.9, (2, 1): 0.899995}, True),
        ({(0, 0): 0.9, (2, 1): 0.89998}, False),
    ],
)
def test_soft_argmax_marks_two_peaks_that_are_not_adjacent(peaks: dict[tuple[int, int], float], tied: bool) -> None:
    assert SoftArgmax(RADIUS)(scores_with(peaks))[2].item() is tied


@pytest.mark.parametrize("kind", ["kernel", "plain"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("everywhere", [False, True])
def test_soft_argmax_returns_nan_for_the_cells_whose_scores_are_not_finite(
    kind: str, wrong: float, everywhere: bool
) -> None:
    soft_argmax = SoftArgmax(RADIUS, kind)  # type: ignore[arg-type]
    scores = torch.rand(3, SIDE * SIDE, generator=torch.Generator().manual_seed(0))
    spoilt = scores.clone()
    spoilt[1, slice(None) if everywhere else 17] = wrong
    displacement, confidence, tied = soft_argmax(spoilt)
    assert displacement[1].isnan().all() and not confidence[1].isfinite().any() and not tied[1]
    for got, expected in zip((displacement, confidence, tied), soft_argmax(scores), strict=True):
        assert torch.equal(got[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize("place", [0, 1])
def test_nan_in_a_cell_reaches_all_that_is_computed_from_it(place: int) -> None:
    module = MotionSqueeze(8).eval()
    x = torch.rand(6, 8, 20, 20, generator=torch.Generator().manual_seed(0))
    spoilt = x.clone()
    spoilt[3 + place, 2, 10, 10] = float("nan")  # the second clip's first pair: its first frame, or its second
    with torch.no_grad():
        expected, got = module(x, 3), module(spoilt, 3)
    for name in ("features", "displacement", "confidence", "tied"):
        half = len(getattr(got, name)) // 2
        assert torch.equal(getattr(got, name)[:half], getattr(expected, name)[:half]), "the other clip"
    seen = torch.zeros(20, 20, dtype=torch.bool)
    if place == 0:
        seen[10, 10] = True
    else:
        seen[3:18, 3:18] = True  # every cell whose window holds it
    assert torch.equal(got.displacement[2, 0].isnan(), seen) and torch.equal(got.confidence[2, 0].isnan(), seen)
    assert got.features[3].isnan().any() and not got.tied[2][seen].any()


def test_enlarge_embedding_scales_by_a_power_of_two_and_the_epsilon_by_its_square() -> None:
    module = MotionSqueeze(8)
    norm = module.reduction.norm
    with torch.no_grad():
        norm.weight.fill_(0.9 * 2.0**-12)
        norm.bias.fill_(-(2.0**-13))
    module.enlarge_embedding()
    assert norm.weight.unique().tolist() == pytest.approx([0.9]) and norm.bias.unique().tolist() == [-0.5]
    assert module.norm_epsilon == NORM_EPSILON * 4**12
    module.enlarge_embedding()  # nothing is left to do
    assert norm.bias.unique().tolist() == [-0.5] and module.norm_epsilon == NORM_EPSILON * 4**12


@pytest.mark.parametrize(
    ("weight", "bias", "exponent"),
    [(1.0, 0.0, 0), (50.0, 0.0, 0), (0.6, 0.0, 0), (0.0, 0.0, 0), (1e-9, 0.6, 0), (1e-9, -0.1, 3), (1e-30, 0.0, 24)],
)
def test_enlarge_embedding_goes_by_the_larger_of_scale_and_shift(weight: float, bias: float, exponent: int) -> None:
    module = MotionSqueeze(8)
    with torch.no_grad():
        module.reduction.norm.weight.fill_(weight)
        module.reduction.norm.bias.fill_(bias)
    module.enlarge_embedding()
    assert module.norm_epsilon == NORM_EPSILON * 4.0**exponent
    assert module.reduction.norm.bias.tolist() == pytest.approx([bias * 2**exponent] * 64)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (14, 9), (28, 28)])
@pytest.mark.parametrize("channels", [7, 32])
def test_motion_squeeze_takes_features_of_any_backbone(size: tuple[int, int], channels: int) -> None:
    x = torch.randn(6, channels, *size, generator=torch.Generator().manual_seed(0))
    result = MotionSqueeze(channels).eval()(x, 3)
    assert result.features.shape == x.shape
    assert result.displacement.shape == (4, 2, *size) and result.displacement.abs().max() < RADIUS + 1e-5
    assert result.confidence.shape == (4, 1, *size) and result.tied.shape == (4, *size)
    assert result.confidence.min() >= 0 and result.confidence.max() < 1 + 1e-6


def test_motion_squeeze_finds_a_translation() -> None:
    generator = torch.Generator().manual_seed(0)
    canvas = torch.randn(1, 16, 30, 30, generator=generator).abs()
    x = torch.cat([canvas[:, :, 5:25, 5:25], canvas[:, :, 3:23, 8:28]])  # content moves 3 to the left, 2 down
    result = MotionSqueeze(16).eval()(x, 2)
    inner = result.displacement[0, :, 4:-4, 4:-4]
    assert (inner[0] + 3).abs().median() < 0.2 and (inner[1] - 2).abs().median() < 0.2
    assert result.confidence[0, 0, 4:-4, 4:-4].min() > 0.999


def test_motion_squeeze_repeats_the_last_pair() -> None:
    x = torch.randn(4, 16, 6, 6, generator=torch.Generator().manual_seed(0))
    features = MotionSqueeze(16).eval()(x, 4).features
    torch.testing.assert_close(features[3], features[2])
    assert not torch.allclose(features[1], features[2])


def test_motion_squeeze_keeps_clips_apart() -> None:
    module = MotionSqueeze(16).eval()
    x = torch.randn(6, 16, 6, 6, generator=torch.Generator().manual_seed(0))
    together, alone = module(x, 3), module(x[3:], 3)
    torch.testing.assert_close(together.displacement[2:], alone.displacement)
    torch.testing.assert_close(together.features[3:], alone.features)


def test_motion_squeeze_matches_in_float32_under_autocast() -> None:
    module = MotionSqueeze(16).eval()
    x = torch.randn(4, 16, 6, 6, generator=torch.Generator().manual_seed(0))
    embedded = module.embed(x)
    with torch.autocast("cpu", torch.bfloat16):
        lowered = module.embed(x)
        matched = module.match(embedded[:-1], embedded[1:])
    assert lowered.dtype == torch.float32 and matched[0].dtype == torch.float32
    for got, expected in zip(matched, module.match(embedded[:-1], embedded[1:]), strict=True):
        assert torch.equal(got, expected)


def test_motion_squeeze_leaves_the_precision_settings_as_they_were() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        MotionSqueeze(16).eval()(torch.randn(2, 16, 3, 3), 2)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_motion_squeeze_refuses_frames_that_are_no_clips() -> None:
    module = MotionSqueeze(8)
    with pytest.raises(ValueError, match="5 frames in clips of 2"):
        module(torch.zeros(5, 8, 2, 2), 2)
    with pytest.raises(ValueError, match="at least 2 frames"):
        module(torch.zeros(5, 8, 2, 2), 1)


@pytest.mark.parametrize("kind", ["kernel", "plain"])
def test_motion_squeeze_sends_gradients_to_its_input_and_parameters(kind: str) -> None:
    module = MotionSqueeze(8, soft_argmax=kind)  # type: ignore[arg-type]
    x = torch.randn(6, 8, 7, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    module(x, 3).features.square().sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
