from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.jobs.conftest import Call, refused
from tests.jobs.stores.importing.making import features, save, save_frames, save_i3d


def test_import_says_what_became_of_every_file(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "i3d"
    for name in ("a", "b", "no\x1b[2Jthing"):
        save_i3d(folder, name, 3)
    np.save(folder / "no\x1b[2Jthing_rgb.npy", np.full((3, 8), np.inf))
    save(folder, "a", vggish=features(3, 128, 0))
    code, out, _ = call("import", folder, "--out", tmp_path / "store")
    lines = " ".join(out.split())
    assert code == 2
    assert f"2 videos of i3d-stack64-step64 in {tmp_path / 'store'}, 2 of them new" in lines
    assert "frame *_rgb.npy, 8 numbers a row" in lines and "motion *_flow.npy" in lines
    assert "stacks of 64 frames, 64 apart, at their middles" in lines
    assert r"failed: 1 no\x1b[2Jthing: no\x1b[2Jthing_rgb.npy: expected finite numbers" in lines
    assert "files left out, features of sound (VGGish): 1 a_vggish.npy" in lines
    assert "\x1b" not in out


def test_commands_on_an_imported_store(call: Call, tmp_path: Path) -> None:
    folder, store = tmp_path / "clip" / "ViT-B_32", tmp_path / "store"
    save_frames(folder, "a", 30)
    save_frames(folder, "b", 3)
    np.save(folder / "b_clip.npy", np.zeros((3, 8))[:, 1:])
    assert call("import", folder, "--out", store)[0] == 2
    command = f"msnet import {folder} --out {store}"
    code, out, _ = call("status", store)
    assert (code, out.splitlines()[0]) == (0, f"imported:clip-ViT-B_32, from {folder}")
    assert "decoded by video_features" in call("report", store)[1]
    assert f"to try those again whose files have changed: {command}" in " ".join(call("report", store)[1].split())
    code, out, _ = call("show", store, "a")
    assert code == 0 and "10.000 fps" in out and " x " not in out.splitlines()[1]
    assert call("verify", store, "--deep")[0] == 0
    assert call("compare", store, store)[0] == 0
    assert call("export", store, "--out", tmp_path / "out")[0] == 0
    np.testing.assert_array_equal(
        np.load(tmp_path / "out" / "a" / "frame.npy"), np.load(folder / "a_clip.npy").astype(np.float32)
    )
    (data,) = (store / "shards").glob("*.h5")
    data.write_bytes(data.read_bytes()[:-1])
    assert f"to make them again: {command}" in " ".join(call("verify", store)[1].split())
    assert f"to continue: {command}" in " ".join(call("status", store)[1].split())
    line = refused(call, tmp_path, "resume", store)
    assert "expected a store that `msnet extract` made" in line and line.endswith(command)


def test_features_without_a_rate_ask_for_it(call: Call, tmp_path: Path) -> None:
    save(tmp_path / "r21d" / "r2plus1d_18_16_kinetics", "a", r21d=features(3, 4, 0))
    place = tmp_path / "r21d" / "r2plus1d_18_16_kinetics"
    assert refused(call, tmp_path, "import", place, "--out", tmp_path / "store").endswith("Give --fps")
    code, out, _ = call("import", place, "--out", tmp_path / "store", "--fps", "25")
    assert code == 0 and "stacks of 16 frames, 16 apart, at their middles, at 25 frames a second" in out
