from __future__ import annotations

import numpy as np
import pytest

from extractor.video.sampling import window_ranges
from gebd.dataset.resampling import frame_order, resample, slices
from gebd.dataset.store_videos import join_ranges
from schemas.errors import StoreError


def runs_of(clips):
    """(n, 4) frame and pair rows of clips that are stored one after another."""
    lengths = np.array([len(clip) for clip in clips])
    frames, pairs = np.cumsum([0, *lengths]), np.cumsum([0, *(lengths - 1)])
    return np.stack([frames[:-1], frames[1:], pairs[:-1], pairs[1:]], axis=1)


def stored(clips, damaged=()):
    index = np.concatenate(clips)
    again = np.concatenate([np.diff(clip, prepend=-1) == 0 for clip in clips])
    return index, ~again & ~np.isin(index, list(damaged)), runs_of(clips)


def test_frame_order_of_one_sequence_is_the_sequence():
    index, valid, runs = stored([[3, 6, 9, 12]])
    found = frame_order(index, valid, runs)
    assert found.frame_row.tolist() == [0, 1, 2, 3]
    assert found.pair_row.tolist() == [0, 1, 2, -1]


def test_frame_order_takes_the_row_deepest_in_its_window():
    found = frame_order(*stored([[0, 1, 2, 3, 4, 5], [3, 4, 5, 6, 7, 8]]))
    assert found.frame_row.tolist() == [0, 1, 2, 3, 4, 8, 9, 10, 11]  # frame 4 lies equally deep in both
    assert found.pair_row.tolist()[-1] == -1 and -1 not in found.pair_row.tolist()[:-1]


def test_frame_order_leaves_out_repetitions_and_their_pairs():
    found = frame_order(*stored([[0, 1, 2, 2, 2]]))
    assert found.frame_row.tolist() == [0, 1, 2]
    assert found.pair_row.tolist() == [0, 1, -1]


def test_frame_order_keeps_a_damaged_frame_where_there_is_no_other_row():
    index, valid, runs = stored([[0, 1, 2, 3]], damaged=[2])
    assert frame_order(index, valid, runs).frame_row.tolist() == [0, 1, 2, 3]


def test_frame_order_without_pairs_has_none():
    index, valid, runs = stored([[0, 1], [1, 2]])
    runs[:, 2:] = 0
    assert frame_order(index, valid, runs).pair_row.tolist() == [-1, -1, -1]


def test_frame_order_agrees_with_a_search_over_all_rows():
    rng = np.random.default_rng(0)
    for _ in range(200):
        clips = [
            np.sort(rng.choice(30, size=size, replace=False)).tolist()
            for size in rng.integers(2, 9, rng.integers(1, 6))
        ]
        index, valid, runs = stored(clips)
        found = frame_order(index, valid, runs)
        assert index[found.frame_row].tolist() == sorted(set(index.tolist()))
        place = [(clip, k) for clip, frames in enumerate(clips) for k in range(len(frames))]
        pair_start = runs[:, 2]
        for row, pair in zip(found.frame_row.tolist(), found.pair_row.tolist(), strict=True):
            clip, k = place[row]
            depth = min(k, len(clips[clip]) - 1 - k)
            others = [place[r] for r in np.flatnonzero(index == index[row])]
            assert depth == max(min(j, len(clips[c]) - 1 - j) for c, j in others)
            last = k == len(clips[clip]) - 1
            assert pair == (-1 if last else pair_start[clip] + k)
            if last:
                assert all(j == len(clips[c]) - 1 for c, j in others), "a row with a pair was to be preferred"


def test_resample_at_the_stored_rate_takes_every_frame_at_its_own_time():
    times = np.array([0.0, 0.08, 0.2, 0.28, 0.4, 0.48])  # 10 Hz of a file of 25 frames a second
    found = resample(times, 10.0)
    assert found.position.tolist() == list(range(6))
    np.testing.assert_array_equal(found.time_seconds, times)
    np.testing.assert_allclose(found.instant_seconds, np.arange(6) / 10)
    assert not found.held.any()


def test_resample_at_a_lower_rate_takes_the_nearest():
    found = resample(np.arange(20) / 20, 10.0)
    assert found.position.tolist() == list(range(0, 20, 2))
    assert resample(np.arange(30) / 30, 7.5).position.tolist() == list(range(0, 30, 4))


def test_resample_at_a_higher_rate_holds_frames_and_says_so():
    found = resample(np.arange(5) / 5, 10.0)
    assert found.held.tolist() == [False, True] * 4 + [False]
    assert found.position[found.held].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(found.time_seconds, np.arange(9) / 10)
    assert not found.hole.any()


