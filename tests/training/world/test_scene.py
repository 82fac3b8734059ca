"""The world as a whole: its ground truth agrees with its pixels, and clips are reproducible."""

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import training.world
from training.world import IGNORE, Boundary, Clips, Motion, World, WorldConfig
from training.world.draw import Draw
from training.world.script import Script, write_script

SMALL = WorldConfig(height=64, width=80, textures=16, texture_px=128, shapes=24)
CLEAN = dataclasses.replace(SMALL, nuisances=0.0, boundaries=(0, 1))


@pytest.fixture(scope="module")
def clean_clips() -> Clips:
    return World(CLEAN, seed=1).sample(0, 24)


def look_up(maps: torch.Tensor, displacement: torch.Tensor, mode: str) -> torch.Tensor:
    """maps (N, C, H, W) read where each pixel goes; written with grid_sample, unlike the renderer's own coordinates."""
    height, width = maps.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    grid = torch.stack(
        ((x + displacement[:, 0]) * 2 / (width - 1) - 1, (y + displacement[:, 1]) * 2 / (height - 1) - 1), -1
    )
    return F.grid_sample(maps, grid, mode=mode, padding_mode="border", align_corners=True)


def away_from_edges(owner: torch.Tensor, margin: int = 2) -> torch.Tensor:
    """(N, H, W) bool: no pixel nearby belongs to another layer, so that none is blended with one."""
    maps = owner[:, None].float()
    size = 2 * margin + 1
    high = F.max_pool2d(maps, size, 1, margin)
    return (high == -F.max_pool2d(-maps, size, 1, margin))[:, 0]


def test_world_has_the_documented_shapes_and_ranges(clean_clips):
    clips = clean_clips
    assert clips.frames.shape == (24, 8, 3, 64, 80)
    assert clips.frames.dtype == torch.float32
    assert 0 <= float(clips.frames.min()) < float(clips.frames.max()) <= 1
    assert clips.displacement.shape == (24, 7, 2, 64, 80)
    assert clips.visible.shape == clips.defined.shape == (24, 7, 64, 80)
    assert clips.owner.shape == (24, 8, 64, 80)
    assert clips.boundary.shape == (24, 8)
    assert clips.actor_motion.shape == clips.camera_motion.shape == (24, 7)
    assert not bool((clips.visible & ~clips.defined).any())
    assert bool(torch.isfinite(clips.displacement).all())
    named = {int(motion) for motion in Motion} | {IGNORE}
    assert set(clips.actor_motion.flatten().tolist()) | set(clips.camera_motion.flatten().tolist()) <= named


def test_world_warped_back_is_the_frame_before(clean_clips):
    clips = clean_clips
    first, second = clips.frames[:, :-1].flatten(0, 1), clips.frames[:, 1:].flatten(0, 1)
    displacement = clips.displacement.flatten(0, 1)
    # Edges are blends of two layers, and only the inside of a layer can be read back between pixels.
    inside = away_from_edges(clips.owner[:, :-1].flatten(0, 1))
    landed = look_up(away_from_edges(clips.owner[:, 1:].flatten(0, 1)).float()[:, None], displacement, "bilinear")[:, 0]
    sure = clips.visible.flatten(0, 1) & inside & (landed > 0.999)
    moving = sure & (displacement.norm(dim=1) > 1)
    assert float(sure.float().mean()) > 0.5
    error = (look_up(second, displacement, "bilinear") - first).abs().mean(1)
    still = (second - first).abs().mean(1)
    # What is left is the blur of reading a rough texture between its pixels; a wrong motion leaves far more.
    assert float(error[moving].mean()) < 0.3 * float(still[moving].mean())
    offset = displacement + torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
    wrong = (look_up(second, offset, "bilinear") - first).abs().mean(1)
    assert float(error[sure].mean()) < 0.3 * float(wrong[sure].mean())


def test_world_is_exact_on_smooth_textures(monkeypatch):
    def smooth(count: int, size: int, draw: Draw) -> torch.Tensor:
        line = torch.arange(size) / size * 2 * torch.pi
        return (0.5 + 0.25 * (2 * line)[:, None].sin() + 0.25 * (3 * line).cos()).expand(count, 3, size, size)

    monkeypatch.setattr("training.world.looks.banks.texture_bank", smooth)
    clips = World(CLEAN, seed=2).sample(0, 12)
    displacement = clips.displacement.flatten(0, 1)
    first, second = clips.frames[:, :-1].flatten(0, 1), clips.frames[:, 1:].flatten(0, 1)
    inside = away_from_edges(clips.owner[:, :-1].flatten(0, 1), margin=4)
    landed = look_up(away_from_edges(clips.owner[:, 1:].flatten(0, 1), 4).float()[:, None], displacement, "bilinear")
    sure = clips.visible.flatten(0, 1) & inside & (landed[:, 0] > 0.999)
    error = (look_up(second, displacement, "bilinear") - first).abs().amax(1)
    assert float(sure.float().mean()) > 0.4
    assert float(error[sure].max()) < 0.02
    assert float(error[sure].mean()) < 0.001


