"""From a folder to a store and back, through the command line, as users run it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
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
SHARDS = (*WINDOWS, "--shard-bytes", "30kB")  # several
LIMITED = (*SHARDS, "--limit", str(FILES))  # to all files that there are: a rescan lifts it


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


def test_resume_mends_a_damaged_store_retries_and_rescans(finished: Finished, folder: Path, tmp_path: Path) -> None:
    """Where the dataset was moved to, with a file repaired and a new one."""
    store = copy_of(finished.store, tmp_path)
    names = ("run.json", "inventory.parquet", "manifest.parquet", "failures.parquet")
    file, lost = damage(store, names)
    code, verified, _ = here("verify", store, "--deep")
    assert code == 1
    assert f"damaged: {file}, frames/feature" in " ".join(verified.split())
    for name in names:
        assert f"damaged: {name}: it is not as it was written" in verified
    count = len(decoded(store))
    videos = shutil.copytree(folder, tmp_path / "videos")
    write_video(videos / "bad" / "empty.mp4", frames=30, size=(96, 128), seed=8)
    write_video(videos / "zz_new.mp4", frames=30, size=(96, 128), seed=9)
    options = ("--retry-failed", "cannot_open", "--rescan", "--videos", videos, "--device", "cpu")
    resumed = here("resume", store, *options)
    assert resumed.code == 2, resumed.err
    assert here("verify", store, "--deep").code == 0
    added = {"zz_new.mp4", "bad/empty.mp4"}
    features = FeatureStore(store)
    assert set(features.video_ids) == added.union(FeatureStore(finished.store).video_ids)
    assert features.failures["video_id"].tolist() == ["bad/text.mp4"]
    again = [path for _, path in decoded(store)[count:]]
    assert sorted(again) == sorted(str(videos / name) for name in {*lost, *added, "bad/text.mp4"})
    differences = compare_stores(store, finished.store).differences
    assert all(any(name in difference for name in added) for difference in differences), differences


def damage(store: Path, names: Sequence[str]) -> tuple[str, set[str]]:
    """Change a bit of a stored row, and of each of some files; returns the row's shard, and the videos in it."""
    with FeatureStore(store) as features:  # HDF5 would show this process what an open file held before
        first = features.manifest.iloc[0]
        row = features.video(first["video_id"], ["frame"])["frame"][0].tobytes()
        lost = set(features.manifest.loc[features.manifest["file"] == first["file"], "video_id"])
        assert 0 < len(lost) < len(features.video_ids)
    flip(store / first["file"], lambda data: data.index(row) + 5)
    for name in names:
        flip(store / name, lambda data: len(data) // 3)
    return str(first["file"]), lost


def flip(path: Path, where: Callable[[bytes], int]) -> None:
    data = bytearray(path.read_bytes())
    data[where(data)] ^= 0x10
    path.write_bytes(data)


@pytest.mark.slow
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