def test_resample_marks_holes_between_windows_that_lie_apart():
    times = np.concatenate([np.arange(8), np.arange(16, 24)]) / 10
    found = resample(times, 10.0)
    assert np.flatnonzero(found.hole).tolist() == list(range(8, 16))
    assert found.held.tolist() == found.hole.tolist()


def test_resample_takes_none_as_every_stored_frame():
    times = np.array([0.0, 1.3, 1.4, 7.0])
    found = resample(times, None)
    assert found.position.tolist() == [0, 1, 2, 3]
    assert found.instant_seconds.tolist() == found.time_seconds.tolist() == times.tolist()


def test_resample_gives_even_ascending_samples_and_no_frame_twice_as_its_own():
    rng = np.random.default_rng(1)
    for _ in range(300):
        times = np.sort(rng.uniform(-0.05, 4, rng.integers(1, 60)))
        rate = float(rng.choice([1, 5, 10, 12.5, 30]))
        found = resample(times, rate)
        own = ~found.held
        assert (np.diff(found.time_seconds) >= 0).all()
        assert len(set(found.position[own].tolist())) == own.sum()
        np.testing.assert_allclose(np.diff(found.instant_seconds), 1 / rate)
        assert (np.abs(found.time_seconds - found.instant_seconds) <= 0.5 / rate + 1e-5).all()
        distance = np.abs(times[:, None] - found.instant_seconds)
        np.testing.assert_allclose(distance.min(axis=0), distance[found.position, np.arange(len(own))], atol=1e-12)


def test_resample_refuses_times_that_cannot_be():
    with pytest.raises(StoreError, match="to span at most"):
        resample(np.array([0.0, 1e9]), 10.0)


def test_slices_of_the_worked_example():
    start, first, stop = slices(np.arange(10) / 10, 0.1, 0.4, 0.3)
    np.testing.assert_allclose(start, [0, 0.3, 0.6])
    assert (first.tolist(), stop.tolist()) == ([0, 3, 6], [4, 7, 10])


def test_slices_shift_the_last_one_back():
    start, first, stop = slices(np.arange(10) / 10, 0.1, 0.4, None)
    np.testing.assert_allclose(start, [0, 0.4, 0.6])
    assert (stop - first).tolist() == [4, 4, 4] and stop[-1] == 10


@pytest.mark.parametrize("window", [None, 1.0, 5.0])
def test_slices_of_a_video_that_a_window_holds_are_one(window):
    start, first, stop = slices(np.arange(10) / 10, 0.1, window, None)
    assert (start.tolist(), first.tolist(), stop.tolist()) == ([0.0], [0], [10])


def test_slices_hold_every_sample_and_equal_numbers_of_even_ones():
    rng = np.random.default_rng(2)
    for _ in range(300):
        rate = float(rng.choice([3, 5, 10, 12.5, 25]))
        count, size = int(rng.integers(1, 200)), int(rng.integers(1, 40))
        hop = int(rng.integers(1, size + 1))
        _, first, stop = slices(np.arange(count) / rate, 1 / rate, size / rate, hop / rate)
        assert set(np.concatenate([np.arange(a, b) for a, b in zip(first, stop, strict=True)])) == set(range(count))
        assert set((stop - first).tolist()) == {min(size, count)}


def test_slices_of_irregular_times_go_by_time_and_none_is_empty():
    times = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 9.0])
    _, first, stop = slices(times, 0.1, 1.0, 1.0)
    assert list(zip(first.tolist(), stop.tolist(), strict=True)) == [(0, 3), (3, 5), (5, 6)]


@pytest.mark.parametrize(("size", "hop"), [(4, 4), (4, 1), (5, 3), (8, 4)])
def test_windows_of_one_pass_are_joined_to_one_run(size, hop):
    ranges = window_ranges(13, size, hop)
    runs = np.stack([ranges[:, 0], ranges[:, 1], ranges[:, 0], ranges[:, 1] - 1], axis=1)
    assert join_ranges(runs).tolist() == [[0, 13, 0, 12]]
    found = frame_order(np.arange(13), np.ones(13, bool), join_ranges(runs))
    assert found.pair_row.tolist() == [*range(12), -1]


def test_clips_by_themselves_and_windows_with_a_gap_stay_apart():
    runs = runs_of([[0, 1, 2, 3], [2, 3, 4, 5], [8, 9, 10, 11]])
    assert join_ranges(runs).tolist() == runs.tolist()
    runs[:, 2:] = 0  # a store without pairs
    assert join_ranges(runs).tolist() == runs.tolist()
