"""From a folder to a store and back, through the command line, as users run it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import jobs
from extractor import VideoExtractor
from extractor.store.reader import FeatureStore
from jobs.stores.compare import compare_stores
from schemas.errors import ConfigurationError, VideoError
from tests.jobs.conftest import Call
from tests.jobs.running import SMALL, Running, decoded, msnet
from tests.videos import write_video

pytestmark = pytest.mark.ray

WINDOWS = (*SMALL, "--sampling", "windows", "--rate-hz", "10")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four good videos and two broken ones, in two folders."""
    folder = tmp_path_factory.mktemp("data") / "videos"
    for i in range(4):
        write_video(folder / "good" / f"video_{i}.mp4", frames=40, fps=25, size=(96, 128), seed=i)
    (folder / "bad").mkdir()
    (folder / "bad" / "empty.mp4").touch()
    (folder / "bad" / "text.mp4").write_text("not a video" * 100)
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path) -> tuple[Path, Running]:
    store = folder.parent / "finished"
    return store, msnet("extract", folder, "--out", store, *WINDOWS)


def copy_of(store: Path, place: Path) -> Path:
    return Path(shutil.copytree(store, place / "store"))


def test_extract_ends_with_2_and_a_table_where_videos_failed(finished: tuple[Path, Running]) -> None:
    _, run = finished
    assert run.process.returncode == 2, run.err
    assert re.search(r"videos done +4\b", run.out) and re.search(r"videos failed +2\b", run.out)
    assert "cannot_open" in run.out
    for stage in ("decode", "transform", "network", "write"):
        assert re.search(rf"{stage} +\d", run.out)
    assert "random weights" in run.err
    assert "Traceback" not in run.err


def test_a_store_holds_what_extract_video_returns(finished: tuple[Path, Running]) -> None:
    store = FeatureStore(finished[0])
    extractor = VideoExtractor(weights="random", size=64, sampling="windows", rate_hz=10, device="cpu")
    assert extractor.config == store.config
    for name in store:
        found, stored = extractor.extract(Path(store.run.dataset_root) / name), store.video(name)
        assert list(found) == list(stored)
        for tensor, rows in stored.items():
            np.testing.assert_array_equal(found[tensor], rows, err_msg=f"{name}: {tensor}")
    for failed in store.failures.itertuples():
        with pytest.raises(VideoError) as raised:
            extractor.extract(Path(store.run.dataset_root) / str(failed.video_id))
        assert (raised.value.failure, raised.value.message) == (failed.failure, failed.message)


def test_fields_of_a_request_may_be_given_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"got rate. Did you mean rate_hz\?"):
        jobs.extract(tmp_path, tmp_path / "store", rate=5)  # type: ignore[call-arg]
    assert not (tmp_path / "store").exists()


def test_extract_writes_what_the_reader_reads(finished: tuple[Path, Running]) -> None:
    store = FeatureStore(finished[0])
    assert sorted(store.failures["video_id"]) == sorted(f"bad/{p.name}" for p in _files(store, "bad"))
    assert set(store.video_ids) == {f"good/{p.name}" for p in _files(store, "good")}
    for video_id in store.video_ids:
        tensors = store.video(video_id)
        clips = store.manifest[store.manifest["video_id"] == video_id]
        assert tensors["clip"].shape == (len(clips), 512)
        assert tensors["displacement"].shape == (len(tensors["frame"]) - 1, 2, 8, 8)
        assert (np.diff(tensors["index"]) > 0).all()
        np.testing.assert_allclose(tensors["clip"][0], tensors["frame"][:8].astype(np.float32).mean(0), atol=2e-3)


def _files(store: FeatureStore, kind: str) -> list[Path]:
    return sorted((Path(store.run.dataset_root) / kind).iterdir())


def test_extract_again_decodes_nothing(finished: tuple[Path, Running], folder: Path) -> None:
    store = finished[0]
    before = decoded(store)
    again = msnet("extract", folder, "--out", store, *WINDOWS)
    assert again.process.returncode == 2, again.err
    assert decoded(store) == before


def test_extract_refuses_another_configuration(finished: tuple[Path, Running], folder: Path, call: Call) -> None:
    store = finished[0]
    code, _, err = call("extract", folder, "--out", store, *WINDOWS, "--hop", "4")
    assert code == 1
    assert err.count("\n") == 1 and "hop" in err and "another --out" in err


