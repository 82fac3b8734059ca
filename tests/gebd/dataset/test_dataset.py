from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from extractor.store.samples.blocks import BlockIndex
from gebd import GEBDDataset, ShardSampler, collate
from schemas.errors import StoreError, UsageError
from tests.gebd import stores

ALL = ("frame", "motion", "displacement", "confidence")


def annotation(*raters, seconds=4.0, **changes):
    return {"duration_seconds": seconds, "boundaries_seconds": [list(rater) for rater in raters]} | changes


def frames_of(sample):
    """Number of the stored frame of every sample, as the features tell."""
    return sample.features[:, 0].astype(int).tolist()


@pytest.fixture
def dense(tmp_path):
    videos = {"a.mp4": stores.regular(4.0), "b/c.mp4": stores.regular(2.5, start=7.0)}
    return stores.make(tmp_path / "store", videos)


def test_whole_videos_as_stored(dense):
    dataset = GEBDDataset(dense, tensors=ALL)
    assert len(dataset) == 2 and dataset.video_ids == ("a.mp4", "b/c.mp4") and dataset.num_channels == 6
    for sample, count in zip(dataset, (40, 25), strict=True):
        frames = np.arange(count)
        assert sample.features.dtype == np.float16 and sample.features.shape == (count, 6)
        assert frames_of(sample) == frames.tolist()
        assert (sample.features[:, 4] - 100).tolist() == frames.tolist()  # motion stands beside the frame's feature
        np.testing.assert_allclose(sample.time_seconds, frames / 10, atol=1e-12)  # whenever the container's clock began
        assert sample.displacement.shape == (count, 2, *stores.CELLS)
        assert sample.confidence.shape == (count, 1, *stores.CELLS)
        pairs = [*range(count - 1), count - 2]  # the last frame has none, and repeats
        assert sample.displacement[:, 0, 0, 0].tolist() == pairs
        assert (sample.confidence[:, 0, 1, 2] - 1000).tolist() == pairs
        assert sample.pair_valid.tolist() == [True] * (count - 1) + [False]
        assert sample.valid.all() and sample.target_hard is None and sample.rater_times is None
        assert (sample.fps, sample.duration_seconds, sample.slice_start_seconds) == (30.0, count / 10, 0.0)


def test_samples_at_another_rate(dense):
    sample = GEBDDataset(dense, rate_hz=5)[0]
    assert frames_of(sample) == list(range(0, 40, 2))
    sample = GEBDDataset(dense, rate_hz=20, tensors=ALL)[0]
    assert frames_of(sample)[:6] == [0, 0, 1, 1, 2, 2] or frames_of(sample)[:5] == [0, 0, 1, 1, 2]
    np.testing.assert_allclose(np.diff(sample.time_seconds), 0.05)
    assert sample.pair_valid.tolist()[:4] == [True, False, True, False]


def test_slices_cover_a_video_and_know_where_they_begin(dense):
    dataset = GEBDDataset(dense, rate_hz=10, window_seconds=1.5, hop_seconds=1.0)
    starts = [(sample.video_id, round(sample.slice_start_seconds, 6)) for sample in dataset]
    assert starts == [("a.mp4", s) for s in (0.0, 1.0, 2.0, 2.5)] + [("b/c.mp4", s) for s in (0.0, 1.0)]
    for sample in dataset:
        first = round(sample.slice_start_seconds * 10)
        assert frames_of(sample) == list(range(first, first + 15))


