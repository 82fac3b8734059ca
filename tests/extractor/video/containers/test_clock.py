"""One clock from stamps that form none: pure functions over numbers."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from extractor.video.containers import clock, held_stamps
from extractor.video.containers.clock import continuous_clock, joints, order_in_doubt


def every(step: int, count: int) -> list[bool]:
    return [number % step == 0 for number in range(count)]


def in_file_order(stamps: list[int]) -> list[int]:
    """Stamps in display order, reordered as an encoder writes them: I, then P B B for every three that follow."""
    written = stamps[:1]
    for at in range(1, len(stamps), 3):
        *between, anchor = stamps[at : at + 3]
        written += [anchor, *between]
    return written


def test_worked_examples_are_true() -> None:
    assert doctest.testmod(clock).failed == doctest.testmod(held_stamps).failed == 0


@pytest.mark.parametrize(
    ("stamps", "restarts"),
    [
        ([*range(40), *range(40)], (40,)),
        ([*range(40), *range(35, 75)], (40,)),
        ([*range(40), *range(38, 78)], (40,)),
        ([*range(5000, 5040), *range(40)], (40,)),
        ([*range(40), *range(20), *range(20)], (40, 60)),
        ([*range(40), *range(-10, 30)], (40,)),
    ],
)
def test_continuous_clock_follows_restarts_by_the_step_before(stamps: list[int], restarts: tuple[int, ...]) -> None:
    for keyframes in (every(20, len(stamps)), [True] + [False] * (len(stamps) - 1), [True] * len(stamps)):
        found = continuous_clock([40 * stamp for stamp in stamps], keyframes)
        assert (found.ticks - found.ticks[0]).tolist() == [40 * number for number in range(len(stamps))]
        assert (found.restarts, found.outliers) == (restarts, 0)


def test_continuous_clock_goes_on_at_the_rate_of_each_part() -> None:
    found = continuous_clock([*range(0, 800, 40), *range(0, 400, 20)], every(20, 40))
    assert found.ticks.tolist() == [*range(0, 800, 40), *range(800, 1200, 20)]


@pytest.mark.parametrize("length", [1, 2, 3, 8, 20, 30])
@pytest.mark.parametrize("error", [5000, -5000, 7, -7])
@pytest.mark.parametrize("keyframe_step", [1, 20, 80])
def test_continuous_clock_interpolates_wild_stamps(length: int, error: int, keyframe_step: int) -> None:
    stamps = list(range(80))
    for frame in range(33, 33 + length):
        stamps[frame] += error
    found = continuous_clock(stamps, every(keyframe_step, 80))
    assert found.ticks == pytest.approx(np.arange(80), abs=1e-9)
    assert found.restarts == ()
    assert found.outliers <= length


def test_continuous_clock_extrapolates_at_both_ends() -> None:
    stamps = [900, *range(1, 59), 7]
    found = continuous_clock(stamps, every(20, 60))
    assert found.ticks.tolist() == list(range(60))
    assert found.outliers == 2


@pytest.mark.parametrize("seed", range(5))
def test_continuous_clock_leaves_a_clock_that_rises_as_it_is(seed: int) -> None:
    """Variable rates, pauses and repeated stamps are no fault."""
    random = np.random.default_rng(seed)
    stamps = np.cumsum(random.choice([0, 1, 16, 33, 40, 500, 90_000], 200)).tolist()
    found = continuous_clock(stamps, every(int(random.integers(1, 50)), 200))
    assert found.ticks.tolist() == stamps
    assert (found.restarts, found.outliers) == ((), 0)


def test_continuous_clock_sees_through_a_wrap_that_is_none() -> None:
    """FFmpeg adds 2^33 to the stamps of a second part that begins long before the first one."""
    first, second = list(range(9_000_000, 9_144_000, 3600)), list(range(0, 144_000, 3600))
    stamps = [*first, *(stamp + 2**33 for stamp in second)]
    found = continuous_clock(stamps, every(40, 80), container="mpegts")
    assert np.diff(found.ticks).tolist() == [3600.0] * 79
    assert found.restarts == (40,)
    assert continuous_clock(stamps, every(40, 80), container="matroska").restarts == ()  # a long pause there


def test_continuous_clock_leaves_dropped_frames_their_time() -> None:
    found = continuous_clock([0, 1, 2, 1, 2, 3], every(3, 6), passed=[0, 0, 0, 2, 2, 2])
    assert found.ticks.tolist() == [0, 1, 2, 5, 6, 7]


@pytest.mark.parametrize("seed", range(3))
def test_continuous_clock_of_noise_rises_too(seed: int) -> None:
    stamps = np.random.default_rng(seed).integers(-1000, 1000, 300).tolist()
    assert (np.diff(continuous_clock(stamps, every(10, 300)).ticks) >= 0).all()


@pytest.mark.parametrize(
    "stamps",
    [
        list(range(61)),
        np.cumsum(np.random.default_rng(0).choice([16, 33, 500], 61)).tolist(),
    ],
)
def test_order_in_doubt_trusts_sound_order(stamps: list[int]) -> None:
    keyframes = [True] + [False] * (len(stamps) - 1)
    assert not order_in_doubt(stamps, [None] * len(stamps), keyframes, reorders=False)
    assert not order_in_doubt(in_file_order(stamps), [None] * len(stamps), keyframes, reorders=True)


def test_order_in_doubt_looks_at_a_pause_where_frames_are_reordered() -> None:
    """One displaced stamp leaves the same hole; only the frames tell the two apart."""
    stamps = [*range(30), *range(9000, 9031)]
    keyframes = [True] + [False] * (len(stamps) - 1)
    assert not order_in_doubt(stamps, [None] * len(stamps), keyframes, reorders=False)
    assert order_in_doubt(in_file_order(stamps), [None] * len(stamps), keyframes, reorders=True)


@pytest.mark.parametrize(("frame", "error"), [(30, 3000), (30, -20), (30, 5), (31, 3), (44, -3)])
def test_order_in_doubt_sees_a_stamp_that_is_out_of_place(frame: int, error: int) -> None:
    stamps = list(range(61))
    stamps[frame] += error
    keyframes = [True] + [False] * 60
    assert order_in_doubt(stamps, [None] * 61, keyframes, reorders=False)
    assert order_in_doubt(in_file_order(stamps), [None] * 61, keyframes, reorders=True)


def test_order_in_doubt_sees_decoding_stamps_that_step_back() -> None:
    stamps, keyframes = [0, 2, 1, 4, 3], [True] + [False] * 4
    assert order_in_doubt(stamps, [-2, -1, 0, -1, 2], keyframes, reorders=True)
    assert order_in_doubt(stamps, [-2, -1, 2, 3, 4], keyframes, reorders=True)  # later than it is shown


def test_joints_are_keyframes_of_another_stream() -> None:
    one = in_file_order(list(range(31)))
    keyframes = [True] + [False] * 30
    assert joints([*one, *one], keyframes * 2) == [31]
    assert joints([*one, *(stamp + 31 for stamp in one)], keyframes * 2) == []
