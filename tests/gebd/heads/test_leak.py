"""What a split by source is for: a head that remembers looks promises more in validation than it keeps in a test."""

from __future__ import annotations

import random
import string
from pathlib import Path

import numpy as np
import pytest

from extractor.store import FeatureStore, StagingLog, commit_shard, new_attempt, write_inventory, write_run
from extractor.store.commits.run import Run
from gebd import Annotations, VideoAnnotation, evaluate, head_config, predict, train_head
from gebd.heads.run_folder import HeadFolder
from schemas.config import ExtractionConfig
from schemas.layout import StorePaths, shard_name
from schemas.tensors import NetworkShape
from tests.extractor.store.making import item_clips, make_inventory

CHANNELS, FRAMES, RATE_HZ = 32, 80, 10.0
SECONDS = FRAMES / RATE_HZ


def make_stretches(root: Path, sources: int, stretches: int, seed: int) -> tuple[FeatureStore, Annotations]:
    """Stretches of `sources` videos with four looks each; a boundary is where one of two of these looks begins."""
    root.mkdir()
    rng, names = np.random.default_rng(seed), random.Random(seed)
    paths = StorePaths(root)
    config = ExtractionConfig(model="msnet_resnet18", weights="random", seed=0, sampling="dense", outputs=("frame",))
    shape = NetworkShape(clip_dim=CHANNELS, frame_dim=CHANNELS, motion_channels=2, cells=(6, 8))
    run = write_run(paths, Run(config, shape, "none", 10**6, "/videos", ""))
    youtube = ["".join(names.choices(string.ascii_letters + string.digits, k=11)) for _ in range(sources)]
    looks = {one: rng.standard_normal((4, CHANNELS)) for one in youtube}
    ids = [f"{one}_s{n:05d}_0_100_8_100" for one in youtube for n in range(stretches)]
    write_inventory(paths, make_inventory([ids]))
    attempt = new_attempt(paths, run, shard_name(0), "token")
    truth = []
    with StagingLog(attempt) as log:
        for video_id in ids:
            features, marks = _stretch(looks[video_id[:11]], rng)
            with log.item(video_id) as writer:
                writer.append(
                    {
                        "frames/time_seconds": np.arange(FRAMES) / RATE_HZ,
                        "frames/index": np.arange(FRAMES) * 3,
                        "frames/valid": np.ones(FRAMES, np.uint8),
                        "frames/feature": features.astype(np.float32),
                    }
                )
                row = {"frame_stop": FRAMES, "pair_stop": 0, "num_valid_frames": FRAMES, "video_end_seconds": SECONDS}
                writer.finish([item_clips(run, 1)[0] | row | {"end_seconds": SECONDS - 1 / RATE_HZ}])
            truth.append(VideoAnnotation(video_id, SECONDS, (tuple(marks),), fps=30.0))
    commit_shard(attempt, ids)
    return FeatureStore(root), Annotations(truth)


def _stretch(looks: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[float]]:
    features, marks = np.zeros((FRAMES, CHANNELS)), []
    at, look = 0, int(rng.integers(4))
    while at < FRAMES:
        length = int(rng.integers(8, 16))
        features[at : at + length] = looks[look]
        at, look = at + length, int(rng.choice([other for other in range(4) if other != look]))
        if at < FRAMES and look < 2:
            marks.append(round((at - 0.5) / RATE_HZ, 2))
    return features + rng.standard_normal(features.shape) * 0.5, marks


@pytest.mark.slow
def test_validation_keeps_its_promise_if_no_source_is_on_both_sides(tmp_path: Path) -> None:
    store, truth = make_stretches(tmp_path / "training", 60, 5, seed=1)
    other, test = make_stretches(tmp_path / "test", 40, 2, seed=2)
    windows = {"window_seconds": 8.0, "hop_seconds": 4.0}
    unvaried = {"stretch": 0.0, "reverse": False, "noise": 0.0}
    config = head_config(head="temporal", appearance=16, max_epochs=30, learning_rate=3e-3, **windows, **unvaried)
    gap = {}
    for name, sources in (("items", {video_id: video_id for video_id in truth}), ("sources", None)):
        result = train_head(store, truth, tmp_path / name, config, sources=sources)
        parts = HeadFolder(result.folder).parts()
        shared = {one[:11] for one in parts.training} & {one[:11] for one in parts.validation}
        assert bool(shared) == (name == "items")
        promised = result.comparison.evaluations["temporal"].f1[0.05]
        kept = evaluate(predict(result.trained, other, test).boundaries, test).f1[0.05]
        print(f"split by {name}: F1 at 0.05 {promised:.3f} in validation, {kept:.3f} in the test")
        gap[name] = promised - kept
    assert gap["items"] > 0.3
    assert gap["sources"] < 0.2  # not 0: epoch and threshold are chosen on the validation part
