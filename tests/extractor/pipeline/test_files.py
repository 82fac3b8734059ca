from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from extractor.models.loading import load_model
from extractor.models.msnet import MSNet, MSNetEnsemble
from extractor.models.pieces import TemporalLayers
from extractor.pipeline.files import FileFrames
from extractor.pipeline.messages import ItemDone
from extractor.store import FeatureStore, commit_shard, new_attempt, staged_items, write_run
from extractor.store.commits.run import Run
from schemas.config import Edges
from schemas.errors import FailureClass, NotFiniteError, VideoError
from schemas.layout import StorePaths, shard_name
from schemas.manifest import MANIFEST_COLUMNS
from schemas.records import Decoded, Failure, FileJob, Header, Item, Restart
from schemas.tensors import NetworkShape
from tests.extractor.pipeline.truth import (
    FPS,
    File,
    assert_close,
    chunks_of,
    events_of,
    expected_clips,
    extract,
    make_config,
    make_frames,
    make_info,
    make_plan,
    stage,
)

SAMPLINGS = ["windows", "dense", "clips"]
WHO = ("clip_number", "frame_start", "frame_stop", "pair_start", "pair_stop", "start_seconds", "end_seconds")


def start(network: MSNet, *items: str, sampling: str = "windows", **fields: Any) -> tuple[File, Any]:
    config = make_config(sampling=sampling, **fields)
    return File(network, config, *(items or ("a",)), batch_frames=16), config


def test_manifest_rows_describe_the_video(network: MSNet) -> None:
    config = make_config()
    info = make_info(
        8,
        rotation=90,
        flags=("rotated", "vfr"),
        times_made_up=True,
        codec="hevc",
        container="mov",
        fps=25.0,
        pixel_aspect=0.75,
    )
    decoded = Decoded("decord", "3.4", "begun again", 2, 3, 1.0, 1.0, ("vfr", "slow"))
    found = extract(network, config, make_frames(8), [make_plan(8, config, Item("a"))], info=info, decoded=decoded)
    assert found.reports == [ItemDone("a", 1, 8)]
    (row,) = found.writers["a"].clips or ()
    assert row == {
        **dict(zip(WHO, (0, 0, 8, 0, 7, 0.0, 0.7), strict=True)),
        "num_valid_frames": 8,
        "rate_capped": False,
        "fps": 25.0,
        "video_start_seconds": 0.0,
        "video_end_seconds": 0.8,
        "width": 96,  # as displayed: turned by 90 degrees
        "height": 128,
        "pixel_aspect": 0.75,
        "codec": "hevc",
        "container": "mov",
        "scale_x": 2.0,
        "scale_y": 1.5,
        "offset_x": -3.0,
        "offset_y": 0.25,
        "times_made_up": True,
        "decoder": "decord",
        "decoder_version": "3.4",
        "fallback_reason": "begun again",
        "flags": "rotated,vfr,slow",
        "bad_packets": 2,
        "bad_frames": 3,
    }
    assert row.keys() == MANIFEST_COLUMNS.keys() - {"video_id", "shard", "file", "clip_row"}


def test_rate_above_the_files_own_is_noted(network: MSNet) -> None:
    config = make_config(rate_hz=50.0)
    found = extract(network, config, make_frames(9), [make_plan(9, config, Item("a"))])
    assert [row["rate_capped"] for row in found.writers["a"].clips or ()] == [True, True]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_nothing_is_durable_before_the_file_is_decoded_to_the_end(sampling: str, network: MSNet) -> None:
    file, config = start(network, sampling=sampling)
    *most, last = events_of(make_frames(24), [make_plan(24, config, Item("a"))])
    file.take(most).flush()
    assert (file.reports, file.writers["a"].clips, file.done) == ([], None, False)
    file.take([last]).flush()
    assert len(file.reports) == 1
    assert file.done


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("after", [1, 2, 4])
def test_late_error_leaves_nothing(sampling: str, after: int, network: MSNet) -> None:
    file, config = start(network, "a", "b", sampling=sampling)
    plans = [make_plan(24, config, Item("a")), make_plan(24, config, Item("b", 1.0))]
    file.take(list(events_of(make_frames(24), plans))[:after])
    file.frames.fail(VideoError(FailureClass.TRUNCATED, "it ends too early"), attempts=2)
    file.flush()
    assert [(r.video_id, r.failure, r.message, r.attempts) for r in file.reports if isinstance(r, Failure)] == [
        (name, FailureClass.TRUNCATED, "it ends too early", 2) for name in ("a", "b")
    ]
    assert all(writer.clips is None and not writer.rows and writer.resets for writer in file.writers.values())
    assert file.done


