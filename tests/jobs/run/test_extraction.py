"""From a folder to a store and back, through the command line, as users run it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import jobs
from extractor import VideoExtractor
from extractor.store.reader import FeatureStore
from jobs.stores.compare import compare_stores
from schemas.errors import ConfigurationError, VideoError
from tests.jobs.conftest import Call
from tests.jobs.running import SMALL, Ended, Running, decoded, here, msnet, staged
from tests.videos import write_video

pytestmark = pytest.mark.ray

WINDOWS = (*SMALL, "--sampling", "windows", "--rate-hz", "10")
FILES = 6
LIMITED = (*WINDOWS, "--limit", str(FILES))  # to all files that there are: a rescan lifts it
SHARDS = (*WINDOWS, "--shard-bytes", "30kB")  # several


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


class Finished(NamedTuple):
    """A store, the run that made it, and a second one that was begun meanwhile."""

    store: Path
    run: Running
    second: Ended


@pytest.fixture(scope="module")
def finished(folder: Path) -> Finished:
    store = folder.parent / "finished"
    run = Running("extract", folder, "--out", store, *LIMITED)
    run.wait_for((store / "run.json").exists)
    second = here("resume", store, "--device", "cpu")
    run.end()
    return Finished(store, run, second)


def copy_of(store: Path, place: Path) -> Path:
    return Path(shutil.copytree(store, place / "store"))


def test_extract_ends_with_2_and_a_table_where_videos_failed(finished: Finished) -> None:
    run = finished.run
    assert run.process.returncode == 2, run.err
    assert re.search(r"videos done +4\b", run.out) and re.search(r"videos failed +2\b", run.out)
    assert "cannot_open" in run.out
    for stage in ("decode", "transform", "network", "write"):
        assert re.search(rf"{stage} +\d", run.out)
    assert "random weights" in run.err
    assert "Traceback" not in run.err


def test_a_store_holds_what_extract_video_returns(finished: Finished) -> None:
    store = FeatureStore(finished.store)
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


def test_extract_writes_what_the_reader_reads(finished: Finished) -> None:
    store = FeatureStore(finished.store)
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


def test_a_second_driver_is_refused(finished: Finished) -> None:
    code, _, err = finished.second
    assert code == 1
    assert "is in use by process" in err and err.count("\n") == 1


def test_extract_again_decodes_nothing(finished: Finished, folder: Path) -> None:
    before = decoded(finished.store)
    again = here("extract", folder, "--out", finished.store, *LIMITED)
    assert again.code == 2, again.err
    assert decoded(finished.store) == before


def test_extract_refuses_another_configuration(finished: Finished, folder: Path, call: Call) -> None:
    store = finished.store
    code, _, err = call("extract", folder, "--out", store, *WINDOWS, "--hop", "4")
    assert code == 1
    assert err.count("\n") == 1 and "hop" in err and "another --out" in err


def test_resume_makes_a_damaged_store_whole_again(finished: Finished, tmp_path: Path) -> None:
    store = copy_of(finished.store, tmp_path)
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
    code, verified, _ = here("verify", store, "--deep")
    assert code == 1
    assert f"damaged: {shard.relative_to(store)}, frames/feature" in " ".join(verified.split())
    for name in ("run.json", "inventory.parquet", "manifest.parquet", "failures.parquet"):
        assert f"damaged: {name}: it is not as it was written" in verified
    resumed = here("resume", store, "--device", "cpu")
    assert resumed.code == 2, resumed.err
    assert here("verify", store, "--deep").code == 0
    assert compare_stores(store, finished.store).equal


def test_resume_retries_and_rescans(finished: Finished, folder: Path, tmp_path: Path) -> None:
    """Where the dataset was moved to, with a file repaired and a new one."""
    videos = shutil.copytree(folder, tmp_path / "videos")
    store = copy_of(finished.store, tmp_path)
    count = len(decoded(store))
    write_video(videos / "bad" / "empty.mp4", frames=30, size=(96, 128), seed=8)
    write_video(videos / "zz_new.mp4", frames=30, size=(96, 128), seed=9)
    options = ("--retry-failed", "cannot_open", "--rescan", "--videos", videos, "--device", "cpu")
    resumed = here("resume", store, *options)
    assert resumed.code == 2, resumed.err
    features = FeatureStore(store)
    assert {"zz_new.mp4", "bad/empty.mp4"} <= set(features.video_ids)
    assert len(features.failures) == 1
    assert len(decoded(store)) - count == 3  # the new one, the repaired one, the one still broken


def test_a_killed_extractor_costs_nothing_that_is_staged(finished: Finished, folder: Path, tmp_path: Path) -> None:
    """tests/jobs/workers/test_chaos kills processes of every kind."""
    store = tmp_path / "store"
    run = Running("extract", folder, "--out", store, *SHARDS)
    run.wait_for(lambda: staged(store) and run.workers("Extractor"))
    before, begun = staged(store), {attempt for attempt, _ in decoded(store)}
    for pid in run.workers("Extractor")[:1]:
        run.kill(pid)
    assert run.end() == 2, run.err
    assert "Traceback" not in run.err
    later = {path for attempt, path in decoded(store) if attempt not in begun.union(*before.values())}
    assert not later & {str(folder / name) for name in before}, "what was staged is not decoded again"
    report = compare_stores(store, finished.store)
    assert report.equal, report.differences


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
def test_parts_fill_one_store(folder: Path, finished: Finished, tmp_path: Path) -> None:
    store = tmp_path / "store"
    both = [Running("extract", folder, "--out", store, *SHARDS, "--part", f"{i}/2") for i in (1, 2)]
    codes = [run.end() for run in both]
    assert set(codes) <= {0, 2}, [run.err for run in both]
    assert len(list(store.glob("commits/*.json"))) > 1
    report = compare_stores(store, finished.store)
    assert report.equal, report.differences


@pytest.mark.slow
def test_dry_run_writes_nothing(folder: Path, tmp_path: Path) -> None:
    run = msnet("extract", folder, "--out", tmp_path / "store", *WINDOWS, "--dry-run")
    assert run.process.returncode == 2, run.err
    assert not (tmp_path / "store").exists()
    assert re.search(r"videos +6\b", run.out) and re.search(r"bad +2\b", run.out)
