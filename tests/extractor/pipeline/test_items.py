from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from extractor.models.loading import load_model
from extractor.models.msnet import MSNet, MSNetEnsemble
from extractor.pipeline.feeder import Feeder
from extractor.pipeline.items import ClipFrames, SequenceFrames
from extractor.video.sampling import plan_item
from schemas.config import ExtractionConfig, Sampling
from schemas.layout import datasets_of
from schemas.records import Item
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
    make_plan,
)

ALL = ("clip", "frame", "motion", "displacement", "confidence", "logits")


def of_frames(index: list[int], valid: list[int]) -> dict[str, Any]:
    return {
        "frames/time_seconds": np.array(index) / FPS,
        "frames/index": np.array(index),
        "frames/valid": np.array(valid, np.uint8),
    }


def clip_of(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("clip_number", "frame_start", "frame_stop", "pair_start", "pair_stop", "start_seconds", "end_seconds")
    return (*(row[name] for name in names), row["num_valid_frames"])


WINDOWS = pytest.mark.parametrize(
    ("count", "num_frames", "hop", "starts"),
    [
        (16, 8, 8, [0, 8]),
        (19, 8, 8, [0, 8, 11]),
        (14, 8, 3, [0, 3, 6]),
        (15, 8, 3, [0, 3, 6, 7]),
        (8, 8, 1, [0]),
        (25, 4, 10, [0, 10, 20, 21]),
        (9, 2, 1, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)


@WINDOWS
def test_clips_are_sequences_of_their_own(
    count: int, num_frames: int, hop: int, starts: list[int], network: MSNet
) -> None:
    config = make_config(sampling="clips", num_frames=num_frames, hop=hop, outputs=ALL)
    frames = make_frames(count, seed=count)
    found = extract(network, config, frames, [make_plan(count, config, Item("a"))]).writers["a"]
    index = [start + k for start in starts for k in range(num_frames)]
    expected = expected_clips(network, [frames[s : s + num_frames] for s in starts])
    assert_close(found.rows, expected | of_frames(index, [1] * len(index)))
    assert found.rows.keys() == expected.keys() | {"frames/time_seconds", "frames/index", "frames/valid"}
    pairs = num_frames - 1
    assert found.clips is not None
    assert [clip_of(row) for row in found.clips] == [
        (
            *(k, k * num_frames, (k + 1) * num_frames, k * pairs, (k + 1) * pairs),
            *(start / FPS, (start + num_frames - 1) / FPS, num_frames),
        )
        for k, start in enumerate(starts)
    ]


@WINDOWS
@pytest.mark.parametrize("chunks", [(1,), (5,), (100,)])
def test_windows_are_ranges_of_one_pass(
    count: int, num_frames: int, hop: int, starts: list[int], chunks: tuple[int, ...], network: MSNet
) -> None:
    """Each frame once, as in dense; overlapping windows share rows, and a clip is the mean of its rows."""
    config = make_config(num_frames=num_frames, hop=hop, outputs=ALL)
    frames = make_frames(count, seed=count)
    found = extract(network, config, frames, [make_plan(count, config, Item("a"))], chunks=chunks).writers["a"]
    kept = sorted({start + k for start in starts for k in range(num_frames)})
    pairs = [k for k in kept if k + 1 in kept]
    whole = expected_clips(network, [frames])
    rows = {"frames": kept, "pairs": pairs, "clips": [0]}
    expected = {path: array[rows[path.split("/")[0]]] for path, array in whole.items()}
    ranges = [slice(start, start + num_frames) for start in starts]
    means = np.stack([whole["frames/feature"][one].astype(np.float64).mean(0) for one in ranges])
    expected["clips/feature"] = means.astype(np.float32)
    expected["clips/logits"] = network.classifier(torch.from_numpy(expected["clips/feature"])).detach().numpy()
    assert_close(found.rows, expected | of_frames(kept, [1] * len(kept)))
    assert found.clips is not None
    for row, start in zip(found.clips, starts, strict=True):
        assert found.rows["frames/index"][row["frame_start"] : row["frame_stop"]].tolist() == list(
            range(start, start + num_frames)
        )
        assert [pairs[k] for k in range(row["pair_start"], row["pair_stop"])] == list(
            range(start, start + num_frames - 1)
        )
        times = (row["start_seconds"], row["end_seconds"], row["num_valid_frames"])
        assert times == (start / FPS, (start + num_frames - 1) / FPS, num_frames)


def test_windows_of_a_short_item_are_one_of_all_its_frames(network: MSNet) -> None:
    config = make_config(outputs=ALL)
    frames = make_frames(3)
    found = extract(network, config, frames, [make_plan(3, config, Item("a"))]).writers["a"]
    assert_close(found.rows, expected_clips(network, [frames]) | of_frames([0, 1, 2], [1] * 3))
    assert found.clips is not None
    assert [clip_of(row) for row in found.clips] == [(0, 0, 3, 0, 2, 0.0, 0.2, 3)]


def test_short_item_repeats_its_last_frame_in_a_separate_clip(network: MSNet) -> None:
    config = make_config(sampling="clips", outputs=ALL)
    frames = make_frames(3)
    found = extract(network, config, frames, [make_plan(3, config, Item("a"))]).writers["a"]
    index = [0, 1, 2, 2, 2, 2, 2, 2]
    assert_close(found.rows, expected_clips(network, [frames[index]]) | of_frames(index, [1] * 3 + [0] * 5))
    assert found.clips is not None
    assert [clip_of(row) for row in found.clips] == [(0, 0, 8, 0, 7, 0.0, 0.2, 3)]


def test_segments_take_the_middle_of_every_part(network: MSNet) -> None:
    config = make_config(sampling="segments", num_frames=4, outputs=ALL)
    frames = make_frames(21)
    found = extract(network, config, frames, [make_plan(21, config, Item("a"))]).writers["a"]
    index = [int(21 / 4 * (i + 0.5)) for i in range(4)]
    assert_close(found.rows, expected_clips(network, [frames[index]]) | of_frames(index, [1] * 4))


def test_several_clips_of_segments_come_in_order(network: MSNet) -> None:
    """Their frames interleave, so a later clip may be complete before an earlier one has results."""
    config = make_config(sampling="segments", num_frames=4, clips=3, outputs=ALL)
    frames = make_frames(30)
    found = extract(network, config, frames, [make_plan(30, config, Item("a"))], batch_frames=8).writers["a"]
    index = [[int(30 / 4 * (i + (j + 0.5) / 3)) for i in range(4)] for j in range(3)]
    expected = expected_clips(network, [frames[row] for row in index])
    assert_close(found.rows, expected | of_frames(np.concatenate(index).tolist(), [1] * 12))
    assert found.clips is not None
    assert [row["start_seconds"] for row in found.clips] == [row[0] / FPS for row in index]


@pytest.mark.parametrize("count", [40, 12, 5])
def test_ensemble_keeps_each_members_rows(count: int, ensemble: MSNetEnsemble) -> None:
    config = make_config(model="msnet_en_resnet18", sampling="segments", num_frames=None, outputs=ALL)
    frames = make_frames(count)
    plan = make_plan(count, config, Item("a"), (8, 16))
    found = extract(ensemble, config, frames, [plan]).writers["a"]
    index = [
        [int(count / t * (i + 0.5)) for i in range(t)] if count >= t else [min(i, count - 1) for i in range(t)]
        for t in (8, 16)
    ]
    each = [expected_clips(member, [frames[rows]]) for member, rows in zip(ensemble.members, index, strict=True)]
    expected = {path: np.concatenate([rows[path] for rows in each]) for path in each[0]}
    expected["clips/feature"] = expected["clips/feature"].reshape(1, -1)
    expected["clips/logits"] = expected["clips/logits"].mean(0, keepdims=True)
    expected["frames/member"] = np.array([0] * 8 + [1] * 16, np.uint8)
    expected["pairs/member"] = np.array([0] * 7 + [1] * 15, np.uint8)
    valid = [int(i == 0 or row[i] != row[i - 1]) for row in index for i in range(len(row))]
    assert_close(found.rows, expected | of_frames(np.concatenate(index).tolist(), valid))
    assert found.clips is not None
    assert [clip_of(row)[:5] for row in found.clips] == [(0, 0, 24, 0, 22)]
    assert found.clips[0]["num_valid_frames"] == min(count, 16)
    assert found.clips[0]["end_seconds"] == max(np.concatenate(index).tolist()) / FPS


@pytest.mark.parametrize("chunks", [(1,), (3, 7, 2), (100,)])
@pytest.mark.parametrize("batch_frames", [4, 1000])
def test_dense_equals_one_uncut_pass(chunks: tuple[int, ...], batch_frames: int, network: MSNet) -> None:
    config = make_config(sampling="dense", outputs=ALL)
    frames = make_frames(33)
    plan = make_plan(33, config, Item("a"))
    found = extract(network, config, frames, [plan], chunks=chunks, batch_frames=batch_frames).writers["a"]
    assert_close(found.rows, expected_clips(network, [frames]) | of_frames(list(range(33)), [1] * 33))
    assert found.clips is not None
    assert [clip_of(row) for row in found.clips] == [(0, 0, 33, 0, 32, 0.0, 3.2, 33)]


@pytest.mark.parametrize("sampling", ["dense", "windows", "clips"])
@pytest.mark.parametrize(
    ("outputs", "form"),
    [
        (("clip",), "pooled"),
        (("logits",), "pooled"),
        (("frame",), "pooled"),
        (("confidence",), "pooled"),
        (("displacement", "clip"), "pooled"),
        (("motion",), "3"),
        (("motion", "frame"), "full"),
        (("motion",), "8"),
    ],
)
def test_outputs_are_those_that_were_asked_for(
    sampling: str, outputs: tuple[str, ...], form: str, network: MSNet
) -> None:
    config = make_config(sampling=sampling, outputs=outputs, motion_form=form)
    frames = make_frames(12)
    found = extract(network, config, frames, [make_plan(12, config, Item("a"))]).writers["a"]
    wanted = {spec.path for spec in datasets_of(config, NetworkShape(512, 512, 128, (8, 8), 5))}
    assert {path for path, array in found.rows.items() if len(array)} == wanted
    clips = [frames[:8], frames[4:]] if sampling == "clips" else [frames]
    expected = expected_clips(network, clips, form)
    if sampling == "windows":
        features = expected["frames/feature"]
        expected["clips/feature"] = np.stack([features[:8].mean(0), features[4:].mean(0)])
        of_frame = network.classifier(torch.from_numpy(features)).detach().numpy()
        expected["clips/logits"] = np.stack([of_frame[:8].mean(0), of_frame[4:].mean(0)])
    tied = {"pairs/tied"} if "pairs/displacement" in wanted else set()
    assert_close(found.rows, {path: expected[path] for path in expected if path in wanted | tied})
    index = [*range(8), *range(4, 12)] if sampling == "clips" else list(range(12))
    assert_close(found.rows, of_frames(index, [1] * len(index)))
    assert found.clips is not None
    has_pairs = any(path.startswith("pairs/") for path in wanted)
    assert found.clips[-1]["pair_stop"] == (len(index) - len(clips)) * has_pairs
    assert found.clips[-1]["frame_stop"] == len(index)


def test_network_without_motion_has_features_only() -> None:
    network = load_model("tsm_resnet18", weights="random")
    assert isinstance(network, MSNet)
    config = make_config(model="tsm_resnet18", outputs=("clip", "frame"))
    frames = make_frames(8)
    found = extract(network, config, frames, [make_plan(8, config, Item("a"))]).writers["a"]
    assert_close(found.rows, expected_clips(network, [frames]) | of_frames(list(range(8)), [1] * 8))
    assert not any(path.startswith("pairs/") for path in found.rows)


def test_damaged_frames_that_are_kept_are_marked(network: MSNet) -> None:
    for sampling in ("windows", "dense"):
        config = make_config(sampling=sampling, outputs=("frame",))
        plan = make_plan(8, config, Item("a"))
        found = extract(network, config, make_frames(8), [plan], not_valid=(2, 7)).writers["a"]
        assert found.rows["frames/valid"].tolist() == [1, 1, 0, 1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    "batch_frames", [1, 20, 1000, *(pytest.param(frames, marks=pytest.mark.slow) for frames in (8, 64))]
)
def test_results_do_not_depend_on_batches_and_chunks(batch_frames: int, network: MSNet) -> None:
    config = make_config(sampling="clips", hop=3)
    frames = make_frames(30)
    plan = make_plan(30, config, Item("a"))
    starts = [*range(0, 23, 3), 22]
    found = extract(network, config, frames, [plan], batch_frames=batch_frames, chunks=(1, 9)).writers["a"]
    expected = expected_clips(network, [frames[s : s + 8] for s in starts])
    del expected["clips/logits"]
    assert_close(found.rows, expected)


@pytest.mark.parametrize(
    ("sampling", "first", "second"),
    [
        ("clips", (0, 12), (7, 20)),
        ("dense", (0, 12), (7, 20)),
        ("dense", (3, 6), (0, 20)),
        ("clips", (0, 4), (16, 20)),
    ],
)
def test_two_items_share_the_frames_of_a_file(
    sampling: str, first: tuple[int, int], second: tuple[int, int], network: MSNet
) -> None:
    config = make_config(sampling=sampling)
    frames = make_frames(20)
    spans = {"a": first, "b": second}
    plans = [make_plan(20, config, Item(name, a / FPS, b / FPS)) for name, (a, b) in spans.items()]
    found = extract(network, config, frames, plans, chunks=(6, 1))
    for name, (start, stop) in spans.items():
        own = list(range(start, stop))
        if sampling == "dense":
            clips = [own]
        else:
            clips = [own[s : s + 8] for s in range(0, max(len(own) - 7, 1), 8)]
            clips += [own[-8:]] if len(own) > 8 and len(own) % 8 else []
            clips = [clip + [clip[-1]] * (8 - len(clip)) for clip in clips]
        expected = expected_clips(network, [frames[clip] for clip in clips])
        del expected["clips/logits"]
        assert_close(found.writers[name].rows, expected)
        np.testing.assert_array_equal(found.writers[name].rows["frames/index"], np.concatenate(clips))


def test_item_below_the_files_rate_uses_its_frames_only(network: MSNet) -> None:
    config = make_config(sampling="clips", rate_hz=5.0, num_frames=4)
    frames = make_frames(17)
    found = extract(network, config, frames, [make_plan(17, config, Item("a"))]).writers["a"]
    index = [0, 2, 4, 6, 8, 10, 12, 14, 10, 12, 14, 16]
    expected = expected_clips(network, [frames[index[k : k + 4]] for k in (0, 4, 8)])
    del expected["clips/logits"]
    assert_close(found.rows, expected | of_frames(index, [1] * 12))


@pytest.mark.parametrize(
    ("config", "count", "most"),
    [
        (make_config(sampling="clips"), 100, 8),
        (make_config(sampling="clips", hop=1), 60, 8),
        (make_config(sampling="clips", hop=40), 130, 8),
        (make_config(sampling="clips", num_frames=2, hop=30), 100, 2),
        (make_config(sampling="segments"), 1000, 8),
    ],
)
def test_no_more_frames_are_kept_than_clips_need(config: ExtractionConfig, count: int, most: int) -> None:
    """One frame at a time; after each, only frames that later clips need are kept."""

    class Counting(Feeder):
        def __init__(self) -> None:
            self.clips: list[Any] = []

        def open(self, item: int, place: int, member: int, ranges: Any) -> Any:
            return None

        def push(self, sequence: Any, blocks: Any, *, last: bool) -> None:
            self.clips.append(np.concatenate(blocks)[:, 0, 0, 0].tolist())

    feeder = Counting()
    plan = make_plan(count, config, Item("a"))
    item = ClipFrames(0, plan, feeder)
    frames = np.broadcast_to((np.arange(count) % 256).astype(np.uint8)[:, None, None, None], (count, 2, 2, 3))
    kept = []
    for chunk in chunks_of(frames, [plan], (1,)):
        item.add(chunk.index, chunk.frames, chunk.valid)
        kept.append(len(item._frames))
    assert max(kept) <= most
    assert kept[-1] == 0
    assert item.missing_frames == 0
    wanted = sorted(((plan.index[row] % 256).tolist() for row in plan.clips[0]), key=str)
    assert sorted(feeder.clips, key=str) == wanted


def test_read_only_frames_are_taken(network: MSNet) -> None:
    """Frames in shared memory are read-only, and torch warns of such arrays."""
    for sampling in ("windows", "dense"):
        config = make_config(sampling=sampling, outputs=("clip",))
        frames = make_frames(8)
        frames.flags.writeable = False
        found = extract(network, config, frames, [make_plan(8, config, Item("a"))], chunks=(8,))
        assert len(found.reports) == 1


def test_item_is_a_sequence_where_clips_are_ranges_of_it(network: MSNet) -> None:
    times = np.arange(10) / FPS
    file = File(network, make_config(), "a", batch_frames=8)
    for sampling in Sampling:
        plan = plan_item(times, 1.0, Item("a"), sampling=sampling)
        file.take(list(events_of(make_frames(10), [plan]))[:1])
        kind = SequenceFrames if sampling.is_continuous else ClipFrames
        assert [type(item) for item in file.frames._items] == [kind]


def test_float16_rows_are_rounded_once(network: MSNet) -> None:
    config = make_config(store_dtype="float16", outputs=("clip", "frame"))
    frames = make_frames(8)
    found = extract(network, config, frames, [make_plan(8, config, Item("a"))]).writers["a"]
    expected = expected_clips(network, [frames])
    for path in ("clips/feature", "frames/feature"):
        assert found.rows[path].dtype == np.float16
        exact = torch.from_numpy(expected[path]).half().numpy()
        np.testing.assert_allclose(found.rows[path].astype(float), exact.astype(float), rtol=2e-3, atol=1e-4)