def test_world_visible_points_arrive_at_their_own_layer(clean_clips):
    clips = clean_clips
    owner, later = clips.owner[:, :-1].flatten(0, 1), clips.owner[:, 1:].flatten(0, 1)
    displacement = clips.displacement.flatten(0, 1)
    arrived = look_up(later[:, None].float(), displacement, "nearest")[:, 0]
    visible, defined = clips.visible.flatten(0, 1), clips.defined.flatten(0, 1)
    sure = away_from_edges(later, 1)
    sure = look_up(sure.float()[:, None], displacement, "nearest")[:, 0] > 0.5  # a pixel is no finer than an outline
    assert float((arrived == owner)[visible & sure].float().mean()) > 0.9999
    height, width = owner.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    goal_x, goal_y = x + displacement[:, 0], y + displacement[:, 1]
    in_frame = (goal_x >= 0) & (goal_x <= width - 1) & (goal_y >= 0) & (goal_y <= height - 1)
    covered = defined & ~visible & in_frame & sure
    assert int(covered.sum()) > 500
    assert float((arrived > owner)[covered].float().mean()) > 0.995  # limbs can be thinner than a pixel


def test_world_repeats_itself_for_the_same_numbers_only():
    again = World(SMALL, seed=3).sample(5, 3)
    same = World(SMALL, seed=3).sample(5, 3)
    for field in dataclasses.fields(Clips):
        assert torch.equal(getattr(again, field.name), getattr(same, field.name)), field.name
    assert not torch.equal(again.frames, World(SMALL, seed=3).sample(6, 3).frames)
    assert not torch.equal(again.frames, World(SMALL, seed=4).sample(5, 3).frames)


def test_world_batches_are_its_samples_in_order():
    world = World(CLEAN, seed=3)
    batches = world.batches(2, first_step=4)
    assert torch.equal(next(batches).frames, world.sample(4, 2).frames)
    assert torch.equal(next(batches).frames, world.sample(5, 2).frames)


def test_world_renews_its_banks():
    config = dataclasses.replace(CLEAN, bank_lifetime_steps=2, textures=2, shapes=2)
    world = World(config, seed=0)
    first, second = world._banks.at(0)[0], world._banks.at(1)[0]
    assert first is second
    third = world._banks.at(2)[0]
    assert not torch.equal(first._image, third._image)
    assert torch.equal(world._banks.at(1)[0]._image, first._image)


def test_world_variant_keeps_the_banks():
    world = World(CLEAN, seed=0)
    longer = world.variant(num_frames=12, height=32, width=32)
    assert longer.sample(0, 1).frames.shape == (1, 12, 3, 32, 32)
    assert longer._banks is world._banks
    with pytest.raises(ValueError, match="banks"):
        world.variant(textures=3)


def test_world_is_the_same_however_it_is_cut_to_fit_memory(monkeypatch):
    config = dataclasses.replace(CLEAN, height=32, width=32, num_frames=9, boundaries=(1, 2))
    whole = World(config, seed=6).sample(0, 3)
    monkeypatch.setattr(World, "_pixels_at_a_time", lambda self: 2 * 32 * 32)
    pieces = World(config, seed=6).sample(0, 3)
    for field in dataclasses.fields(Clips):
        assert torch.equal(getattr(pieces, field.name), getattr(whole, field.name)), field.name


def test_world_nuisances_change_pixels_but_not_the_truth():
    noisy = World(dataclasses.replace(CLEAN, nuisances=1.0), seed=8).sample(0, 8)
    clean = World(CLEAN, seed=8).sample(0, 8)
    steady = (noisy.displacement == clean.displacement).flatten(1).all(1)  # the others have a shaking camera
    assert int(steady.sum()) >= 4
    assert torch.equal(noisy.visible[steady], clean.visible[steady])
    assert not torch.equal(noisy.frames[steady], clean.frames[steady])
    assert 0 <= float(noisy.frames.min()) < float(noisy.frames.max()) <= 1


def test_world_without_sprites_is_background_alone():
    clips = World(dataclasses.replace(CLEAN, sprites=(0, 0), boundaries=(1, 1)), seed=0).sample(0, 6)
    assert int(clips.owner.max()) == 0
    assert bool((clips.actor_motion == IGNORE).all())
    kinds = {kind for clip in range(6) for _, kind in clips.boundaries(clip)}
    assert kinds <= {Boundary.CAMERA, Boundary.CUT, Boundary.FADE}


def test_world_refuses_senseless_requests():
    with pytest.raises(ValueError, match="step = -1"):
        World(CLEAN, seed=0).sample(-1, 2)
    with pytest.raises(ValueError, match="sprites: expected a range from 1 upward"):
        WorldConfig(sprites=(3, 2))
    with pytest.raises(ValueError, match="num_frames: expected at least 2; got"):
        WorldConfig(num_frames=1)


