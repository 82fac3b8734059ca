"""Videos whose classes differ by motion alone: what moves, what must not tell the class, and the flow of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from benchmarks.motion_classes import flow, videos
from benchmarks.motion_classes.motions import CELL_PX, CLASSES, FRAMES, OPPOSITES, SHIFTS, STEP_FRAMES, draw_trajectory
from benchmarks.motion_classes.probe import judged, probed, sampled_frames
from training.evaluation.dis import DisFlow
from training.world.draw import Draw
from training.world.looks.atlas import Atlas
from training.world.looks.banks import Banks

SMALL = replace(videos.WORLD, textures=6, texture_px=64, shapes=8)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world whose textures are drawn in no time."""
    monkeypatch.setattr(videos, "WORLD", SMALL)


@pytest.fixture(scope="module")
def looks() -> tuple[Atlas, Atlas]:
    return Banks(SMALL, 5, torch.device("cpu")).at(0)


@pytest.mark.parametrize(("one", "other"), OPPOSITES.items())
def test_a_class_and_its_opposite_have_the_same_poses_in_the_opposite_order(one: str, other: str) -> None:
    for seed in range(5):
        first, second = draw_trajectory(one, Draw(seed)), draw_trajectory(other, Draw(seed))
        assert first.reach_speed == second.reach_speed or {one, other} == {"left_then_right", "right_then_left"}
        if one == "left_then_right":  # mirrored, for backwards it is itself
            assert torch.allclose(first.offset_px, -second.offset_px)
            continue
        torch.testing.assert_close(first.offset_px, second.offset_px.flip(0))
        torch.testing.assert_close(first.angle, second.angle.flip(0))
        torch.testing.assert_close(first.log_zoom.sort().values, second.log_zoom.sort().values)


@pytest.mark.parametrize("label", CLASSES)
def test_a_class_changes_what_it_is_named_after_and_nothing_else(label: str) -> None:
    way = draw_trajectory(label, Draw(3))
    changes = {
        name: bool((value - value[0]).abs().max() > 1e-4)
        for name, value in (("shift", way.offset_px), ("spin", way.angle), ("zoom", way.log_zoom))
    }
    wanted = "shift" if label in SHIFTS else "zoom" if label in ("grow", "shrink") else "spin"
    assert changes == {name: name == wanted for name in changes}
    assert way.shifts == (label in SHIFTS)


def test_directions_speeds_and_turns_are_those_of_the_names() -> None:
    for seed in range(20):
        step = {label: draw_trajectory(label, Draw(seed)) for label in CLASSES}
        pairs = {label: way.offset_px.diff(dim=0) for label, way in step.items()}
        assert (pairs["left_slow"][:, 0] < 0).all() and (pairs["right_fast"][:, 0] > 0).all()
        assert (pairs["up"][:, 1] < 0).all() and (pairs["down"][:, 1] > 0).all()
        assert (step["clockwise"].angle.diff() > 0).all() and (step["grow"].log_zoom.diff() > 0).all()
        assert pairs["left_then_right"][0, 0] < 0 < pairs["left_then_right"][-1, 0]
        speeds = {label: float(pair[0].norm()) * STEP_FRAMES / CELL_PX for label, pair in pairs.items()}
        assert 0.49 < speeds["right_slow"] < 1.51 and 2.24 < speeds["left_fast"] < 7.51
        assert speeds["up"] == pytest.approx(step["up"].speed_cells(100.0), rel=1e-3)
    spin = step["clockwise"]
    assert spin.speed_cells(10 * CELL_PX) == pytest.approx(10 * float(spin.angle.diff()[0]) * STEP_FRAMES, rel=1e-3)


def test_the_same_number_gives_the_same_frames_and_a_class_shows_in_no_single_one(
    small: None, looks: tuple[Atlas, Atlas]
) -> None:
    middle = FRAMES // 2
    frames = {label: list(videos.Film(label, 5, 0).frames(*looks)) for label in ("left_fast", "right_fast", "up")}
    again = list(videos.Film("up", 5, 0).frames(*looks))
    assert all(np.array_equal(one, other) for one, other in zip(frames["up"], again, strict=True))
    assert len(again) == FRAMES and again[0].shape == (120, 160, 3) and again[0].dtype == np.uint8
    assert np.array_equal(frames["left_fast"][middle], frames["right_fast"][middle])
    assert np.array_equal(frames["left_fast"][middle], frames["up"][middle])
    assert not np.array_equal(frames["left_fast"][0], frames["right_fast"][0])
    other = list(videos.Film("up", 5, 1).frames(*looks))
    assert not np.array_equal(other[middle], again[middle])


def test_what_moves_as_a_whole_moves_as_the_class_says(small: None, looks: tuple[Atlas, Atlas]) -> None:
    pytest.importorskip("cv2")
    found = 0
    for step in range(12):
        film = videos.Film("left_slow", 5, step)
        if not film._whole:
            continue
        found += 1
        pixels = torch.from_numpy(np.stack(list(film.frames(*looks))[:6]))
        u = -float(DisFlow().forward(pixels)[:, 0].median())
        assert u * STEP_FRAMES / CELL_PX == pytest.approx(film.speed, abs=0.25)
        if found == 2:
            return
    pytest.fail("expected two videos that move as a whole")


