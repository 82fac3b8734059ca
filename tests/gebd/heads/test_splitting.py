from __future__ import annotations

import random
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from extractor.store import FeatureStore
from gebd import Annotations, GEBDDataset, VideoAnnotation
from gebd.annotations.sources import grouped, source_of
from gebd.heads.splitting import Known, Parts, sources_of, split_videos
from schemas.errors import UsageError
from tests.gebd import stores

ALONE = {f"v{n}": (f"id:v{n}",) for n in range(20)}


def test_split_is_seeded_and_does_not_depend_on_order() -> None:
    first = split_videos(ALONE, None, 0.2, 3)
    assert len(first.validation) == 4 and set(first.training) | set(first.validation) == set(ALONE)
    turned = dict(reversed(ALONE.items()))
    assert set(split_videos(turned, None, 0.2, 3).validation) == set(first.validation)
    assert split_videos(ALONE, None, 0.2, 4) != first
    assert len(split_videos(dict(list(ALONE.items())[:2]), None, 0.9, 0).training) == 1


def test_no_source_has_stretches_on_both_sides() -> None:
    """As many sources and stretches as in the training part of TAPOS."""
    rng = random.Random(0)
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
    youtube = ["".join(rng.choices(alphabet, k=11)) for _ in range(2500)]
    owners = youtube + rng.choices(youtube, k=10_300)
    names = {f"{owner}_s{n:05d}_0_100_7_931" for n, owner in enumerate(owners)}
    group = grouped({name: source_of(name) for name in names})
    assert len(names) == 12_800 and len(set(group.values())) == 2500
    parts = split_videos({name: source_of(name) for name in names}, None, 0.2, 0)
    assert not {name[:11] for name in parts.training} & {name[:11] for name in parts.validation}
    assert 2550 <= len(parts.validation) <= 2560 and len(parts.training) + len(parts.validation) == 12_800


def test_sources_larger_than_the_share_are_not_cut() -> None:
    two = {f"v{n}": ("a" if n < 6 else "b",) for n in range(10)}
    for seed in range(4):
        assert split_videos(two, None, 0.2, seed).validation == ("v6", "v7", "v8", "v9")
    with pytest.raises(UsageError, match=r"validation part; got none of the 2 .* of 1 source\. .*--sources"):
        split_videos({"a": ("x",), "b": ("x",)}, None, 0.5, 0)


def test_a_given_split_that_leaks_is_told() -> None:
    sources = {"a1": ("a",), "a2": ("a",), "b1": ("b",), "c1": ("c",)}
    with pytest.warns(UserWarning, match="1 of 2 validation videos share their source with training videos, a2 among"):
        parts = split_videos(sources, ["a2", "c1"], 0.2, 0)
    assert parts.training == ("a1", "b1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split_videos(sources, ["a1", "a2"], 0.2, 0)


def test_a_part_knows_videos_by_id_and_by_source() -> None:
    parts = Parts(("a_1", "b_1"), ("c_1",), {"a_1": ("path:a",), "b_1": ("path:b",), "c_1": ("path:c",)})
    asked = {"a_1": ("path:a",), "a_2": ("path:a",), "x": ("id:x", "path:b"), "c_9": ("path:c",), "y": ("path:y",)}
    assert parts.known(asked) == (Known(videos=1, stretches=2), Known(videos=0, stretches=1))
    old = Parts(("3y1V7BNNBds_000000_000010",), ("v",))  # a run whose folder holds no sources
    assert old.known({"3y1V7BNNBds": ("youtube:3y1V7BNNBds",), "v": ("id:v",)}) == (Known(0, 1), Known(1, 0))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    names = ["long.mp4#0-4", "long.mp4#4-8", "QOlSCBRmfWY_1.mp4", "QOlSCBRmfWY_2.mp4", "alone.mp4"]
    videos = {name: stores.regular(4.0) for name in names}
    return stores.make(tmp_path / "store", videos)


def test_sources_of_a_store_are_its_files_and_ids(store: FeatureStore) -> None:
    group = grouped(sources_of(GEBDDataset(store)))
    assert group["long.mp4#0-4"] == group["long.mp4#4-8"]
    assert group["QOlSCBRmfWY_1.mp4"] == group["QOlSCBRmfWY_2.mp4"]
    assert len(set(group.values())) == 3


def test_sources_of_annotations_are_their_paths_too(store: FeatureStore) -> None:
    one = VideoAnnotation("alone", 4.0, ((1.0,),), source_path="longer.mkv")
    truth = Annotations([one, replace(one, video_id="long.mp4#0-4")])
    group = grouped(sources_of(GEBDDataset(store, truth)))
    assert set(group) == {"alone", "long.mp4#0-4"} and len(set(group.values())) == 1


def test_users_state_sources_as_a_mapping_or_a_column(store: FeatureStore) -> None:
    dataset = GEBDDataset(store)
    given = {name: "one" if n < 4 else "other" for n, name in enumerate(dataset.video_ids)}
    assert len(set(grouped(sources_of(dataset, given)).values())) == 2
    assert sources_of(dataset, "fps")["alone.mp4"] == ("user:30.0", "path:alone.mp4")
    with pytest.raises(UsageError, match=r"column of the manifest .* got 'split'\. Extract from a table that has it"):
        sources_of(dataset, "split")
    with pytest.raises(UsageError, match=r"expected one for every video; got none for alone\.mp4"):
        sources_of(dataset, {name: "one" for name in dataset.video_ids if name != "alone.mp4"})
