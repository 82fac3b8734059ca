"""Sampling against plain loops over the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from extractor.video.sampling import (
    TOLERANCE_SECONDS,
    clip_positions,
    expected_counts,
    item_frames,
    plan_for,
    plan_item,
    segment_positions,
    window_ranges,
)
from schemas.config import ExtractionConfig, Sampling
from schemas.errors import ConfigurationError, FailureClass, VideoError
from schemas.records import Item


def displayed_at(times: list[float], instant: float) -> int | None:
    """Last frame that began by `instant`."""
    shown = None
    for number, begin in enumerate(times):
        if begin <= instant + TOLERANCE_SECONDS:
            shown = number
    return shown


def loop_sample(times: list[float], end: float, item: Item, rate_hz: float) -> list[int]:
    """The documented rule, one instant after the other."""
    start = times[0] if item.start_seconds is None else item.start_seconds
    stop = end if item.end_seconds is None else min(end, item.end_seconds)
    taken: list[int] = []
    step = 0
    while start + step / rate_hz < stop - TOLERANCE_SECONDS:
        shown = displayed_at(times, start + step / rate_hz)
        if shown is not None and shown not in taken:
            taken.append(shown)
        step += 1
    return taken


def random_times(random: np.random.Generator) -> tuple[np.ndarray, float]:
    kind = random.integers(3)
    count = int(random.integers(2, 80))
    if kind == 0:
        times = random.choice([0.0, 1.48, 0.0417]) + np.arange(count) / random.choice([25, 30, 19.62, 30000 / 1001])
    elif kind == 1:
        times = np.cumsum(random.choice([0.04, 0.08, 0.5], count))
    else:
        times = np.sort(random.uniform(0, 5, count))
    return times, float(times[-1] + random.choice([0.04, 0.033, 0.5]))


@pytest.mark.parametrize("seed", range(150))
def test_plan_item_samples_as_a_plain_loop_does(seed: int) -> None:
    random = np.random.default_rng(seed)
    times, end = random_times(random)
    rate = float(random.choice([1, 5, 10, 25, 60]))
    item = Item("a")
    if seed % 2:
        start, stop = np.sort(random.uniform(times[0], end, 2))
        item = Item("a", float(start), float(stop))
    expected = loop_sample(times.tolist(), end, item, rate)
    first, last = item_frames(times, end, item)
    if last <= first:
        with pytest.raises(VideoError, match="two frames"):
            plan_item(times, end, item, sampling=Sampling.DENSE, rate_hz=rate)
        return
    plan = plan_item(times, end, item, sampling=Sampling.DENSE, rate_hz=rate)
    if len(expected) == 1:
        expected.append(last)
    assert plan.index.tolist() == expected
    assert plan.time_seconds.tolist() == times[expected].tolist()
    assert plan.clips is None and plan.ranges.tolist() == [[0, len(expected)]]
    assert plan.num_valid.tolist() == [len(expected)]


def test_plan_item_takes_the_frame_on_display_although_floats_fall_short() -> None:
    times = np.arange(100) / 10 + 0.1 + 0.2  # 0.30000000000000004, ...
    plan = plan_item(times, times[-1] + 0.1, Item("a", 0.3, None), sampling=Sampling.DENSE, rate_hz=10)
    assert plan.index.tolist() == list(range(100))


def test_plan_item_above_the_files_rate_takes_every_frame_once_and_says_so() -> None:
    times = np.arange(20) / 5
    plan = plan_item(times, 4.0, Item("a"), sampling=Sampling.DENSE, rate_hz=10)
    assert plan.index.tolist() == list(range(20))
    assert plan.rate_capped
    assert not plan_item(times, 4.0, Item("a"), sampling=Sampling.DENSE, rate_hz=5).rate_capped


def test_plan_item_adds_the_last_frame_where_the_rate_hits_one() -> None:
    plan = plan_item(np.array([0.0, 0.02]), 0.04, Item("a"), rate_hz=10)
    assert plan.index.tolist() == [0, 1]
    assert plan.ranges.tolist() == [[0, 2]]
    assert plan.num_valid.tolist() == [2]
    alone = plan_item(np.array([0.0, 0.02]), 0.04, Item("a"), rate_hz=10, sampling=Sampling.CLIPS)
    assert alone.clips[0].tolist() == [[0, 1, 1, 1, 1, 1, 1, 1]]
    assert alone.num_valid.tolist() == [2]


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (Item("a"), "one. Leave the video out"),
        (Item("a", 0.0, 0.04), "one between 0.0 and 0.04 s. Leave the item out, or widen the segment"),
        (Item("a", 5.0, 9.0), "none between 5.0 and 9.0 s. Leave the item out, or widen the segment"),
        (Item("a", 0.05, 0.07), "one between 0.05 and 0.07 s. Leave the item out, or widen the segment"),
        (Item("a", None, 0.04), "one between 0.0 and 0.04 s. Leave the item out, or widen the segment"),
    ],
)
def test_plan_item_with_fewer_than_two_frames_is_too_short(item: Item, told: str) -> None:
    times = np.array([0.0]) if item == Item("a") else np.array([0.0, 0.04, 0.08])
    with pytest.raises(VideoError) as caught:
        plan_item(times, float(times[-1]) + 0.04, item)
    assert caught.value.failure is FailureClass.TOO_SHORT
    assert caught.value.message == f"expected at least two frames; got {told}"


def test_plan_item_of_a_segment_begins_with_the_frame_on_display() -> None:
    times = np.arange(100) / 25
    plan = plan_item(times, 4.0, Item("a", 1.01, 2.0), sampling=Sampling.DENSE, rate_hz=25)
    assert plan.index[0] == 25  # began at 1.0 and is on display until 1.04
    assert plan.index[-1] == 49  # the one that begins at 2.0 is out


def test_plan_item_before_the_first_frame_starts_where_something_is_shown() -> None:
    times = 1.0 + np.arange(50) / 25
    plan = plan_item(times, 3.0, Item("a", 0.0, 2.0), sampling=Sampling.DENSE, rate_hz=5)
    assert plan.time_seconds.tolist() == pytest.approx([1.0, 1.2, 1.4, 1.6, 1.8])


def test_plan_item_without_a_rate_takes_every_frame() -> None:
    assert len(plan_item(np.arange(30) / 30, 1.0, Item("a"), sampling=Sampling.DENSE, rate_hz=None).index) == 30


def test_plan_item_of_a_header_that_claims_days_stays_small() -> None:
    plan = plan_item(np.array([0.0, 100_000.0]), 100_001.0, Item("a"), sampling=Sampling.DENSE, rate_hz=100)
    assert plan.index.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("count", "length", "hop"), [(c, t, h) for c in range(2, 40, 3) for t in (2, 8) for h in (1, 5, 8, 11)]
)
def test_window_ranges_cover_the_end_and_nothing_twice(count: int, length: int, hop: int) -> None:
    ranges = window_ranges(count, length, hop)
    rows = clip_positions(ranges, length).tolist()
    if count <= length:
        assert ranges.tolist() == [[0, count]]
        assert rows == [[min(position, count - 1) for position in range(length)]]
        return
    assert (ranges[:, 1] - ranges[:, 0] == length).all()
    starts = []
    start = 0
    while start + length <= count:
        starts.append(start)
        start += hop
    if starts[-1] + length < count:
        starts.append(count - length)
    assert rows == [[begin + offset for offset in range(length)] for begin in starts]
    assert rows[-1][-1] == count - 1


@pytest.mark.parametrize("count", [8, 9, 16, 31, 100, 250])
@pytest.mark.parametrize("length", [2, 8])
def test_segment_positions_with_one_clip_take_the_middle_of_every_part(count: int, length: int) -> None:
    expected = [math.floor(count / length * (part + 0.5)) for part in range(length)]
    assert segment_positions(count, length).tolist() == [expected]


@pytest.mark.parametrize("clips", [2, 3, 10])
def test_segment_positions_with_several_clips_spread_their_phases(clips: int) -> None:
    rows = segment_positions(400, 8, clips)
    assert rows.shape == (clips, 8)
    assert np.all(np.diff(np.sort(rows.T.ravel())) > 0)
    for clip in range(clips):
        assert rows[clip].tolist() == [math.floor(50 * (part + (clip + 0.5) / clips) + 1e-9) for part in range(8)]


def test_segment_positions_of_few_frames_take_each_once_and_repeat_the_last() -> None:
    assert segment_positions(5, 8, 2).tolist() == [[0, 1, 2, 3, 4, 4, 4, 4]] * 2


def test_plan_item_segments_serves_two_members_from_one_set_of_frames() -> None:
    times = np.arange(100) / 25
    plan = plan_item(times, 4.0, Item("a", 1.0, 3.0), sampling=Sampling.SEGMENTS, clips=3, members=(8, 16))
    assert [rows.shape for rows in plan.clips] == [(3, 8), (3, 16)]
    assert np.all(np.diff(plan.index) > 0)
    for rows, length in zip(plan.clips, (8, 16), strict=True):
        assert plan.index[rows].tolist() == (segment_positions(50, length, 3) + 25).tolist()
    assert plan.num_valid.tolist() == [16, 16, 16]


def test_plan_item_of_unequal_members_refuses_windows() -> None:
    with pytest.raises(ConfigurationError, match=r"got windows\. Use segments"):
        plan_item(np.arange(100) / 25, 4.0, Item("a"), members=(8, 16))


def test_plan_for_takes_the_options_of_a_configuration() -> None:
    config = ExtractionConfig(model="m", weights="random", seed=0, num_frames=4, rate_hz=5, hop=2)
    plan = plan_for(np.arange(50) / 25, 2.0, Item("a"), config)
    assert plan.index.tolist() == list(range(0, 50, 5))
    assert plan.ranges.tolist() == [[0, 4], [2, 6], [4, 8], [6, 10]]
    assert plan.num_valid.tolist() == [4] * 4
    alone = plan_for(np.arange(50) / 25, 2.0, Item("a"), ExtractionConfig(**{**dict(config), "sampling": "clips"}))
    assert alone.clips[0].tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]


@pytest.mark.parametrize("seed", range(60))
def test_expected_counts_are_those_of_the_plan(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, rate = int(random.integers(2, 400)), float(random.choice([5, 25, 29.97]))
    fields = [
        {"sampling": "windows", "rate_hz": random.choice([None, 10.0]), "hop": random.choice([None, 1, 3, 20])},
        {"sampling": "clips", "rate_hz": 4.0},
        {"sampling": "segments", "clips": 3},
        {"sampling": "dense", "num_frames": None},
    ][seed % 4]
    config = ExtractionConfig(**({"model": "msnet_resnet18", "weights": "random", "seed": 0} | fields))  # type: ignore[arg-type]
    plan = plan_for(np.arange(count) / rate, count / rate, Item("x"), config)
    frames, clips = expected_counts(count, count / rate, config, [config.num_frames or 8])
    assert abs(frames - len(plan.index)) <= 1
    assert abs(clips - len(plan.num_valid)) <= 1