def test_error_before_the_header_fails_every_item(network: MSNet) -> None:
    file, _ = start(network, "a", "b")
    file.frames.fail(VideoError(FailureClass.CANNOT_OPEN, "no container"))
    assert [(r.video_id, r.attempts) for r in file.reports] == [("a", 1), ("b", 1)]
    assert file.opened == []


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_restart_forgets_what_came_before(sampling: str, network: MSNet) -> None:
    """By the decoder itself, with the same header; and by another decoder, with a header of its own."""
    wrong, right = make_frames(20, seed=1), make_frames(20, seed=2)
    for headers in (1, 2):
        file, config = start(network, sampling=sampling)
        plans = [make_plan(20, config, Item("a"))]
        first, *chunks, _ = events_of(wrong, plans)
        file.take([first, *chunks[:-1], Restart("wrong number of frames")])
        file.take(list(events_of(right, plans))[0 if headers == 2 else 1 :]).flush()
        clips = [right[:8], right[8:16], right[12:]] if sampling == "clips" else [right]
        expected = expected_clips(network, clips)
        del expected["clips/logits"]
        if sampling == "windows":
            del expected["clips/feature"]
        assert_close(file.writers["a"].rows, expected)
        assert len(file.reports) == 1
        assert all(writer.clips is None and not writer.rows for writer in file.opened[:-1])
        assert all(writer.resets == 1 for writer in file.opened[:-1])


def test_results_of_a_restarted_file_that_come_late_are_ignored(network: MSNet) -> None:
    """Clips of the first try may still wait for their batch when the second one begins."""
    config = make_config(sampling="clips")
    file = File(network, config, "a", batch_frames=10_000)
    plans = [make_plan(16, config, Item("a"))]
    wrong, right = make_frames(16, seed=1), make_frames(16, seed=2)
    file.take([*list(events_of(wrong, plans))[:-1], Restart("again")])
    file.take(events_of(right, plans)).flush()
    expected = expected_clips(network, [right[:8], right[8:]])
    del expected["clips/logits"]
    assert_close(file.writers["a"].rows, expected)
    assert file.reports == [ItemDone("a", 2, 16)]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_frames_that_did_not_come_fail_their_items_only(sampling: str, network: MSNet) -> None:
    config = make_config(sampling=sampling)
    plans = [make_plan(30, config, Item("a", 0.0, 1.0)), make_plan(30, config, Item("b", 1.5, 3.0))]
    found = extract(network, config, make_frames(30), plans, left_out=(3, 4))
    failure, done = found.reports
    assert isinstance(failure, Failure)
    assert (failure.video_id, failure.failure) == ("a", FailureClass.CORRUPT)
    assert failure.message == "expected 10 frames from the decoder; 2 did not come"
    assert isinstance(done, ItemDone) and done.video_id == "b"
    assert found.writers["a"].clips is None


def test_items_that_cannot_be_sampled_fail_beside_the_others(network: MSNet) -> None:
    config = make_config()
    short = Failure("b", FailureClass.TOO_SHORT, "one frame")
    file = File(network, config, "a", "b", batch_frames=16)
    file.take(events_of(make_frames(8), [make_plan(8, config, Item("a")), short])).flush()
    assert file.reports == [short, ItemDone("a", 1, 8)]
    assert file.done
    none = File(network, config, "b", batch_frames=16).take(events_of(make_frames(8), [short]))
    assert (none.reports, none.done) == ([short], True)


def test_cancel_reports_nothing(network: MSNet) -> None:
    file, config = start(network)
    file.take(list(events_of(make_frames(8), [make_plan(8, config, Item("a"))]))[:-1])
    file.frames.cancel()
    file.flush()
    assert (file.reports, file.writers["a"].clips, file.writers["a"].resets) == ([], None, 1)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_rows_that_the_store_refuses_fail_their_item_only(sampling: str, network: MSNet) -> None:
    config = make_config(sampling=sampling)
    refusal = NotFiniteError("3 of 7 values are not finite")
    file = File(network, config, "a", "b", batch_frames=16, errors={"a": refusal})
    file.take(events_of(make_frames(20), [make_plan(20, config, Item(name)) for name in "ab"])).flush()
    by_id = {report.video_id: report for report in file.reports}
    assert isinstance(by_id["a"], Failure)
    assert (by_id["a"].failure, by_id["a"].message) == (FailureClass.NOT_FINITE, str(refusal))
    assert isinstance(by_id["b"], ItemDone)
    assert len(file.reports) == 2
    assert (file.writers["a"].clips, file.writers["a"].resets) == (None, 1)