@pytest.mark.parametrize(("size", "hop"), [(8, 8), (8, 4), (6, 1), (64, 64)])
def test_windows_of_a_store_become_one_sequence(tmp_path, size, hop):
    made = stores.windows(stores.regular(4.0), size, hop)
    store = stores.make(tmp_path / "store", {"a.mp4": made}, sampling="windows", num_frames=size, hop=hop)
    (sample,) = GEBDDataset(store, rate_hz=10, tensors=ALL)
    assert frames_of(sample) == list(range(40)) and sample.valid.all()
    for k in range(40):
        clip = int(sample.features[k, 1])
        assert k in made.clips[clip]
        if sample.pair_valid[k]:  # the pair is of the same clip
            assert sample.displacement[k, :, 0, 0].tolist() == [k, clip]
            assert k + 1 in made.clips[clip]
        else:  # only where every clip that holds the frame ends with it
            assert all(made.clips[c].index(k) in (size - 1, len(set(made.clips[c])) - 1) for c in holding(made, k))
            assert sample.displacement[k, 0, 0, 0] == k - 1


def holding(made, frame):
    return [c for c, clip in enumerate(made.clips) if frame in clip]


def test_windows_with_holes_between_are_not_valid_there(tmp_path):
    made = stores.regular(4.0)
    clips = [list(range(start, start + 8)) for start in (0, 16, 32)]
    made = stores.Made(made.times, clips, end=4.0)
    store = stores.make(tmp_path / "store", {"a.mp4": made}, sampling="windows", num_frames=8, hop=16)
    (sample,) = GEBDDataset(store, {"a": annotation([1.2, 2.0])}, rate_hz=10)
    assert np.flatnonzero(~sample.valid).tolist() == [*range(8, 16), *range(24, 32)]
    report = GEBDDataset(store, {"a": annotation([1.2, 2.0])}, rate_hz=10).join.annotations
    assert (report.boundaries, report.unrepresented) == (2, 1)


def test_segments_have_irregular_times(tmp_path):
    made = stores.regular(4.0)
    clips = [[0, 5, 20, 30], [2, 7, 21, 31]]
    store = stores.make(
        tmp_path / "store", {"a.mp4": stores.Made(made.times, clips)}, sampling="segments", num_frames=4, clips=2
    )
    with pytest.warns(UserWarning, match="below 5"):
        (sample,) = GEBDDataset(store, tensors=ALL)
    assert frames_of(sample) == [0, 2, 5, 7, 20, 21, 30, 31]
    assert sample.displacement[:, 0, 0, 0].tolist() == [0, 2, 5, 7, 20, 21, 21, 21]
    with pytest.warns(UserWarning, match="below 5"):
        sliced = GEBDDataset(store, window_seconds=1.0)
    assert [frames_of(sample) for sample in sliced] == [[0, 2, 5, 7], [20, 21], [30, 31]]


def test_ensembles_need_a_member(tmp_path):
    made = stores.regular(2.0)
    clips = [[[0, 5, 10, 15], [0, 2, 4, 6, 8, 10]], [[1, 6, 11, 16], [1, 3, 5, 7, 9, 11]]]
    store = stores.make(
        tmp_path / "store", {"a.mp4": stores.Made(made.times, clips)}, sampling="segments", members=2, clips=2
    )
    for wrong in (None, 2, -1):
        with pytest.raises(UsageError, match="2 networks: expected a member from 0 to 1"):
            GEBDDataset(store, member=wrong)
    for member, frames in ((0, [0, 1, 5, 6, 10, 11, 15, 16]), (1, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])):
        with pytest.warns(UserWarning) if member == 0 else np.errstate():
            (sample,) = GEBDDataset(store, tensors=ALL, member=member)
        assert frames_of(sample) == frames
        assert set(sample.features[:, 2].tolist()) == {member}
        own = sample.pair_valid
        assert (
            sample.displacement[own, 0, 0, 0].tolist() == np.array(frames)[own].tolist() and own.sum() == len(own) - 2
        )
        assert sample.displacement[own, 1, 0, 0].tolist() == sample.features[own, 1].tolist()  # of the same clip


def test_damaged_frames_are_not_valid(tmp_path):
    store = stores.make(tmp_path / "store", {"a.mp4": stores.regular(1.0, damaged=frozenset({3, 7}))})
    (sample,) = GEBDDataset(store)
    assert np.flatnonzero(~sample.valid).tolist() == [3, 7] and frames_of(sample) == list(range(10))


