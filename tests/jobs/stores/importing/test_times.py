from __future__ import annotations

import numpy as np
import pytest

from jobs.stores.importing.times import (
    Stacks,
    checked_fps,
    checked_stamps,
    stacks_by_times,
    times_by_rate,
    times_of_frames,
    times_of_stacks,
)
from schemas.errors import VideoError


def ends(rows: int, *, stack: int = 64, step: int = 64, fps: float = 25.0) -> np.ndarray:
    return np.array([(k * step + stack) / fps for k in range(rows)])


def test_frames_are_at_their_own_times() -> None:
    times = times_of_frames(np.array([0.0, 0.1, 0.2]), 10.0)
    assert times.time_seconds.tolist() == [0.0, 0.1, 0.2]
    assert times.index.tolist() == [0, 1, 2]
    assert times.end_seconds == pytest.approx(0.3)


def test_stacks_are_at_their_middles() -> None:
    times = times_of_stacks(ends(3, stack=16, step=8), 25.0, Stacks(16, 8), is_given=False)
    np.testing.assert_allclose(times.time_seconds, [8 / 25, 16 / 25, 24 / 25])
    assert times.index.tolist() == [8, 16, 24]
    assert times.end_seconds == pytest.approx(32 / 25)


def test_rates_give_the_same_times_as_stamps() -> None:
    by_rate = times_by_rate(4, 25.0, Stacks(16, 8))
    by_stamps = times_of_stacks(ends(4, stack=16, step=8), 25.0, Stacks(16, 8), is_given=False)
    np.testing.assert_allclose(by_rate.time_seconds, by_stamps.time_seconds)
    assert by_rate.index.tolist() == by_stamps.index.tolist()
    assert by_rate.end_seconds == pytest.approx(by_stamps.end_seconds)


def test_stacks_are_told_by_most_videos() -> None:
    videos = [(ends(5, fps=fps), fps) for fps in (25.0, 29.97, 30.0)]
    assert stacks_by_times(videos) == Stacks(64, 64)
    assert stacks_by_times([*videos, (ends(5, stack=24, step=8), 25.0)]) == Stacks(64, 64)
    assert stacks_by_times([(ends(3, stack=24, step=8), 25.0)]) == Stacks(24, 8)
    assert stacks_by_times([(ends(1), 25.0)]) == Stacks(64, 64)
    assert stacks_by_times([]) is None
    assert stacks_by_times([(np.array([0.0]), 25.0)]) is None


def test_another_first_stack_is_refused_unless_the_user_knows_better() -> None:
    with pytest.raises(VideoError, match=r"expected a first stack of 64 frames; got 24 by its time"):
        times_of_stacks(ends(3, stack=24, step=8), 25.0, Stacks(64, 64), is_given=False)
    late = ends(3) + 10.0
    with pytest.raises(VideoError, match="got 314"):
        times_of_stacks(late, 25.0, Stacks(64, 64), is_given=False)
    assert times_of_stacks(late, 25.0, Stacks(64, 64), is_given=True).time_seconds[0] == pytest.approx(11.28)
    with pytest.raises(VideoError, match="got 64"):
        times_of_stacks(ends(3), 25.0, Stacks(640, 64), is_given=True)


@pytest.mark.parametrize("values", [[], [0.0], [-1.0], [np.nan], [np.inf], [25.0, 25.0], [1e9]])
def test_rates_that_are_none_are_refused(values: list[float]) -> None:
    with pytest.raises(VideoError, match=r"a_fps.npy: expected one frame rate"):
        checked_fps(np.array(values), "a_fps.npy")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.0], "expected 2 times, one a row; got 1"),
        ([1.0, 1.0], "that ascend"),
        ([2.0, 1.0], "that ascend"),
        ([0.0, np.nan], "that ascend"),
        ([0.0, np.inf], "that ascend"),
        ([-1.0, 1.0], "from 0 on"),
        ([0.0, 1e15], "from 0 on"),
    ],
)
def test_times_that_do_not_fit_are_refused(values: list[float], words: str) -> None:
    with pytest.raises(VideoError, match=words):
        checked_stamps(np.array(values), 2, "a_timestamps_ms.npy")
