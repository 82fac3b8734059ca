from __future__ import annotations

import numpy as np
import pytest

from jobs.stores.compare import RELATIVE_NORM, compare_stores, float16_step
from tests.extractor.store.making import make_store


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("usual") / "store").root


@pytest.fixture
def compared(usual, tmp_path):
    """Report on the usual store against one that was changed."""

    def compare(change=None, shards=None, **options):
        others = {} if shards is None else {"shards": shards}
        make_store(tmp_path / "two", change=change, **others, **options)
        return compare_stores(usual, tmp_path / "two")

    return compare


def test_equal_stores_are_equal(compared):
    report = compared()
    assert report.equal
    assert report.configurations == {}
    assert report.clips == 8
    assert set(report.worst.values()) == {0.0}


def test_shards_and_order_do_not_matter(compared):
    report = compared(shards=(("e.mp4",), ("bad.mp4", "b.mp4", "c/d.mp4"), ("a.mp4",)))
    assert report.equal
    assert report.clips == 8


def test_number_formats_may_differ_by_a_step(compared):
    report = compared(store_dtype="float32")
    assert report.equal
    assert report.configurations == {"store_dtype": ("float16", "float32")}


def test_videos_failures_and_tensors_that_one_lacks_are_named(compared):
    report = compared(shards=(("a.mp4", "bad.mp4"), ("bad2.mp4", "c/d.mp4", "e.mp4", "f.mp4")), outputs=("clip",))
    text = "\n".join(report.differences)
    for part in (
        "'b.mp4' is in the first",
        "'f.mp4' is in the second",
        "'bad2.mp4' did not fail in the first store and failed as",
        "tensor 'motion'",
    ):
        assert part in text
    assert report.clips == 6


def of_clip(path, rows, video="b.mp4"):
    """A change of one clip's rows of a tensor."""

    def change(video_id, arrays):
        if video_id == video:
            arrays[path][rows] = np.nextafter(arrays[path][rows].astype(np.float16), np.float16(9)).astype(np.float32)

    return change


def test_one_float16_step_everywhere_is_allowed(compared):
    assert compared(of_clip("frames/feature", slice(None))).equal


def test_a_row_that_windows_share_counts_for_each_of_them(tmp_path):
    """Windows of 4 frames, one every 2: most rows are of two of them."""
    make_store(tmp_path / "one", (("a.mp4",),), clips=5, hop=2)
    for path, row, told in (
        ("frames/feature", 4, "2 of 5 clips"),
        ("pairs/confidence", 5, "clip 2"),
        ("pairs/confidence", 6, "2 of 5 clips"),
        ("pairs/confidence", 10, "clip 4"),
        ("clips/feature", 3, "clip 3"),
    ):

        def change(video_id, arrays, path=path, row=row):
            arrays[path][row] += 1

        place = tmp_path / f"{path}{row}"
        make_store(place, (("a.mp4",),), clips=5, hop=2, change=change)
        report = compare_stores(tmp_path / "one", place)
        name = {"frames/feature": "frame", "pairs/confidence": "confidence", "clips/feature": "clip"}[path]
        assert len(report.differences) == 1 and report.worst[name] > 0.1
        assert f"{name} differs in {told}, by" in report.differences[0]


@pytest.mark.parametrize(("factor", "equal"), [(0.5, True), (2.0, False)])
def test_norm_beyond_the_step_is_held_against_the_bound(tmp_path, factor, equal):
    """Float32 has no step, so a relative change of the whole clip is the share itself."""
    make_store(tmp_path / "one", store_dtype="float32")

    def change(video_id, arrays):
        if video_id == "b.mp4":
            arrays["pairs/confidence"][:3] *= 1 + factor * RELATIVE_NORM

    make_store(tmp_path / "two", store_dtype="float32", change=change)
    report = compare_stores(tmp_path / "one", tmp_path / "two")
    assert report.equal is equal
    assert report.worst["confidence"] == pytest.approx(factor * RELATIVE_NORM, rel=1e-2)
    if not equal:
        assert report.differences == (
            "'b.mp4': confidence differs in clip 0, by 0.0002 of its norm beyond a float16 step",
        )


def test_a_difference_in_one_clip_is_not_diluted_by_others(compared):
    def change(video_id, arrays):
        if video_id == "b.mp4":
            arrays["clips/feature"][1, 3] += 0.1

    (told,) = compared(change).differences
    assert told.startswith("'b.mp4': clip differs in clip 1, by ")


def test_tied_cells_are_left_out_and_counted(compared):
    tied = []

    def change(video_id, arrays):
        maps = np.unpackbits(arrays["pairs/tied"], axis=-1, count=11).astype(bool)
        tied.append(int(maps.sum()))
        arrays["pairs/displacement"] += 3 * maps[:, None]

    report = compared(change)
    assert report.equal
    assert report.tied_cells == sum(tied)


def test_ties_of_either_store_count(compared):
    def change(video_id, arrays):
        arrays["pairs/tied"][0, 0, 0] |= 128
        arrays["pairs/displacement"][0, :, 0, 0] += 3

    assert compared(change).equal


def test_displacement_of_other_cells_counts(compared):
    def change(video_id, arrays):
        maps = np.unpackbits(arrays["pairs/tied"], axis=-1, count=11).astype(bool)
        arrays["pairs/displacement"] += 0.5 * ~maps[:, None]

    differences = compared(change).differences
    assert [told.partition(", ")[0] for told in differences] == [
        f"{video_id!r}: displacement differs in 2 of 2 clips" for video_id in ("a.mp4", "b.mp4", "c/d.mp4", "e.mp4")
    ]


@pytest.mark.parametrize("path", ["frames/time_seconds", "frames/index", "frames/valid"])
def test_times_and_indices_are_exact(compared, path):
    def change(video_id, arrays):
        if video_id == "e.mp4":
            arrays[path][3] = np.nextafter(arrays[path][3], 9) if arrays[path].dtype == float else 0

    assert compared(change).differences == (f"'e.mp4': {path.split('/')[1]} differs",)


def test_many_differences_are_cut_short(tmp_path):
    def change(video_id, arrays):
        for path in ("clips/feature", "frames/feature", "frames/motion", "pairs/confidence"):
            arrays[path] += 1

    videos = ([f"{i}.mp4" for i in range(8)],)
    make_store(tmp_path / "one", videos)
    make_store(tmp_path / "two", videos, change=change)
    report = compare_stores(tmp_path / "one", tmp_path / "two")
    assert (len(report.differences), report.more) == (20, 12)


def test_clips_that_one_lacks_are_told_without_comparing_rows(tmp_path):
    make_store(tmp_path / "one", (("a.mp4",),), clips=3)
    make_store(tmp_path / "two", (("a.mp4",),), clips=2)
    report = compare_stores(tmp_path / "one", tmp_path / "two")
    assert report.differences == ("'a.mp4' is cut into other clips",)
    assert report.clips == 0


def test_float16_step_is_the_distance_to_the_next_number():
    values = np.array([0.0, 1e-7, 6e-5, 0.4999, 1.0, 1.5, 1000.0, 65000.0], np.float16)
    expected = [float(np.nextafter(v, np.float16(np.inf))) - float(v) for v in values[:-1]] + [32.0]
    np.testing.assert_array_equal(float16_step(values.astype(np.float64)), expected)