def test_motion_on_a_grid_is_averaged(tmp_path):
    store = stores.make(tmp_path / "store", {"a.mp4": stores.regular(1.0)}, motion_form="2")
    (sample,) = GEBDDataset(store, tensors=("motion",))
    assert sample.features.shape == (10, 2) and (sample.features[:, 0] - 100).tolist() == list(range(10))


MAPS = {"stage3": (5,), "stage2_2x2": (3, 2, 2), "motion_2x2": (2, 2, 2), "stage4": (4,)}


def map_values(frames, shape):
    """What `stores` writes into rows of maps."""
    row = 64 * np.arange(shape[0])
    if len(shape) > 1:
        row = row[:, None, None] + 16 * np.arange(4).reshape(2, 2)
    return np.array(frames).reshape(-1, *[1] * len(shape)) + row


@pytest.mark.parametrize("cache_bytes", [64 * 1024 * 1024, 20_000])
def test_tensors_stand_side_by_side(cache_bytes, tmp_path):
    names = ("stage3", "frame", "motion", "stage2_2x2", "displacement", "motion_2x2", "stage4")
    videos = {"a.mp4": stores.regular(4.0), "b.mp4": stores.regular(2.5, start=7.0)}
    store = stores.make(tmp_path / "store", videos, outputs=(*names, "confidence", "clip"))
    dataset = GEBDDataset(store, None, 5, 1.0, 0.6, tensors=names, cache_bytes=cache_bytes)
    assert dataset.num_channels == 6  # of frame and motion
    for index in range(len(dataset)):
        alone, of_block = dataset[index], dataset[BlockIndex(index)]
        assert tuple(alone.tensors) == names
        frames = alone.tensors["frame"][:, 0].astype(int)
        assert frames.tolist() == np.round((alone.time_seconds) * 10).astype(int).tolist()
        for name in names:
            assert alone.tensors[name].dtype == np.float16
            np.testing.assert_array_equal(alone.tensors[name], of_block.tensors[name])
        for name, shape in MAPS.items():
            np.testing.assert_array_equal(alone.tensors[name], map_values(frames, shape))
    loader = DataLoader(dataset, 3, sampler=ShardSampler(dataset, False), collate_fn=collate, num_workers=1)
    found = next(iter(loader))
    assert {name: found.tensors[name].shape[2:] for name in MAPS} == MAPS
    for name, rows in found.tensors.items():
        assert rows.dtype == torch.float32
        np.testing.assert_array_equal(rows[0], dataset[0].tensors[name].astype(np.float32))


def test_maps_need_no_features(tmp_path):
    store = stores.make(
        tmp_path / "store", {"a.mp4": stores.regular(1.0)}, outputs=("stage3", "displacement", "confidence")
    )
    dataset = GEBDDataset(store, tensors=("displacement", "stage3"))
    assert dataset.num_channels == 0 and dataset[0].pair_valid.sum() == 9
    np.testing.assert_array_equal(dataset[0].tensors["stage3"], map_values(range(10), (5,)))
    with pytest.raises(UsageError, match="expected frame or motion among the tensors; got displacement, stage3"):
        _ = dataset[0].features