def test_resume_makes_a_damaged_store_whole_again(finished: tuple[Path, Running], tmp_path: Path, call: Call) -> None:
    store = copy_of(finished[0], tmp_path)
    shard = next(store.glob("shards/*.h5"))
    data = bytearray(shard.read_bytes())
    features = FeatureStore(store)
    row = features.video(features.video_ids[0], ["frame"])["frame"][0].tobytes()
    features.close()  # HDF5 would show this process what the open file held before
    data[data.index(row) + 5] ^= 0x10
    shard.write_bytes(data)
    for name in ("run.json", "inventory.parquet", "manifest.parquet", "failures.parquet"):
        data = bytearray((store / name).read_bytes())
        data[len(data) // 3] ^= 0x01
        (store / name).write_bytes(data)
    code, verified, _ = call("verify", store, "--deep")
    assert code == 1
    assert f"damaged: {shard.relative_to(store)}, frames/feature" in " ".join(verified.split())
    for name in ("run.json", "inventory.parquet", "manifest.parquet", "failures.parquet"):
        assert f"damaged: {name}: it is not as it was written" in verified
    resumed = msnet("resume", store, "--device", "cpu")
    assert resumed.process.returncode == 2, resumed.err
    assert call("verify", store, "--deep")[0] == 0
    assert compare_stores(store, finished[0]).equal


def test_resume_retries_and_rescans(finished: tuple[Path, Running], folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "videos")
    store = tmp_path / "store"
    files = sum(path.is_file() for path in folder.rglob("*"))
    limit = ("--limit", str(files))  # a rescan lifts it
    assert msnet("extract", tmp_path / "videos", "--out", store, *limit, *WINDOWS).process.returncode == 2
    count = len(decoded(store))
    bad = tmp_path / "videos" / "bad"
    write_video(bad / "empty.mp4", frames=30, size=(96, 128), seed=8)  # repaired
    write_video(tmp_path / "videos" / "zz_new.mp4", frames=30, size=(96, 128), seed=9)
    resumed = msnet("resume", store, "--retry-failed", "cannot_open", "--rescan", "--device", "cpu")
    assert resumed.process.returncode == 2, resumed.err
    features = FeatureStore(store)
    assert {"zz_new.mp4", "bad/empty.mp4"} <= set(features.video_ids)
    assert len(features.failures) == 1
    assert len(decoded(store)) - count == 3  # the new one, the repaired one, the one still broken


@pytest.mark.slow
def test_resume_names_changed_and_missing_files(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "good", tmp_path / "videos")
    store = tmp_path / "store"
    first, second, *_ = sorted((tmp_path / "videos").iterdir())
    run = Running("extract", tmp_path / "videos", "--out", store, *WINDOWS)
    run.wait_for((store / "inventory.parquet").exists)
    run.kill()
    run.end()
    shutil.rmtree(store / "staging", ignore_errors=True)
    if (store / "commits").exists():
        shutil.rmtree(store / "commits")
    os.utime(first, ns=(1, 1))
    second.unlink()
    assert msnet("resume", store, "--device", "cpu").process.returncode == 2
    failures = FeatureStore(store).failures.set_index("video_id")["failure"]
    assert failures[first.name] == "changed" and failures[second.name] == "missing"


@pytest.mark.slow
def test_parts_fill_one_store(folder: Path, finished: tuple[Path, Running], tmp_path: Path) -> None:
    store = tmp_path / "store"
    both = [
        Running("extract", folder, "--out", store, *WINDOWS, "--shard-bytes", "30kB", "--part", f"{i}/2")
        for i in (1, 2)
    ]
    codes = [run.end() for run in both]
    assert set(codes) <= {0, 2}, [run.err for run in both]
    assert len(list(store.glob("commits/*.json"))) > 1
    report = compare_stores(store, finished[0])
    assert report.equal, report.differences


def test_a_second_driver_is_refused(folder: Path, tmp_path: Path, call: Call) -> None:
    store = tmp_path / "store"
    run = Running("extract", folder, "--out", store, *WINDOWS)
    run.wait_for((store / "run.json").exists)
    code, _, err = call("resume", store, "--device", "cpu")
    assert code == 1
    assert "is in use by process" in err and err.count("\n") == 1
    assert run.end() == 2


@pytest.mark.slow
def test_dry_run_writes_nothing(folder: Path, tmp_path: Path) -> None:
    run = msnet("extract", folder, "--out", tmp_path / "store", *WINDOWS, "--dry-run")
    assert run.process.returncode == 2, run.err
    assert not (tmp_path / "store").exists()
    assert re.search(r"videos +6\b", run.out) and re.search(r"bad +2\b", run.out)
