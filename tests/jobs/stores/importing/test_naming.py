from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.stores.importing.naming import find_files
from schemas.errors import UsageError
from tests.jobs.stores.importing.making import save_frames, save_i3d


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_files_are_told_by_their_last_word(tmp_path: Path) -> None:
    folder = touch(tmp_path, "v_a_rgb.npy", "v_a_flow.npy", "v_a_fps.npy", "v_a_timestamps_ms.npy", "my_rgb_rgb.npy")
    found = find_files(folder, None)
    assert (found.feature.name, found.model_name) == ("i3d", "")
    assert {stem: sorted(files) for stem, files in found.videos.items()} == {
        "my_rgb": ["rgb"],
        "v_a": ["flow", "fps", "rgb", "timestamps_ms"],
    }


@pytest.mark.parametrize(
    ("place", "name", "feature", "model"),
    [
        ("clip/ViT-B_32", "a_clip.npy", "clip", "ViT-B_32"),
        ("timm/efficientnet_b0.ra_in1k", "a_timm.npy", "timm", "efficientnet_b0.ra_in1k"),
        ("resnet/resnet50", "a_resnet.npy", "resnet", "resnet50"),
        ("resnet/résnet\n", "a_resnet.npy", "resnet", ""),
        ("i3d", "a_rgb.npy", "i3d", ""),
        ("old", "a_resnet50.npy", "resnet50", ""),
        ("s3d", "a_s3d.npy", "s3d", ""),
    ],
)
def test_the_folder_names_the_network(tmp_path: Path, place: str, name: str, feature: str, model: str) -> None:
    found = find_files(touch(tmp_path / place, name), None)
    assert (found.feature.name, found.model_name) == (feature, model)


def test_streams_are_those_that_most_videos_have(tmp_path: Path) -> None:
    folder = touch(tmp_path, "a_rgb.npy", "b_rgb.npy", "b_flow.npy")
    assert find_files(folder, None).streams == ("rgb", "flow")
    assert find_files(touch(folder, "c_flow.npy", "d_flow.npy"), None).streams == ("flow",)


def test_other_files_are_left_out_with_a_reason(tmp_path: Path) -> None:
    folder = touch(
        tmp_path, "a_clip.npy", "a_raft.npy", "a_vggish.npy", "b_clip.pkl", "notes.txt", "_clip.npy", "x_fps.npy"
    )
    os.mkfifo(folder / "b_clip.npy")
    (folder / "c_clip.npy").mkdir()
    (folder / os.fsdecode(b"\xff_clip.npy")).touch()
    found = find_files(folder, None)
    assert list(found.videos) == ["a"]
    reasons = {name: reason for reason, names in found.left_out.items() for name in names}
    assert {name: reason.split(",")[0] for name, reason in reasons.items()} == {
        "a_raft.npy": "optical flow of RAFT",
        "a_vggish.npy": "features of sound (VGGish)",
        "b_clip.pkl": "pickles",
        "notes.txt": "names that are not STEM_KEY.npy of video_features",
        "_clip.npy": "names that are not STEM_KEY.npy of video_features",
        "x_fps.npy": "not of clip",
        os.fsdecode(b"\xff_clip.npy"): "names that are not UTF-8",
    }


def test_one_of_several_features_is_chosen(tmp_path: Path) -> None:
    save_frames(tmp_path, "a", 2, key="clip")
    save_i3d(tmp_path, "a", 2)
    with pytest.raises(UsageError, match=r"got clip, i3d. Choose one with --feature"):
        find_files(tmp_path, None)
    assert sorted(find_files(tmp_path, "clip").videos["a"]) == ["clip", "flow", "fps", "rgb", "timestamps_ms"]
    with pytest.raises(UsageError, match="expected files of s3d"):
        find_files(tmp_path, "s3d")
    with pytest.raises(UsageError, match="expected a feature among i3d"):
        find_files(tmp_path, "raft")


def test_a_folder_without_features_says_where_there_are_some(tmp_path: Path) -> None:
    save_i3d(tmp_path / "output" / "i3d", "a", 2)
    save_frames(tmp_path / "output" / "clip" / "ViT-B_32", "a", 2)
    with pytest.raises(UsageError, match=r"got none. Give one of its folders: clip/ViT-B_32, i3d$"):
        find_files(tmp_path / "output", None)
    with pytest.raises(UsageError, match="Give the folder that output_path named"):
        find_files(touch(tmp_path / "empty"), None)
    for place in (tmp_path / "nowhere", tmp_path / "output" / "i3d" / "a_rgb.npy"):
        with pytest.raises(UsageError):
            find_files(place, None)


def test_the_look_for_such_folders_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.stores.importing.naming._MOST_LOOKED_AT", 60)
    for number in range(30):
        touch(tmp_path / f"{number:02d}", "notes.txt")
    touch(tmp_path / "zz", "a_clip.npy")
    with pytest.raises(UsageError, match=r"got none. Give the folder that output_path named$"):
        find_files(tmp_path, None)
    for number in range(9):
        touch(tmp_path / f"{number:02d}", "a_clip.npy")
    with pytest.raises(UsageError, match=r"got none. Give one of its folders: 00, 01, 02, 03, 04$"):
        find_files(tmp_path, None)