def test_labels_of_slices_are_those_of_the_video(dense):
    truth = {"a": annotation([0.52, 1.9], [0.5], [], consistency=[0.4, 0.6, 0.2], fps=25.0, num_frames=100)}
    whole = GEBDDataset(dense, truth, rate_hz=10, raters="top2")[0]
    distance = np.abs(whole.time_seconds[:, None] - [0.52, 1.9, 0.5]).min(axis=1)
    np.testing.assert_allclose(whole.target_soft, np.exp(-0.5 * (distance / 0.15) ** 2), rtol=1e-5)
    assert whole.target_hard.tolist() == (distance <= 0.15).astype(float).tolist()
    assert whole.rater_targets.shape == (3, 40) and not whole.rater_targets[2].any()
    assert whole.rater_times == ((0.52, 1.9), (0.5,), ())
    assert (whole.video_id, whole.fps, whole.duration_seconds) == ("a", 25.0, 4.0)
    for sample in GEBDDataset(dense, truth, rate_hz=10, window_seconds=1.5, hop_seconds=0.7, raters="top2"):
        part = np.isin(whole.time_seconds, sample.time_seconds)
        np.testing.assert_array_equal(sample.target_soft, whole.target_soft[part])
        np.testing.assert_array_equal(sample.rater_targets, whole.rater_targets[:, part])
        start = sample.slice_start_seconds
        inside = [tuple(t for t in rater if start <= t <= start + 1.5) for rater in whole.rater_times]
        assert sample.rater_times == tuple(inside)


def test_segments_of_a_file_have_clocks_of_their_own(tmp_path):
    made = stores.regular(30.0, start=1.0)  # the container's clock begins at 1
    cut = stores.Made(made.times[90:190], fps=30.0, end=31.0, segment=(10.0, 20.0))
    store = stores.make(tmp_path / "store", {"v.mp4#10-20": cut})
    (sample,) = GEBDDataset(store, {"v": annotation([2.0], seconds=10.0)})
    np.testing.assert_allclose(sample.time_seconds, np.arange(100) / 10, atol=1e-9)
    assert frames_of(sample)[20] == 20 and sample.target_soft[20] == 1


def test_stretches_of_a_long_file(tmp_path):
    store = stores.make(tmp_path / "store", {"yMK.mp4": stores.regular(60.0, start=5.0)})
    instances = {
        "i1": annotation([2.0], seconds=8.0, source_path="yMK/s1_0_100_8_100"),
        "i2": annotation([1.5, 3.0], seconds=10.0, source_path="yMK/s2_0_0_10_0"),
    }
    dataset = GEBDDataset(store, instances, rate_hz=10, starts_seconds={"i1": 40.0, "i2": 12.5})
    found = {sample.video_id: sample for sample in dataset}
    assert dataset.video_ids == ("i2", "i1")  # by where they begin
    assert frames_of(found["i1"]) == list(range(400, 480)) and frames_of(found["i2"]) == list(range(125, 225))
    np.testing.assert_allclose(found["i1"].time_seconds, np.arange(80) / 10, atol=1e-9)
    assert np.flatnonzero(found["i2"].target_soft > 0.99).tolist() == [15, 30]
    assert not dataset.join.annotations.other_duration and "stretch 2" in str(dataset.join)
    assert dataset.stretch("i1") == (45.0, 8.0) and dataset.stretch("i2") == (17.5, 10.0)


def test_a_video_begins_on_the_clock_of_its_container(dense):
    dataset = GEBDDataset(dense)
    assert dataset.stretch("b/c.mp4") == (7.0, None)
    with pytest.raises(UsageError, match="expected a video of this dataset; got x"):
        dataset.stretch("x")


