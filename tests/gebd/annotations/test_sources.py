from __future__ import annotations

import pytest

from gebd.annotations.sources import grouped, source_of


@pytest.mark.parametrize(
    ("name", "youtube"),
    [
        ("3y1V7BNNBds", "3y1V7BNNBds"),
        ("abseiling/3y1V7BNNBds_000000_000010.mp4", "3y1V7BNNBds"),
        ("3y1v7bnnbds_000010_000020.mp4", "3y1v7bnnbds"),
        ("-_1V7BNNBds_000100_000110/frame", "-_1V7BNNBds"),
        ("yMK2zxDDs2A_s00004_0_100_7_931", "yMK2zxDDs2A"),
        ("tapos/yMK2zxDDs2A/s00004_0_100_7_931", "yMK2zxDDs2A"),
        ("v_QOlSCBRmfWY.mp4", "QOlSCBRmfWY"),
        ("QOlSCBRmfWY_12.5_20.25", "QOlSCBRmfWY"),
        ("QOlSCBRmfWY_E_002407_002435.mp4", "QOlSCBRmfWY"),
        ("a/QOlSCBRmfWY.mp4#10-20", "QOlSCBRmfWY"),
        ("D:\\videos\\QOlSCBRmfWY.mp4", "QOlSCBRmfWY"),
    ],
)
def test_youtube_ids_are_found_in_names(name: str, youtube: str) -> None:
    assert source_of(name) == (f"youtube:{youtube}",)
    assert source_of("x", source_path=name)[0] == source_of("x", file=name)[0] == f"youtube:{youtube}"


@pytest.mark.parametrize(
    "name",
    [
        "train_video_0001.mp4",
        "camera_left.mp4",
        "CAMERA_LEFT_2.mp4",
        "clip_000001",
        "a.mp4",
        "v_WallPushups_g01_c01.avi",
        "v_BalanceBeam_g01_c01.avi",
        "v_CliffDiving_g01_c01.avi",
        "v_PlayingDhol_g01_c01.avi",
        "CameraFront_001.mp4",
        "Camera-Wide_001.mp4",
        "Holidays-01_1.mp4",
        "Interview_8.mp4",
        "Basketball_.mp4",
        "Episode-One.mkv",
        "video_Tests_3",
        "abcdefghijK.mp4",
    ],
)
def test_other_names_of_eleven_characters_are_no_ids(name: str) -> None:
    assert source_of(name) == (f"id:{name}",)


def test_paths_and_files_are_sources_and_what_the_user_states_comes_first() -> None:
    assert source_of("s1", source_path="v/s1", file="v.mp4", given="seven") == ("user:seven", "path:v/s1", "path:v.mp4")
    assert source_of("a", file="a.mp4") == source_of("b", file="a.mp4") == ("path:a.mp4",)


def test_grouped_follows_names_through_others() -> None:
    found = grouped({"a": ("x",), "b": ("y",), "c": ("x", "z"), "d": ("z", "w"), "e": ("w",), "f": ("v",)})
    assert found["a"] == found["c"] == found["d"] == found["e"]
    assert len(set(found.values())) == 3


def test_grouped_leaves_the_decision_to_the_user() -> None:
    found = grouped({"a": ("user:1", "path:v"), "b": ("user:2", "path:v"), "c": ("user:1",), "d": ("path:v",)})
    assert found["a"] == found["c"] != found["b"] != found["d"]


def test_names_and_long_chains_are_looked_through_quickly() -> None:
    for name in ("aB3dE6gH9_8" + "_1.1" * 50_000 + "!", "#" + "1-" * 50_000 + "x", "#1-" * 50_000 + "x"):
        assert source_of(name) == (f"id:{name}",)
    assert len(set(grouped({str(n): (f"k{n}", f"k{n + 1}") for n in range(20_000)}).values())) == 1
