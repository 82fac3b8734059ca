"""DIS optical flow: its sign and order, the backward flow, and the error without OpenCV."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from schemas.errors import ConfigurationError
from training.evaluation.dis import DisFlow, in_cells, round_trip_px

SHIFTS_PX = ((3, 0), (-2, 4), (0, -3))  # x, y


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    """Four frames (4, 96, 128, 3) through which a smooth random texture moves by SHIFTS_PX."""
    noise = torch.rand(1, 1, 40, 48, generator=torch.Generator().manual_seed(3))
    texture = F.interpolate(noise, scale_factor=4, mode="bicubic").clamp(0, 1)[0, 0]
    x, y, frames = 32, 32, []
    for step_x, step_y in ((0, 0), *SHIFTS_PX):
        x, y = x - step_x, y - step_y  # reading further left moves the texture to the right
        frames.append(texture[y : y + 96, x : x + 128])
    return (torch.stack(frames) * 255).byte().unsqueeze(-1).expand(-1, -1, -1, 3).contiguous()


def test_dis_finds_shifts_forward_and_backward(pixels: Tensor) -> None:
    dis = DisFlow()
    for flow, sign in ((dis.forward(pixels), 1), (dis.backward(pixels), -1)):
        assert flow.shape == (3, 2, 96, 128) and flow.dtype == torch.float32
        inner = flow[..., 16:-16, 16:-16]
        wanted = sign * torch.tensor(SHIFTS_PX).float().view(3, 2, 1, 1)
        assert (inner - wanted).abs().mean() < 0.1


def test_in_cells_is_the_mean_of_a_cell_over_eight() -> None:
    flow = torch.zeros(1, 2, 16, 8)
    flow[0, 0, :8] = 16
    flow[0, 1, 8:, :4] = 8
    assert in_cells(flow).tolist() == [[[[2.0], [0.0]], [[0.0], [0.5]]]]


def test_round_trip_of_inverse_flows_is_zero_except_at_the_border(pixels: Tensor) -> None:
    forward = torch.zeros(1, 2, 12, 20)
    forward[:, 0] = 3
    trip = round_trip_px(forward, -forward)
    assert torch.isinf(trip[..., 17:]).all()
    torch.testing.assert_close(trip[..., :17], torch.zeros(1, 12, 17), atol=1e-5, rtol=0)


def test_round_trip_samples_the_backward_flow_at_the_destination() -> None:
    forward, backward = torch.zeros(1, 2, 12, 20), torch.zeros(1, 2, 12, 20)
    forward[0, :, 5, 4] = torch.tensor([6.0, -2.0])
    backward[0, :, 3, 10] = torch.tensor([-6.0, 5.0])
    assert round_trip_px(forward, backward)[0, 5, 4] == pytest.approx(3, abs=1e-4)
    assert round_trip_px(forward, backward)[0, 3, 10] == pytest.approx(61**0.5, abs=1e-4)


def test_dis_without_opencv_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.evaluation.dis.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'msnet-features\[evaluate\]'"):
        DisFlow()