def test_blocks_give_what_windows_give(tmp_path):
    videos = {f"{k}.mp4": stores.windows(stores.regular(3.0 + k), 8, 5) for k in range(6)}
    store = stores.make(tmp_path / "store", videos, shards=2, sampling="windows", num_frames=8, hop=5)
    dataset = GEBDDataset(store, rate_hz=10, window_seconds=1.0, hop_seconds=0.3, tensors=ALL, cache_bytes=40_000)
    assert 4 < len(dataset.blocks) < len(dataset)
    for index in range(len(dataset)):
        one, other = dataset[index], dataset[BlockIndex(index)]
        for name in ("features", "displacement", "confidence", "valid", "pair_valid", "time_seconds"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        other.features[:] = -1  # is the caller's own
        assert (dataset[BlockIndex(index)].features == one.features).all()


def test_a_window_is_read_and_not_the_video(dense, monkeypatch):
    from extractor.store.disk.shard import ShardReader

    dataset = GEBDDataset(dense, rate_hz=10, window_seconds=0.5, tensors=("frame", "displacement"))
    reads = []
    read = ShardReader.read
    monkeypatch.setattr(ShardReader, "read", lambda self, *args: reads.append(args) or read(self, *args))
    dataset[3]
    assert sorted(reads) == [("frames/feature", 15, 20), ("pairs/displacement", 15, 20)]


def test_subsets_are_parts_with_the_same_samples(dense):
    dataset = GEBDDataset(dense, rate_hz=10, window_seconds=1.0)
    parts = [dataset.subset([name]) for name in dataset.video_ids]
    assert [len(part) for part in parts] == [4, 3] and len(dataset) == 7
    whole = [sample for part in parts for sample in part]
    for sample, expected in zip(whole, dataset, strict=True):
        assert (sample.video_id, sample.slice_start_seconds) == (expected.video_id, expected.slice_start_seconds)
        np.testing.assert_array_equal(sample.features, expected.features)
    for wrong in (["a.mp4", "x"], []):
        with pytest.raises(UsageError, match="expected videos of this dataset"):
            dataset.subset(wrong)
    with pytest.raises(UsageError, match=r"got b/c\.mp4"):
        parts[0].subset(["b/c.mp4"])


def test_class_weights_count_each_sample_once(dense):
    truth = {"a": annotation([1.0, 2.0]), "c": annotation([], seconds=2.5)}
    dataset = GEBDDataset(dense, truth, rate_hz=10, window_seconds=2.0, hop_seconds=0.5)
    positive = 6  # three samples within 0.15 s of each
    expected = [65 / (2 * (65 - positive)), 65 / (2 * positive)]
    np.testing.assert_allclose(dataset.class_weights(), expected, rtol=1e-6)
    np.testing.assert_allclose(dataset.subset(["a"]).class_weights(), [40 / 68, 40 / 12], rtol=1e-6)
    with pytest.raises(UsageError, match="got 0 of 25 positive"):
        dataset.subset(["c"]).class_weights()
    with pytest.raises(UsageError, match="without annotations"):
        GEBDDataset(dense).class_weights()


def test_annotations_by_video(dense):
    dataset = GEBDDataset(dense, {"a": annotation([1.0])})
    assert dataset.annotation("a").rater_seconds == ((1.0,),)
    for wrong in (dataset, GEBDDataset(dense)):
        with pytest.raises(UsageError, match=r"with an annotation; got b/c\.mp4"):
            wrong.annotation("b/c.mp4")


def test_indices_are_those_of_a_sequence(dense):
    dataset = GEBDDataset(dense)
    assert dataset[-1].video_id == "b/c.mp4" and dataset[torch.tensor(1)].video_id == "b/c.mp4"
    for wrong in (2, -3):
        with pytest.raises(IndexError):
            dataset[wrong]
    assert len(list(dataset)) == 2


def test_a_dataset_can_be_sent_to_another_process(dense):
    dataset = GEBDDataset(dense, {"a": annotation([1.0])}, rate_hz=10, window_seconds=1.0)
    str(dataset.join), dataset[BlockIndex(0)]
    other = pickle.loads(pickle.dumps(dataset))
    assert not other._reader._blocks._kept
    for one, two in zip(dataset, other, strict=True):
        np.testing.assert_array_equal(one.features, two.features)
    assert str(other.join) == str(dataset.join)


def test_a_low_rate_is_warned_of_with_its_reason(dense):
    with pytest.warns(UserWarning, match=r"2 frames a second: below 5.*\(1 of 2 here\)"):
        GEBDDataset(dense, {"a": annotation([1.0, 1.75])}, rate_hz=2)
    GEBDDataset(dense, rate_hz=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_hz": 0}, "rate_hz: expected"),
        ({"rate_hz": float("nan")}, "rate_hz: expected"),
        ({"window_seconds": -1.0}, "window_seconds: expected"),
        ({"hop_seconds": 1.0}, "at most window_seconds"),
        ({"window_seconds": 1.0, "hop_seconds": 1.5}, "at most window_seconds"),
        ({"rate_hz": 10, "window_seconds": 0.05}, "window_seconds: expected at least one sample, 0.1 s"),
        ({"rate_hz": 10, "window_seconds": 1.0, "hop_seconds": 1e-9}, "hop_seconds: expected at least one"),
        ({"label_sigma_seconds": 0}, "label_sigma_seconds: expected"),
        ({"raters": "median"}, "best, top2, all, vote"),
        ({"tensors": ()}, "tensors: expected a sequence of names like frame, motion, displacement, confidence; got"),
        ({"tensors": "frame"}, "tensors: expected a sequence of names"),
        ({"tensors": ("frame", "colour")}, "tensors: expected a sequence of names like .*; got 'colour'. Correct"),
        ({"member": 1}, "rows of 1 network:"),
    ],
)
def test_options_that_cannot_be_are_refused(dense, options, message):
    with pytest.raises(UsageError, match=message):
        GEBDDataset(dense, **options)