def test_things_are_spread_evenly_whatever_the_class(small: None) -> None:
    for label in ("left_fast", "right_fast"):
        poses = [(film := videos.Film(label, 5, step))._poses(film._trajectory) for step in range(40)]
        x = torch.stack([pose.centre[0, :, 1:, 0] for pose in poses]) - 79.5  # (N, T, K)
        for frame in (0, FRAMES - 1):  # the standard error of the mean of 4,000 uniform places is 3 px
            assert abs(float(x[:, frame].mean())) < 30


def test_files_lie_by_class_are_all_keyframes_and_are_kept(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(CLASSES) == sorted(CLASSES)
    monkeypatch.setattr(videos, "CLASSES", ("grow", "left_fast"))
    written = videos.write_videos(tmp_path, train=2, test=1, seed=2)
    places = ["train/grow/000", "train/left_fast/000", "train/grow/001", "train/left_fast/001"]
    assert [video.path for video in written] == [
        f"{place}.mp4" for place in (*places, "test/grow/000", "test/left_fast/000")
    ]
    assert [video.split for video in written] == ["train"] * 4 + ["test"] * 2
    read = videos.read_table(tmp_path)
    assert [video.path for video in read] == [video.path for video in written]
    assert read[3].speed == pytest.approx(written[3].speed, abs=1e-4)
    path = tmp_path / written[5].path
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == FRAMES and all(frame.key_frame for frame in frames)
    assert sampled_frames(path).shape == (8, 112, 112, 3)
    before = path.read_bytes()
    (tmp_path / written[0].path).unlink()
    path.write_bytes(before + b" ")
    videos.write_videos(tmp_path, train=1, test=1, seed=2)
    assert path.read_bytes() == before + b" " and (tmp_path / written[0].path).exists()


def test_flow_survives_its_file_and_times_an_interruption(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(videos, "CLASSES", ("up",))
    table = videos.write_videos(tmp_path / "videos", train=1, test=1)
    flow_of = _slanted()
    times = flow.write_flow(tmp_path / "videos", tmp_path / "flow", table, flow_of)
    assert [taken.pairs for taken in times] == [FRAMES - 1] * 2
    frames = list(flow.native_frames(tmp_path / "flow" / table[0].path))
    assert len(frames) == FRAMES - 1
    found = flow.decoded_flow(frames[0])
    assert np.abs(found[0] - 5).mean() < 0.4 and np.abs(found[1] + 3).mean() < 0.4
    (tmp_path / "flow" / table[1].path).unlink()
    again = flow.write_flow(tmp_path / "videos", tmp_path / "flow", table, flow_of)
    assert again[0].seconds == pytest.approx(times[0].seconds, abs=1e-5)
    read = flow.read_times(tmp_path / "flow")
    assert [taken.path for taken in read] == [video.path for video in table]
    assert flow.milliseconds_a_pair([flow.FlowTime("a", 10, 0.02), flow.FlowTime("b", 10, 0.02)]) == pytest.approx(2)
    assert [video.path for video in videos.read_table(tmp_path / "flow")] == [video.path for video in table]


def _slanted() -> Callable[[torch.Tensor], torch.Tensor]:
    def flow_of(pixels: torch.Tensor) -> torch.Tensor:
        pairs, height, width = len(pixels) - 1, *pixels.shape[1:3]
        return torch.tensor([5.0, -3.0]).view(1, 2, 1, 1).expand(pairs, 2, height, width)

    return flow_of


def test_flow_is_clipped_and_coded_to_a_sixth_of_a_pixel() -> None:
    values = np.stack(np.broadcast_arrays(np.linspace(-30, 30, 61)[:, None], np.linspace(-20, 20, 5)))
    coded = flow.encoded(values.astype(np.float32))
    assert coded.shape == (61, 5, 3) and coded.dtype == np.uint8
    expected = values.clip(-20, 20)
    assert np.abs(flow.decoded_flow(coded) - expected).max() < 0.17
    assert flow.encoded(np.zeros((2, 1, 1), np.float32)).tolist() == [[[128, 128, 0]]]


def test_a_probe_finds_what_features_hold_and_tells_opposites_apart() -> None:
    labels = torch.arange(len(CLASSES)).repeat(8)
    training = torch.arange(len(labels)) < 5 * len(CLASSES)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(labels), 16, generator=generator)
    found = probed("clear", torch.nn.functional.one_hot(labels).float() + 0.01 * noise[:, :12], labels, training)
    assert found.videos == 36 and found.accuracy == found.opposite_accuracy == 1.0
    assert probed("nothing", noise, labels, training).accuracy < 0.4
    logits = torch.zeros(2, len(CLASSES))
    up, down = CLASSES.index("up"), CLASSES.index("down")
    logits[:, 0], logits[:, up] = 9.0, 1.0  # another class wins; between the two, up does
    assert judged("x", logits, torch.tensor([up, down])).opposites == {"down / up": 0.5}
