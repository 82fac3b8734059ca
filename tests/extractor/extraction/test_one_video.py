"""`extract_video` against a store of the same videos, staged and committed without any of its code."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from extractor import VideoExtractor, extract_video
from extractor.extraction.one_video import _job
from extractor.store import FeatureStore, Run, commit_shard, new_attempt, write_run
from extractor.video import decode
from schemas.errors import ConfigurationError, FailureClass, VideoError
from schemas.layout import StorePaths
from schemas.manifest import MANIFEST_COLUMNS
from schemas.records import DecodingEvent, FileJob, FrameChunk, Header, Item, Restart
from tests.extractor.pipeline.truth import stage
from tests.videos import write_video

SMALL: dict[str, Any] = {"weights": "random", "size": 64, "device": "cpu", "batch_frames": 8}
CASES: dict[str, dict[str, Any]] = {
    "windows": {"num_frames": 4, "hop": 3, "rate_hz": 10},
    "dense": {"rate_hz": 0, "outputs": "clip,frame,motion:4,displacement,stage3_2x2", "store_dtype": "float32"},
    "segments": {"num_frames": 4, "clips": 2},
    "clips": {"num_frames": 4, "rate_hz": 8},
    "ensemble": {"model": "msnet_en_resnet18", "sampling": "segments"},
}
SEGMENT = Item("a.mp4#0.2-0.9", 0.2, 0.9)


@dataclass(frozen=True)
class Case:
    extractor: VideoExtractor
    store: FeatureStore


@pytest.fixture(scope="module", autouse=True)
def few_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "a.mp4", frames=40, fps=25, seed=3)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, video: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """An extractor, and a store of the video and of a segment of it, made by the same options."""
    extractor = VideoExtractor(**{"sampling": request.param, **SMALL, **CASES[request.param]})
    paths = StorePaths(tmp_path_factory.mktemp("store") / "store")
    paths.root.mkdir()
    run = write_run(paths, Run(extractor.config, extractor.shape, "none", 10**9, "", ""))
    attempt = new_attempt(paths, run, "shard-00000", "token")
    items = (Item("a.mp4"), SEGMENT)
    members = (8, 16) if request.param == "ensemble" else None
    events = decode(FileJob(str(video), items), run.config, members=members)
    ids = [item.video_id for item in items]
    stage(extractor.network, run.config, attempt, ids, events, batch_frames=8)
    commit_shard(attempt, ids)
    return Case(extractor, FeatureStore(paths.root))


def same(found: Any, stored: dict[str, np.ndarray]) -> None:
    assert list(found) == list(stored)
    for name, rows in stored.items():
        assert found[name].dtype == rows.dtype, name
        np.testing.assert_array_equal(found[name], rows, err_msg=name)


@pytest.mark.parametrize("item", [Item("a.mp4"), SEGMENT], ids=["whole", "segment"])
def test_features_are_those_of_a_store(case: Case, video: Path, item: Item) -> None:
    found = case.extractor.extract(video, start_seconds=item.start_seconds, end_seconds=item.end_seconds)
    same(found, case.store.video(item.video_id))
    assert (found.video_id, found.config) == (item.video_id, case.store.config)
    clips = case.store.video_clips(item.video_id)
    rows = case.store.manifest_rows(clips)
    for name in ("clip_row", "frame_start", "frame_stop", "pair_start", "pair_stop"):
        rows[name] -= rows[name.replace("stop", "start")].iloc[0] if "stop" not in name else 0
    for level in ("frame", "pair"):
        rows[f"{level}_stop"] -= case.store.manifest[f"{level}_start"].iloc[clips.start]
    assert rows.drop(columns=["shard", "file"]).equals(found.clips)
    assert list(found.clips) == [name for name in MANIFEST_COLUMNS if name not in ("shard", "file")]
    for number, clip in enumerate(clips):
        same(found.clip(number), case.store.clip(clip))


def test_parts_are_the_same_rows_as_they_come(case: Case, video: Path) -> None:
    parts = list(case.extractor.parts(video))
    assert len(parts) > 1 and [part.clips is None for part in parts] == [True] * (len(parts) - 1) + [False]
    assert not any(part.restarts for part in parts)
    stored = case.store.video("a.mp4")
    for name, rows in stored.items():
        given = [part.tensors[name] for part in parts if name in part.tensors]
        np.testing.assert_array_equal(np.concatenate(given), rows)
    if case.store.config.sampling.is_continuous:
        assert max(len(part.tensors.get("frame", ())) for part in parts) <= 8 + 9  # a batch, and what waited at the end


def restarting(events: Iterator[DecodingEvent]) -> Iterator[DecodingEvent]:
    """The same file, of which a first decoder decodes black frames and is then found to misbehave."""
    header, *others = events
    assert isinstance(header, Header)
    chunks = [event for event in others if isinstance(event, FrameChunk)]
    yield header
    yield from (replace(chunk, frames=np.zeros_like(chunk.frames)) for chunk in chunks)
    yield Restart("it was made up")
    yield from others


def test_a_restart_voids_what_came_before(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = VideoExtractor(sampling="dense", **SMALL)
    whole = extractor.extract(video)
    monkeypatch.setattr(
        "extractor.extraction.one_video.decode", lambda *args, **options: restarting(decode(*args, **options))
    )
    same(extractor.extract(video), dict(whole))
    restarts = [part.restarts for part in extractor.parts(video)]
    assert sum(restarts) == 1 and not restarts[0]


def test_one_call_does_it_all(video: Path) -> None:
    found = extract_video(video, weights="random", device="cpu", size=64, sampling="segments", outputs=["frame"])
    assert found["frame"].shape == (8, 512) and "motion" not in found
    assert repr(found) == "VideoFeatures('a.mp4': 1 clip; frame (8, 512), time_seconds (8,), index (8,), valid (8,))"
    with pytest.raises(IndexError, match="one of 1 clip; got 1"):
        found.clip(1)


def test_a_video_that_fails_says_its_class(video: Path, tmp_path: Path) -> None:
    extractor = VideoExtractor(model="tsn_resnet18", **SMALL)
    (tmp_path / "text.mp4").write_text("not a video" * 100)
    short = write_video(tmp_path / "short.mp4", frames=1)
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:-2000])
    for path, failure in (
        (tmp_path / "missing.mp4", FailureClass.MISSING),
        (tmp_path / "text.mp4", FailureClass.CANNOT_OPEN),
        (short, FailureClass.TOO_SHORT),
    ):
        with pytest.raises(VideoError) as raised:
            extractor.extract(path)
        assert raised.value.failure is failure
    with pytest.raises(VideoError):
        list(extractor.parts(tmp_path / "cut.mp4"))


def test_what_means_nothing_is_refused(video: Path) -> None:
    with pytest.raises(ConfigurationError, match="--hop only with"):
        VideoExtractor(weights="random", sampling="dense", hop=3)
    with pytest.raises(ConfigurationError, match="a device that can be used here; got 'abacus'"):
        VideoExtractor(weights="random", size=64, device="abacus")
    extractor = VideoExtractor(model="tsn_resnet18", **SMALL)
    for start, end in ((2.0, 1.0), (-1.0, None), (float("nan"), None)):
        with pytest.raises(ConfigurationError, match="a segment from 0 s or later to a later end"):
            extractor.extract(video, start_seconds=start, end_seconds=end)


@pytest.mark.parametrize("fps", [math.nan, math.inf, -1.0, 0.0])
def test_images_have_a_rate(tmp_path: Path, fps: float) -> None:
    with pytest.raises(ConfigurationError, match="expected a number above 0 for fps"):
        _job(tmp_path, None, None, fps)  # as a video of two frames, it would be extracted


def test_a_path_without_end_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="NUL"):
        _job("a\0b", None, None, None)
