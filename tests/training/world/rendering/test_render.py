"""Rendering of hand-made scenes whose ground truth is known without the code under test."""

import math

import torch

from training.world.draw import Draw
from training.world.layers import Look, Pose
from training.world.looks.atlas import Atlas
from training.world.motion import linear_map
from training.world.rendering.render import Rendered, render

SIZE = 48
BACKGROUND, DISC = 0, 1


def disc_atlas() -> Atlas:
    """One shape, a disc with radius 1, as a signed distance like those of a bank."""
    line = torch.linspace(-1.3, 1.3, 96)
    return Atlas((torch.hypot(line[None], line[:, None]) - 1)[None, None], periodic=False)


def texture_atlas() -> Atlas:
    """Tile 0 rough noise; tile 1 plain white."""
    noise = Draw(0).uniform((1, 3, 64, 64))
    return Atlas(torch.cat((noise, torch.ones_like(noise))), periodic=True)


def make_look(frames: int, radius: tuple[float, ...] = (1.0,), softness: float = 1.0, amplitude: float = 0.0) -> Look:
    """A background of tile 0 and discs of tile 1, one for each further radius, all alive and never replaced."""
    slots = len(radius)
    shape = (1, frames, slots)

    def full(value: float) -> torch.Tensor:
        return torch.full(shape, value)

    return Look(
        alive=torch.ones(shape, dtype=torch.bool),
        instance=torch.zeros(shape, dtype=torch.int64),
        texture=torch.tensor([0] + [1] * (slots - 1)).expand(shape),
        texture_scale=full(1.0),
        texture_shift=torch.zeros(*shape, 2),
        shape=torch.zeros(shape, dtype=torch.int64),
        radius=torch.tensor(radius).expand(shape),
        softness=full(softness),
        gain=torch.ones(*shape, 3),
        bias=torch.zeros(*shape, 3),
        amplitude=full(amplitude),
        wave=full(0.2),
        attached=torch.zeros(shape, dtype=torch.bool),
        depth=full(1.0),
    )


def make_pose(centres: list[list[tuple[float, float]]], angles: list[list[float]] | None = None) -> Pose:
    """centres[t][k]; angles[t][k], 0 unless given."""
    centre = torch.tensor(centres)[None]
    zero = torch.zeros(centre.shape[:-1])
    angle = zero if angles is None else torch.tensor(angles)[None]
    return Pose(centre=centre, angle=angle, log_zoom=zero.clone(), shear=zero.clone(), phase=torch.zeros_like(centre))


def film(look: Look, pose: Pose, frames: int | None = None) -> Rendered:
    linear = linear_map(pose.angle, pose.log_zoom, pose.shear)
    count = pose.centre.shape[1] if frames is None else frames
    return render(look, pose, linear, count, (SIZE, SIZE), texture_atlas(), disc_atlas())


def test_render_of_a_pan_by_whole_pixels_is_the_shifted_picture():
    made = film(make_look(2), make_pose([[(0.0, 0.0)], [(3.0, -2.0)]]))
    first, second = made.frames[0]
    assert torch.allclose(second[:, : SIZE - 2, 3:], first[:, 2:, : SIZE - 3], atol=2e-4)
    assert torch.allclose(made.displacement[0, 0, 0], torch.full((SIZE, SIZE), 3.0), atol=1e-5)
    assert torch.allclose(made.displacement[0, 0, 1], torch.full((SIZE, SIZE), -2.0), atol=1e-5)
    # Three columns leave on the right, two rows at the top.
    expected = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    expected[2:, : SIZE - 3] = True
    assert torch.equal(made.visible[0, 0], expected)
    assert bool(made.defined.all())


def test_render_of_a_quarter_turn_takes_right_to_down():
    centre = (24.0, 20.0)
    made = film(make_look(2), make_pose([[centre], [centre]], angles=[[0.0], [math.pi / 2]]))
    # The point 5 right of the centre goes to 5 below it.
    assert torch.allclose(made.displacement[0, 0, :, 20, 29], torch.tensor([-5.0, 5.0]), atol=1e-4)
    assert torch.allclose(made.frames[0, 1, :, 25, 24], made.frames[0, 0, :, 20, 29], atol=2e-4)


def test_render_of_a_zoom_moves_points_away_from_the_centre():
    pose = make_pose([[(10.0, 10.0)], [(10.0, 10.0)]])
    pose.log_zoom[0, 1] = math.log(1.5)
    made = film(make_look(2), pose)
    assert torch.allclose(made.displacement[0, 0, :, 14, 20], torch.tensor([5.0, 2.0]), atol=1e-4)