def test_world_names_no_device_in_its_source():
    for source in Path(training.world.__file__).parent.rglob("*.py"):
        assert "cuda" not in source.read_text(encoding="utf-8"), source.name


def test_world_is_exact_under_a_callers_autocast():
    plain = World(CLEAN, seed=5).sample(0, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = World(CLEAN, seed=5).sample(0, 2)
    assert torch.equal(plain.displacement, cast.displacement)
    assert torch.equal(plain.frames, cast.frames)


@pytest.mark.gpu
def test_world_lives_on_an_accelerator():
    if not (hasattr(torch, "accelerator") and torch.accelerator.is_available()):
        pytest.skip("no accelerator here")
    device = torch.accelerator.current_accelerator()
    clips, again = (World(SMALL, seed=3, device=device).sample(2, 32) for _ in range(2))
    on_cpu = World(SMALL, seed=3).sample(2, 32)
    assert clips.frames.device.type == device.type
    assert torch.equal(clips.frames, again.frames)
    # The script is drawn on the CPU: what happens, and how layers move, does not depend on the device.
    assert torch.equal(clips.boundary.cpu(), on_cpu.boundary)
    background = (clips.owner[:, :-1].cpu() == 0) & (on_cpu.owner[:, :-1] == 0) & on_cpu.defined
    difference = (clips.displacement.cpu() - on_cpu.displacement).abs().amax(2)
    assert float(difference[background].max()) < 1e-3


def written(**changes: object) -> Script:
    config = dataclasses.replace(CLEAN, num_frames=40, boundaries=(2, 4), min_stretch_frames=6, **changes)
    return write_script(config, 64, Draw(9))


def hero_of(value: torch.Tensor, script: Script) -> torch.Tensor:
    index = script.hero.view(*script.hero.shape, 1, *[1] * (value.dim() - 3)).expand(-1, -1, 1, *value.shape[3:])
    return value.gather(2, index)[:, :, 0]


def test_script_is_steady_but_for_its_boundaries():
    script = written(boundary_weights=(1.0, 1.0, 0.0, 0.0, 0.0, 0.0), still_camera=1.0)
    centre, instance = hero_of(script.pose.centre, script), hero_of(script.look.instance, script)
    jolt = (centre[:, 2:] - 2 * centre[:, 1:-1] + centre[:, :-2]).norm(dim=-1)  # at frames 1 to T - 2
    same = (instance[:, 2:] == instance[:, 1:-1]) & (instance[:, 1:-1] == instance[:, :-2])
    event = script.kinds[:, 1:-1] != Boundary.NONE
    assert float(jolt[~event & same].max()) < 1e-3
    assert float(jolt[event & same].min()) > 0.3  # px a frame, in a frame 64 high
    turns = script.kinds[:, 1:-1] == Boundary.DIRECTION
    before, after = centre[:, 1:-1] - centre[:, :-2], centre[:, 2:] - centre[:, 1:-1]
    cosine = F.cosine_similarity(before, after, dim=-1)[turns & same]
    assert int((turns & same).sum()) > 20
    assert float(cosine.max()) < 0.51  # 60 degrees or more


def test_script_changes_the_camera_at_camera_boundaries_only():
    script = written(boundary_weights=(0.0, 0.0, 0.0, 1.0, 0.0, 0.0))
    pose = script.pose
    angle, zoom = pose.angle[:, :, 0], pose.log_zoom[:, :, 0]
    # The background's map from each frame to the next: its centre follows the pan, but turns with the camera too.
    state = torch.stack((angle, zoom), -1)
    jolt = (state[:, 2:] - 2 * state[:, 1:-1] + state[:, :-2]).norm(dim=-1)
    event = script.kinds[:, 1:-1] != Boundary.NONE
    assert float(jolt[~event].max()) < 1e-3
    changed = script.camera_motion[:, 1:] != script.camera_motion[:, :-1]
    assert float(changed[script.kinds[:, 1:-1] == Boundary.CAMERA].float().mean()) > 0.8
    assert float(changed[~event].float().mean()) < 0.02


def test_script_replaces_everything_at_cuts_and_one_thing_at_actor_changes():
    script = written(boundary_weights=(0.0, 0.0, 1.0, 0.0, 1.0, 0.0))
    look = script.look
    changed = (look.instance[:, 1:] != look.instance[:, :-1]) | (look.alive[:, 1:] != look.alive[:, :-1])
    cut, actor = script.kinds[:, 1:] == Boundary.CUT, script.kinds[:, 1:] == Boundary.ACTOR
    assert bool(changed[cut].all())
    assert bool((changed[actor].sum(-1) >= 1).all())
    assert not bool(changed[:, :, 0][~cut].any())  # the background stays
    assert bool((look.alive.sum(-1) >= 2).all())  # and so does a hero
