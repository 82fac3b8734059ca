"""The maps that determine the ground truth, compared with closed-form answers."""

import math

import pytest
import torch

from training.world.config import Motion
from training.world.draw import Draw, stream_seed
from training.world.looks.atlas import Atlas
from training.world.motion import classify, deform, invert, linear_map, undeform


def test_linear_map_turns_clockwise_on_the_screen():
    matrix = linear_map(torch.tensor(math.pi / 2), torch.tensor(math.log(2.0)), torch.tensor(0.0))
    # x right and y down: a quarter turn clockwise takes "right" to "down".
    assert torch.allclose(matrix @ torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), atol=1e-6)


def test_linear_map_shears_along_x_first():
    matrix = linear_map(torch.tensor(0.0), torch.tensor(0.0), torch.tensor(0.5))
    assert torch.allclose(matrix, torch.tensor([[1.0, 0.5], [0.0, 1.0]]))


def test_invert_undoes_any_map():
    draw = Draw(0)
    matrix = linear_map(draw.uniform((50,), -9, 9), draw.uniform((50,), -1, 1), draw.uniform((50,), -1, 1))
    assert torch.allclose(invert(matrix) @ matrix, torch.eye(2).expand(50, 2, 2), atol=1e-5)


def test_undeform_undoes_deform_even_where_it_is_strong():
    draw = Draw(1)
    x, y, phase = draw.uniform((200,), -90, 90), draw.uniform((200,), -90, 90), draw.uniform((2, 200), 0, 6)
    amplitude, wave = torch.tensor(25.0), torch.tensor(0.3)
    bent = deform(x, y, amplitude, wave, phase)
    assert (bent[0] - x).abs().max() > 20
    back = undeform(*bent, amplitude, wave, phase)
    assert torch.allclose(back[0], x, atol=1e-3)
    assert torch.allclose(back[1], y, atol=1e-3)


@pytest.mark.parametrize(
    ("shift", "change", "name"),
    [
        ((0.0, 0.0), ((1, 0), (0, 1)), Motion.STILL),
        ((3.0, 0.0), ((1, 0), (0, 1)), Motion.EAST),
        ((0.0, 3.0), ((1, 0), (0, 1)), Motion.SOUTH),
        ((-3.0, 0.2), ((1, 0), (0, 1)), Motion.WEST),
        ((2.0, -2.0), ((1, 0), (0, 1)), Motion.NORTH_EAST),
        ((0.1, 0.0), ((1, -0.1), (0.1, 1)), Motion.CLOCKWISE),
        ((0.1, 0.0), ((1, 0.1), (-0.1, 1)), Motion.COUNTERCLOCKWISE),
        ((0.1, 0.0), ((1.1, 0), (0, 1.1)), Motion.GROW),
        ((0.1, 0.0), ((0.9, 0), (0, 0.9)), Motion.SHRINK),
        ((0.1, 0.0), ((1.1, 0), (0, 0.9)), Motion.SHEAR),
    ],
)
def test_classify_names_the_strongest_part(shift, change, name):
    answer = classify(torch.tensor(shift), torch.tensor(change).float(), torch.tensor(0.2), torch.tensor(20.0), 0.4)
    assert Motion(int(answer)) is name


def test_classify_names_a_deformation():
    answer = classify(torch.zeros(2), torch.eye(2), torch.tensor(1.0), torch.tensor(20.0), 0.4)
    assert Motion(int(answer)) is Motion.DEFORM


def test_atlas_repeats_periodic_tiles_without_a_seam():
    tiles = Draw(2).uniform((5, 2, 8, 8))
    atlas = Atlas(tiles, periodic=True)
    texel = torch.tensor([[[-3.0, 0.0, 7.0, 7.5, 17.0]]])
    values = atlas.sample(torch.tensor([3]), texel / 8, torch.full_like(texel, 2.0) / 8)[:, 0, 0]
    row = tiles[3, :, 2]
    expected = torch.stack((row[:, 5], row[:, 0], row[:, 7], (row[:, 7] + row[:, 0]) / 2, row[:, 1]), dim=1)
    assert torch.allclose(values, expected, atol=1e-4)


def test_atlas_continues_other_tiles_by_their_border():
    tiles = Draw(3).uniform((3, 1, 6, 6))
    atlas = Atlas(tiles, periodic=False)
    x = torch.tensor([[[-2.0, 0.0, 0.5, 1.0, 9.0]]])
    values = atlas.sample(torch.tensor([1]), x, torch.zeros_like(x))[0, 0, 0]
    row = tiles[1, 0, 0]
    expected = torch.stack((row[0], row[0], (row[2] + row[3]) / 2, row[5], row[5]))
    assert torch.allclose(values, expected, atol=1e-4)


def test_atlas_refuses_tiles_that_are_not_square():
    with pytest.raises(ValueError, match=r"\(N, C, S, S\); got \(1, 1, 4, 5\)"):
        Atlas(torch.zeros(1, 1, 4, 5), periodic=True)


def test_stream_seed_gives_every_index_its_own():
    seeds = {stream_seed(seed, stream, step) for seed in range(10) for stream in range(3) for step in range(100)}
    assert len(seeds) == 3000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_draw_choice_keeps_proportions_and_never_draws_weight_zero():
    counts = Draw(4).choice((4000,), (0.0, 3.0, 1.0, 0.0)).bincount(minlength=4).tolist()
    assert counts[0] == counts[3] == 0
    assert 0.7 < counts[1] / 4000 < 0.8
