from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extractor.store import FeatureStore, read_run
from gebd import GEBDDataset
from jobs.stores import import_features as module
from jobs.stores.compare import compare_stores
from jobs.stores.import_features import import_features
from jobs.stores.importing import arrays
from jobs.stores.importing.videos import Given
from jobs.stores.status import store_status
from jobs.stores.verify import verify_store
from schemas.errors import ConfigurationError, StorageError, UsageError
from schemas.layout import StorePaths
from tests.jobs.stores.importing.making import features, save, save_frames, save_i3d


def test_a_store_of_i3d_holds_both_streams_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_BLOCK_BYTES", 200)  # blocks of few rows
    for k, rows in enumerate((1, 7, 12)):
        save_i3d(tmp_path / "i3d", f"v_{k}", rows, seed=10 * k)
    report = import_features(tmp_path / "i3d", tmp_path / "store")
    assert (report.videos, report.imported, report.failed, report.left_out) == (3, 3, {}, {})
    store = FeatureStore(tmp_path / "store")
    assert store.video_ids == ("v_0", "v_1", "v_2")
    assert store.tensors == ("frame", "motion", "time_seconds", "index", "valid")
    for k, rows in enumerate((1, 7, 12)):
        found = store.video(f"v_{k}")
        for tensor, key in (("frame", "rgb"), ("motion", "flow")):
            saved = np.load(tmp_path / "i3d" / f"v_{k}_{key}.npy")
            assert (saved.dtype, found[tensor].dtype) == (np.float64, np.float32)
            np.testing.assert_array_equal(found[tensor], saved)
        np.testing.assert_allclose(found["time_seconds"], (np.arange(rows) + 0.5) * 64 / 25)
        assert found["index"].tolist() == [64 * k + 32 for k in range(rows)]
    config = store.config
    assert (config.model, config.weights, config.is_imported) == ("imported:i3d-stack64-step64", "unknown", True)
    assert store.run.settings["tensors"] == {"frame": "rgb", "motion": "flow"}
    assert verify_store(tmp_path / "store", deep=True).clean
    assert compare_stores(tmp_path / "store", tmp_path / "store").equal
    assert store_status(tmp_path / "store").standing.complete


def test_a_store_of_frames_is_a_dataset_for_boundaries(tmp_path: Path) -> None:
    folder = tmp_path / "clip" / "ViT-B_32"
    for k in range(2):
        save_frames(folder, f"v_{k}", 40 + k, seed=k)
    import_features(folder, tmp_path / "store")
    assert FeatureStore(tmp_path / "store").config.model == "imported:clip-ViT-B_32"
    dataset = GEBDDataset(tmp_path / "store", rate_hz=10.0)
    sample = dataset[1]
    saved = np.load(folder / "v_1_clip.npy").astype(np.float32)
    np.testing.assert_array_equal(sample.tensors["frame"], saved)
    assert (sample.duration_seconds, sample.fps, len(dataset)) == (pytest.approx(4.1), 10.0, 2)
    assert FeatureStore(tmp_path / "store").manifest["times_made_up"].all()


@pytest.mark.parametrize(
    ("place", "key", "given", "first_seconds"),
    [
        ("s3d", "s3d", Given(), 32 / 25),
        ("s3d", "s3d", Given(fps=30.0, stack_frames=16, step_frames=8), 8 / 30),
        ("r21d/r2plus1d_34_32_ig65m_ft_kinetics", "r21d", Given(fps=20.0), 16 / 20),
        ("mine", "r21d", Given(fps=20.0, stack_frames=16), 8 / 20),
    ],
)
def test_stacks_without_times_get_them_by_rate(
    tmp_path: Path, place: str, key: str, given: Given, first_seconds: float
) -> None:
    save(tmp_path / place, "a", **{key: features(3, 4, 0)})
    import_features(tmp_path / place, tmp_path / "store", given=given)
    store = FeatureStore(tmp_path / "store")
    assert store.video("a")["time_seconds"][0] == pytest.approx(first_seconds)
    assert store.manifest["times_made_up"].all()


@pytest.mark.parametrize(
    ("key", "given", "words"),
    [
        ("r21d", Given(stack_frames=16), "expected the videos' frame rate, which r21d does not save; .* Give --fps"),
        ("r21d", Given(fps=25.0), "Give --stack-frames"),
        ("clip", Given(fps=25.0), "expected no --fps: rows of clip are frames"),
        ("clip", Given(stack_frames=2), "expected no --stack-frames"),
        ("rgb", Given(fps=25.0), "expected no --fps: i3d says its own"),
        ("rgb", Given(), "Give --stack-frames"),
    ],
)
def test_options_that_are_missing_or_mean_nothing_are_refused(
    tmp_path: Path, key: str, given: Given, words: str
) -> None:
    save(tmp_path / "in", "a", **{key: features(3, 4, 0)})
    with pytest.raises(ConfigurationError, match=words):
        import_features(tmp_path / "in", tmp_path / "store", given=given)
    assert not (tmp_path / "store").exists()


def test_values_that_are_none_are_refused() -> None:
    for values in ({"fps": 0.0}, {"fps": float("nan")}, {"stack_frames": 0}, {"step_frames": -1}):
        with pytest.raises(ConfigurationError, match="Correct --"):
            Given(**values)  # type: ignore[arg-type]