def test_render_of_a_wave_that_travels():
    look, pose = make_look(2, amplitude=3.0), make_pose([[(0.0, 0.0)], [(0.0, 0.0)]])
    pose.phase[0, 1, 0] = torch.tensor([0.4, -0.7])
    made = film(look, pose)
    # Solved by hand for the pixel x = 30, y = 12: undo both waves at phase 0, apply them at the new phases.
    v = 12 - 3 * math.sin(0.2 * 30)
    u = 30 - 3 * math.sin(0.2 * v)
    new_x = u + 3 * math.sin(0.2 * v + 0.4)
    new_y = v + 3 * math.sin(0.2 * new_x - 0.7)
    assert torch.allclose(made.displacement[0, 0, :, 12, 30], torch.tensor([new_x - 30, new_y - 12]), atol=1e-4)


def test_render_knows_what_a_moving_disc_covers_and_what_it_was_that_moved():
    look = make_look(2, radius=(1.0, 8.0))
    made = film(look, make_pose([[(0.0, 0.0), (16.0, 24.0)], [(0.0, 0.0), (26.0, 24.0)]]))
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    before, after = torch.hypot(x - 16.0, y - 24.0), torch.hypot(x - 26.0, y - 24.0)
    sure = ((before - 8).abs() > 0.3) & ((after - 8).abs() > 0.3)  # the outline is known to a fraction of a pixel
    disc = before < 8
    assert torch.equal((made.owner[0, 0] == DISC)[sure], disc[sure])
    moved = made.displacement[0, 0, 0]
    assert torch.allclose(moved[disc & sure], torch.tensor(10.0), atol=1e-4)
    assert torch.allclose(moved[~disc & sure], torch.tensor(0.0), atol=1e-5)
    # The disc is seen wherever it goes; of the background, what it comes to cover is lost.
    assert torch.equal(made.visible[0, 0][sure], (disc | (after > 8))[sure])
    assert bool((made.frames[0, 0][:, disc & (before < 7)] == 1).all())


def test_render_hides_the_farther_disc_behind_the_nearer_one():
    look = make_look(2, radius=(1.0, 6.0, 6.0))
    apart, together = [(0.0, 0.0), (12.0, 24.0), (36.0, 24.0)], [(0.0, 0.0), (36.0, 24.0), (36.0, 24.0)]
    made = film(look, make_pose([apart, together]))
    assert not bool(made.visible[0, 0, 22:27, 10:15].any())  # goes behind
    assert bool(made.defined[0, 0, 22:27, 10:15].all())
    assert torch.allclose(made.displacement[0, 0, 0, 24, 12], torch.tensor(24.0), atol=1e-4)
    assert bool(made.visible[0, 0, 22:27, 34:39].all())  # stays in front


def test_render_has_no_displacement_where_things_are_replaced_or_vanish():
    pose = make_pose([[(0.0, 0.0), (16.0, 24.0), (36.0, 24.0)]] * 2)
    look = make_look(2, radius=(1.0, 6.0, 6.0))
    look.instance[0, 1, 1] = 7
    look.alive[0, 1, 2] = False
    made = film(look, pose)
    for column in (16, 36):
        assert made.owner[0, 0, 24, column] > 0
        assert not bool(made.defined[0, 0, 24, column])
        assert not bool(made.visible[0, 0, 24, column])
    assert bool(made.visible[0, 0, 4, 4])
    assert int(made.owner[0, 1, 24, 36]) == BACKGROUND


def test_render_blends_soft_edges_over_their_width():
    made = film(make_look(2, radius=(1.0, 12.0), softness=6.0), make_pose([[(0.0, 0.0), (24.0, 24.0)]] * 2))
    background = film(make_look(2), make_pose([[(0.0, 0.0)]] * 2)).frames[0, 0, :, 24, 24 + 12]
    half = made.frames[0, 0, :, 24, 24 + 12]
    assert torch.allclose(half, (background + 1) / 2, atol=0.02)
    assert torch.allclose(made.frames[0, 0, :, 24, 24 + 8], torch.ones(3), atol=1e-4)


def test_render_in_parts_equals_render_at_once():
    centres = [[(1.5 * t, 0.3 * t), (5.0 + 6 * t, 20.0)] for t in range(5)]
    look, pose = make_look(5, radius=(1.0, 7.0)), make_pose(centres)
    whole = film(look, pose)
    head = film(look.during(slice(0, 3)), pose.during(slice(0, 3)), frames=2)
    tail = film(look.during(slice(2, 5)), pose.during(slice(2, 5)))
    for name in vars(whole):
        parts = torch.cat((getattr(head, name), getattr(tail, name)), dim=1)
        assert torch.equal(parts, getattr(whole, name)), name