class Brightness:
    """Stands in for a network: features are a frame's brightness, scaled so that white is beyond float16."""

    device = torch.device("cpu")
    training = False
    spec = SimpleNamespace(edges=Edges.REPEAT)
    classifier = None

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.members = (self,)

    def temporal_layers(self) -> TemporalLayers:
        return (), (), ()

    def run(
        self, frames: torch.Tensor, timeline: object, stages: object
    ) -> tuple[torch.Tensor, None, dict[str, torch.Tensor]]:
        brightness = frames.mean((1, 2, 3))[:, None]
        return torch.where(brightness > 0, self.factor * brightness, 0.0), None, {}


def staged_run(tmp_path: Path, config: Any, shape: NetworkShape) -> Any:
    paths = StorePaths(tmp_path / "store")
    paths.root.mkdir()
    run = Run(config, shape, "none", 10**9, "/nowhere", "2026-01-01T00:00:00+00:00")
    return new_attempt(paths, write_run(paths, run), shard_name(0), "token")


@pytest.mark.parametrize("factor", [1e5, float("inf")])
def test_values_beyond_the_number_format_are_not_finite(factor: float, tmp_path: Path) -> None:
    """One white segment among black ones, in one batch with them, through the writer that checks."""
    config = make_config(sampling="clips", outputs=("clip", "frame"), store_dtype="float16", size=32)
    attempt = staged_run(tmp_path, config, NetworkShape(1, 1, 0, (8, 8)))
    frames = np.zeros((24, 32, 32, 3), np.uint8)
    frames[8:16] = 255
    plans = [make_plan(24, config, Item(name, k * 0.8, (k + 1) * 0.8)) for k, name in enumerate("abc")]
    reports = stage(Brightness(factor), config, attempt, list("abc"), events_of(frames, plans), batch_frames=1000)
    by_id = {report.video_id: report for report in reports}
    assert isinstance(by_id["a"], ItemDone) and isinstance(by_id["c"], ItemDone)
    assert isinstance(by_id["b"], Failure)
    assert by_id["b"].failure is FailureClass.NOT_FINITE
    assert "not finite as float16" in by_id["b"].message
    failed = staged_items(attempt.paths, attempt.run, attempt.shard)["b"].failure
    assert failed is not None and failed.failure is FailureClass.NOT_FINITE


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_nan_of_the_network_fails_its_item_only(sampling: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """A network whose activations are NaN for a white frame, which lies in the second of three items."""
    outputs = ("clip", "frame", "motion", "displacement", "confidence")
    config = make_config(sampling=sampling, outputs=outputs, dtype=str(dtype).removeprefix("torch."))
    network = load_model("msnet_resnet18", weights="random", dtype=dtype)
    attempt = staged_run(tmp_path, config, NetworkShape(512, 512, 128, (8, 8)))
    frames = make_frames(24)
    frames[12] = 255
    plans = [make_plan(24, config, Item(name, k * 0.8, (k + 1) * 0.8)) for k, name in enumerate("abc")]

    def spoil(module: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        white = (inputs[0] > 2).all(3).all(2).all(1)
        return torch.where(white[:, None, None, None], torch.nan, output)

    network.backbone.conv1.register_forward_hook(spoil)  # type: ignore[union-attr]
    reports = stage(network, config, attempt, list("abc"), events_of(frames, plans), batch_frames=1000)
    by_id = {report.video_id: report for report in reports}
    assert isinstance(by_id["a"], ItemDone) and isinstance(by_id["c"], ItemDone)
    assert isinstance(by_id["b"], Failure)
    assert by_id["b"].failure is FailureClass.NOT_FINITE
    commit_shard(attempt, list("abc"))
    store = FeatureStore(attempt.paths.root)
    assert all(np.isfinite(found).all() for video_id in "ac" for found in store.video(video_id).values())
    store.close()


@pytest.mark.parametrize("sampling", ["windows", "dense", "segments"])
@pytest.mark.parametrize("outputs", [("clip", "frame", "motion", "displacement", "confidence", "logits"), ("clip",)])
def test_rows_arrive_in_the_store(sampling: str, outputs: tuple[str, ...], network: MSNet, tmp_path: Path) -> None:
    config = make_config(sampling=sampling, outputs=outputs, clips=2)
    attempt = staged_run(tmp_path, config, NetworkShape(512, 512, 128, (8, 8), 5))
    frames = make_frames(30)
    spans = {"a": (0, 30), "b/ä.mp4#1-2": (10, 21)}
    plans = [make_plan(30, config, Item(name, a / FPS, b / FPS)) for name, (a, b) in spans.items()]
    reports = stage(network, config, attempt, list(spans), events_of(frames, plans, chunks=(7, 2)))
    assert {report.video_id for report in reports if isinstance(report, ItemDone)} == spans.keys()
    commit_shard(attempt, list(spans))
    store = FeatureStore(attempt.paths.root)
    memory = extract(network, config, frames, plans)
    names = {"clip": "clips/feature", "frame": "frames/feature", "displacement": "pairs/displacement"}
    names |= {"time_seconds": "frames/time_seconds", "index": "frames/index", "valid": "frames/valid"}
    for video_id in spans:
        found = store.video(video_id)
        for name in set(names) & set(found):
            wanted = memory.writers[video_id].rows[names[name]]
            np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5)
        rows = store.manifest[store.manifest["video_id"] == video_id]
        clips = memory.writers[video_id].clips or []
        for name in ("clip_number", "start_seconds", "end_seconds", "num_valid_frames", "fps", "decoder"):
            assert rows[name].tolist() == [clip[name] for clip in clips], name
        for clip in range(len(clips)):
            wanted = memory.writers[video_id].rows["frames/index"]
            np.testing.assert_array_equal(
                store.clip(int(rows.index[clip]))["index"],
                wanted[clips[clip]["frame_start"] : clips[clip]["frame_stop"]],
            )
    store.close()


@pytest.mark.parametrize("outputs", [("clip", "frame", "displacement"), ("clip",), ("frame",)])
def test_rows_of_an_ensemble_arrive_in_the_store(
    outputs: tuple[str, ...], ensemble: MSNetEnsemble, tmp_path: Path
) -> None:
    config = make_config(model="msnet_en_resnet18", sampling="segments", num_frames=None, outputs=outputs)
    attempt = staged_run(tmp_path, config, NetworkShape(1024, 512, 128, (8, 8), 5, members=2))
    events = events_of(make_frames(40), [make_plan(40, config, Item("a"), (8, 16))])
    reports = stage(ensemble, config, attempt, ["a"], events)
    assert reports == [ItemDone("a", 1, 24)]
    commit_shard(attempt, ["a"])
    store = FeatureStore(attempt.paths.root)
    found = store.video("a")
    assert found["frame_member"].tolist() == [0] * 8 + [1] * 16
    assert len(found["pair_member"]) == (22 if "displacement" in outputs else 0)
    store.close()


def test_two_files_share_a_batch_and_end_on_their_own(network: MSNet) -> None:
    config = make_config(sampling="clips")
    file = File(network, config, "a", "b", batch_frames=1000)
    frames = {name: make_frames(8, seed) for seed, name in enumerate("ab")}
    for name, own in frames.items():
        one = FileFrames(FileJob(f"/nowhere/{name}.mp4", (Item(name),)), "shard-00000", file.feeder, file.tell)
        for event in events_of(own, [make_plan(8, config, Item(name))]):
            one.handle(event)
        assert one.ended
    assert (file.reports, file.done) == ([], False)
    file.flush()
    assert file.reports == [ItemDone("a", 1, 8), ItemDone("b", 1, 8)]
    for name, own in frames.items():
        feature = expected_clips(network, [own])["clips/feature"]
        assert_close(file.writers[name].rows, {"clips/feature": feature})


def test_events_of_a_header_alone_report_nothing(network: MSNet) -> None:
    file, config = start(network)
    plan = make_plan(8, config, Item("a"))
    file.take(event for event in events_of(make_frames(8), [plan]) if isinstance(event, Header))
    file.take(chunks_of(make_frames(8), [plan], (3,)))
    assert (file.reports, file.done) == ([], False)