def test_videos_that_do_not_fit_are_failures_with_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("good", "fine", "nan", "wide", "short", "cut", "lone", "late", "twice", "empty"):
        save_i3d(folder, name, 3)
    wrong: dict[str, Any] = {
        "nan_rgb": np.full((3, 8), np.nan),
        "wide_rgb": np.zeros((3, 9)),
        "short_timestamps_ms": np.zeros(2),
        "late_timestamps_ms": np.arange(3) * 1000.0 + 500,
        "twice_fps": np.array([25.0, 25.0]),
        "empty_rgb": np.array([]),
        "pickled_rgb": np.array([{}], dtype=object),
    }
    for name, value in wrong.items():
        np.save(folder / f"{name}.npy", value)
    (folder / "cut_flow.npy").write_bytes((folder / "cut_flow.npy").read_bytes()[:-1])
    (folder / "lone_flow.npy").unlink()
    report = import_features(folder, tmp_path / "store")
    assert (report.videos, report.imported) == (2, 2)
    assert {name: failure for name, (failure, _) in report.failed.items()} == {
        "nan": "not_finite",
        "wide": "corrupt",
        "short": "corrupt",
        "late": "corrupt",
        "twice": "corrupt",
        "cut": "truncated",
        "lone": "missing",
        "empty": "too_short",
        "pickled": "cannot_open",
    }
    assert report.failed["lone"][1] == "lone_flow.npy is not there"
    assert "expected a first stack of 64 frames; got 12 by its time" in report.failed["late"][1]
    assert set(FeatureStore(tmp_path / "store").failures["video_id"]) == set(report.failed)


def test_a_second_import_adds_what_is_new_and_tries_changed_failures_again(tmp_path: Path) -> None:
    folder, store = tmp_path / "in", tmp_path / "store"
    for name in ("a", "b", "c"):
        save_frames(folder, name, 3)
    np.save(folder / "b_clip.npy", np.full((3, 8), np.nan))
    first = import_features(folder, store)
    assert (first.videos, first.imported, set(first.failed)) == (2, 2, {"b"})
    again = import_features(folder, store)
    assert (again.videos, again.imported, set(again.failed)) == (2, 0, {"b"})
    save_frames(folder, "b", 4)
    save_frames(folder, "d", 5)
    os.utime(folder / "a_clip.npy", (1, 1))
    third = import_features(folder, store)
    assert (third.videos, third.imported, third.failed, third.changed) == (4, 2, {}, ())
    save_frames(folder, "a", 6)
    fourth = import_features(folder, store)
    assert (fourth.imported, fourth.changed) == (0, ("a",))
    assert verify_store(store, deep=True).clean
    assert FeatureStore(store).video("a")["frame"].shape == (3, 8)
    assert FeatureStore(store).video("b")["frame"].shape == (4, 8)


def test_a_damaged_shard_is_imported_again(tmp_path: Path) -> None:
    folder, store = tmp_path / "in", tmp_path / "store"
    save_frames(folder, "a", 3)
    import_features(folder, store)
    (data,) = (store / "shards").glob("*.h5")
    data.write_bytes(data.read_bytes()[:-1])
    assert verify_store(store, retire_damaged=True).retired == ("shard-00000",)
    assert import_features(folder, store).imported == 1
    assert verify_store(store, deep=True).clean


def test_an_import_that_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHARD_VIDEOS", 2)
    folder, store = tmp_path / "in", tmp_path / "store"
    for k in range(5):
        save_frames(folder, f"v_{k}", 3, seed=k)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_features(folder, store, progress=stop)
    assert FeatureStore(store).video_ids == ("v_0", "v_1")
    report = import_features(folder, store)
    assert report.videos == 5 and report.imported <= 3
    for k in range(5):
        np.testing.assert_array_equal(FeatureStore(store).video(f"v_{k}")["frame"], np.load(folder / f"v_{k}_clip.npy"))


def test_other_stores_and_folders_are_left_alone(store: StorePaths, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save_frames(folder, "a", 3)
    with pytest.raises(ConfigurationError, match="made with another configuration"):
        import_features(folder, store.root)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(StorageError, match=r"thesis\.tex"):
        import_features(folder, tmp_path / "mine")
    with pytest.raises(UsageError, match="expected a folder of npy files"):
        import_features(tmp_path / "nowhere", tmp_path / "out")


def test_features_that_may_not_be_mixed_have_other_digests(tmp_path: Path) -> None:
    digests = set()
    for k, (stack, step) in enumerate([(64, 64), (24, 8), (64, 32)]):
        save_i3d(tmp_path / f"in{k}", "a", 3, stack=stack, step=step)
        import_features(tmp_path / f"in{k}", tmp_path / f"store{k}")
        digests.add(read_run(StorePaths(tmp_path / f"store{k}")).digest)
    (tmp_path / "in0" / "a_flow.npy").unlink()
    import_features(tmp_path / "in0", tmp_path / "rgb")
    assert FeatureStore(tmp_path / "rgb").config.model == "imported:i3d-stack64-step64-rgb"
    assert len(digests | {FeatureStore(tmp_path / "rgb").run.digest}) == 4


def test_a_file_that_vanishes_is_a_failed_video_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = tmp_path / "clip", tmp_path / "store"
    for name in "ab":
        save_frames(folder, name, 3)
    described = module.describe_source

    def vanish(*given: Any) -> Any:
        source = described(*given)
        for path in folder.glob("b_*"):
            path.unlink()
        return source

    with monkeypatch.context() as patched:
        patched.setattr(module, "describe_source", vanish)
        report = import_features(folder, store)
    assert (report.videos, report.failed) == (
        1,
        {"b": ("missing", "b_clip.npy has vanished: restore it, and import again")},
    )
    save_frames(folder, "b", 3)
    again = import_features(folder, store)
    assert (again.videos, again.imported, again.failed) == (2, 1, {})