def test_a_store_without_frame_features_is_refused(tmp_path):
    store = stores.make(tmp_path / "store", {"a.mp4": stores.regular(1.0)}, outputs=("motion",))
    with pytest.raises(UsageError, match=r"expected frame; got a store with motion.*--outputs frame"):
        GEBDDataset(store)
    assert GEBDDataset(store, tensors=("motion",))[0].features.shape == (10, 2)


def test_a_store_without_displacement_is_read_without(tmp_path):
    store = stores.make(tmp_path / "store", {"a.mp4": stores.regular(1.0)}, outputs=("frame",))
    assert GEBDDataset(store)[0].displacement is None
    with pytest.raises(UsageError, match="expected displacement; got a store with frame"):
        GEBDDataset(store, tensors=("frame", "displacement"))


def test_nothing_in_common_is_refused_with_names(dense, tmp_path):
    with pytest.raises(UsageError, match=r"annotated is x, the store has a\.mp4\. Give a pattern"):
        GEBDDataset(dense, {"x": annotation([1.0])})
    with pytest.raises(UsageError, match="a store with videos; got none"):
        GEBDDataset(stores.make(tmp_path / "empty", {}, failed=["bad.mp4"]))


def test_a_stretch_without_frames_is_refused(tmp_path):
    made = stores.Made([0.0, 0.1, 0.2, 9.0, 9.1], end=9.2)
    store = stores.make(tmp_path / "store", {"v.mp4": made})
    instance = {"i": annotation([1.0], seconds=2.0, source_path="v/s1")}
    with pytest.raises(UsageError, match="within the 2 s of the stretch"):
        GEBDDataset(store, instance, starts_seconds={"i": 4.0})


def test_times_that_are_not_ascending_are_refused(tmp_path):
    store = stores.make(tmp_path / "store", {"v.mp4": stores.Made([0.0, 0.2, 0.1, 0.3], end=0.4)})
    with pytest.raises(StoreError, match="ascending"):
        GEBDDataset(store)


def test_a_batch_has_what_a_head_needs(dense):
    truth = {"a": annotation([1.0], [1.1, 2.0]), "c": annotation([2.0], seconds=2.5)}
    dataset = GEBDDataset(dense, truth, rate_hz=10, tensors=ALL)
    batch = collate([dataset[0], dataset[1]])
    assert batch.features.shape == (2, 40, 6) and batch.displacement.shape == (2, 40, 2, *stores.CELLS)
    assert batch.confidence.shape == (2, 40, 1, *stores.CELLS) and batch.rater_targets.shape == (2, 2, 40)
    assert batch.valid.sum(dim=1).tolist() == [40, 25]
    assert batch.rater_times == (((1.0,), (1.1, 2.0)), ((2.0,),))
