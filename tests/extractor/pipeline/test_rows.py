"""Rows of outputs that are given; and stored maps against hooks on the network while whole sequences go through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from extractor.extraction.resolving import network_shape
from extractor.models.loading import normalize
from extractor.models.msnet import MSNet, MSNetEnsemble
from extractor.models.streaming import BatchOutput
from extractor.pipeline.messages import Rows
from extractor.pipeline.rows import RowMaker, to_numpy
from extractor.store import FeatureStore, Run, commit_shard, new_attempt, write_run
from schemas.config import ExtractionConfig, Sampling
from schemas.errors import ConfigurationError
from schemas.layout import StorePaths, datasets_of, unpack_tied
from schemas.records import Item
from schemas.tensors import STAGES, TENSORS
from tests.extractor.models.networks import random_network
from tests.extractor.pipeline.truth import events_of, extract, make_config, make_frames, make_plan, pooled, stage

H, W, C = 5, 11, 6


def make_output(clips: int = 2, frames: int = 4, scale: float = 1.0) -> BatchOutput:
    generator = torch.Generator().manual_seed(0)

    def values(*shape: int) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=generator)

    return BatchOutput(
        values(frames, 7),
        values(frames + 1, C, H, W),
        values(frames - 1, 2, H, W),
        values(frames - 1, 1, H, W),
        values(frames - 1, H, W) > 1,
        values(clips, 7),
        values(clips, 3),
        values(frames + 1, 3, H, W),
        values(frames, 4, 3, 6),
        values(frames, 7, 2, 3),
    )


def rows_of(output: BatchOutput, **chosen: Any) -> Rows:
    return to_numpy(RowMaker(make_config(**chosen))(output))


OUTPUTS = ("clip", "frame", "motion", "displacement", "confidence", "logits")


@pytest.mark.parametrize("form", ["pooled", "full", "1", "3", "5", "4"])
def test_rows_are_the_outputs_values(form: str) -> None:
    output = make_output()
    rows = rows_of(output, outputs=OUTPUTS, motion_form=form)
    np.testing.assert_array_equal(rows["clips/feature"], output.clip_features.numpy())
    np.testing.assert_array_equal(rows["clips/logits"], output.logits.numpy())
    np.testing.assert_array_equal(rows["frames/feature"], output.frame_features.numpy())
    np.testing.assert_allclose(rows["frames/motion"], pooled(output.motion.numpy(), form), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(rows["pairs/displacement"], output.displacement.numpy())
    np.testing.assert_array_equal(rows["pairs/confidence"], output.confidence.numpy())
    np.testing.assert_array_equal(unpack_tied(rows["pairs/tied"], W), output.tied.numpy())


@pytest.mark.parametrize(
    ("outputs", "paths"),
    [
        (("clip",), {"clips/feature"}),
        (("frame", "motion"), {"frames/feature", "frames/motion"}),
        (("displacement",), {"pairs/displacement", "pairs/tied"}),
        (("confidence", "logits"), {"pairs/confidence", "clips/logits"}),
    ],
)
def test_chosen_outputs_alone_make_rows(outputs: tuple[str, ...], paths: set[str]) -> None:
    assert rows_of(make_output(), outputs=outputs).keys() == paths


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_have_the_stores_number_format(dtype: str) -> None:
    for path, array in rows_of(make_output(1), outputs=OUTPUTS, store_dtype=dtype).items():
        assert array.dtype == (np.uint8 if path == "pairs/tied" else dtype)


def test_motion_is_pooled_before_it_is_rounded() -> None:
    """Cells of 1.0004 and 1.0008 would be 1 and 1 + 2^-10 in float16, on average nearer to 1; they are not."""
    output = make_output(1)
    maps = torch.full_like(output.motion, 1.0004)
    maps[..., 1::2] = 1.0008  # 5 of 11 columns
    made = replace(output, motion=maps)
    rows = rows_of(made, outputs=("motion",), store_dtype="float16", motion_form="pooled")
    assert set(rows["frames/motion"].ravel().tolist()) == {1 + 2**-10}


@pytest.mark.parametrize("form", ["pooled", "full", "2"])
def test_rows_of_a_batch_that_completes_nothing_are_empty(form: str) -> None:
    one = make_output(1)
    nothing = BatchOutput(*(getattr(one, field.name)[:0] for field in fields(one)))
    rows = rows_of(nothing, outputs=OUTPUTS, motion_form=form)
    assert {len(array) for array in rows.values()} == {0}


OF_STAGES = ("stage2", "stage2_2x2", "stage2_7x7", "stage3", "stage3_2x2", "stage3_4x4", "stage4", "stage4_2x2")
OF_MOTION = ("motion_2x2", "motion_4x4", "motion_7x7")
NETWORKS = ("msnet_resnet18", "tsm_resnet18", "tsn_resnet18", "msnet_mobilenetv2")
COUNT = 21


def config_of(name: str, sampling: str, outputs: Sequence[str] = (), **fields: Any) -> ExtractionConfig:
    chosen = outputs or (*OF_STAGES, *(OF_MOTION if name.startswith("msnet") else ()), "frame")
    frames = None if "_en_" in name else 4
    return make_config(model=name, sampling=sampling, num_frames=frames, outputs=chosen, **fields)


def slow_maps(network: MSNet, frames: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """Maps (T, C, h, w) of one sequence, as the layers return them."""
    found = {}
    backbone: Any = network.backbone
    if hasattr(backbone, "features"):
        ends = [backbone.features[6], backbone.features[13], backbone.features[18]]
    else:
        ends = [backbone.layer2[-1], backbone.layer3[-1], backbone.layer4[-1]]

    def hook(name: str) -> Any:
        return lambda module, inputs, output: found.update({name: output.clone().numpy()})

    hooks = [end.register_forward_hook(hook(name)) for name, end in zip(STAGES, ends, strict=True)]
    output = network(normalize(frames)[None])
    if output.motion is not None:
        found["motion"] = output.motion[0].numpy()
    for one in hooks:
        one.remove()
    return found


def slow_rows(network: MSNet, sequences: Sequence[npt.NDArray[np.uint8]]) -> dict[str, npt.NDArray[np.float32]]:
    """Rows of sequences one after another, by name of the output."""
    each = [slow_maps(network, frames) for frames in sequences]
    maps = {name: np.concatenate([one[name] for one in each]) for name in each[0]}
    return {
        name: pooled(maps[name.partition("_")[0]], name.partition("_")[2].partition("x")[0] or "pooled")
        for name in (*OF_STAGES, *OF_MOTION)
        if name.partition("_")[0] in maps
    }


def stored_rows(config: ExtractionConfig, folder: Path, members: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
    """Rows of a video of COUNT frames, by name, through a store."""
    paths = StorePaths(folder / "store")
    paths.root.mkdir()
    run = write_run(paths, Run(config, network_shape(config, None), "none", 10**9, "/nowhere", ""))
    attempt = new_attempt(paths, run, "shard-00000", "token")
    plan = make_plan(COUNT, config, Item("a"), members)
    stage(random_network(config.model), config, attempt, ["a"], events_of(make_frames(COUNT), [plan]), batch_frames=6)
    commit_shard(attempt, ["a"])
    with_store = FeatureStore(paths.root)
    found = with_store.video("a")
    with_store.close()
    return found


def assert_close(found: npt.NDArray[Any], expected: npt.NDArray[Any], name: str) -> None:
    assert found.shape == expected.shape, name
    gap = np.linalg.norm((found - expected).reshape(len(found), -1), axis=1)
    assert (gap <= 1e-5 * np.linalg.norm(expected.reshape(len(found), -1), axis=1)).all(), name


@pytest.mark.parametrize("sampling", Sampling)
@pytest.mark.parametrize("name", NETWORKS)
def test_stored_maps_are_those_of_the_layers(name: str, sampling: str, tmp_path: Path) -> None:
    config = config_of(name, sampling, hop=4 if sampling in ("windows", "clips") else None)
    frames = make_frames(COUNT)
    sequences = {
        Sampling.WINDOWS: [frames],
        Sampling.DENSE: [frames],
        Sampling.SEGMENTS: [frames[[int(COUNT / 4 * (i + 0.5)) for i in range(4)]]],
        Sampling.CLIPS: [frames[start : start + 4] for start in (0, 4, 8, 12, 16, 17)],
    }
    found = stored_rows(config, tmp_path, (4,))
    expected = slow_rows(random_network(name), sequences[Sampling(sampling)])
    assert set(expected) | {"frame", "time_seconds", "index", "valid"} == set(found)
    for output, rows in expected.items():
        assert_close(found[output], rows, output)
    np.testing.assert_array_equal(found["stage4"], found["frame"])


def test_members_of_an_ensemble_follow_one_another(tmp_path: Path) -> None:
    name = "msnet_en_resnet18"
    found = stored_rows(config_of(name, "segments"), tmp_path, (8, 16))
    ensemble: MSNetEnsemble = random_network(name)
    frames = make_frames(COUNT)
    each = [
        slow_rows(member, [frames[[int(COUNT / t * (i + 0.5)) for i in range(t)]]])
        for member, t in zip(ensemble.members, (8, 16), strict=True)
    ]
    for output in (*OF_STAGES, *OF_MOTION):
        assert_close(found[output], np.concatenate([rows[output] for rows in each]), output)


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_do_not_depend_on_the_batch_nor_on_the_windows_to_the_bit(name: str) -> None:
    frames = make_frames(COUNT)
    found = []
    for sampling, batch_frames in (("dense", 1000), ("dense", 1), ("dense", 5), ("windows", 6)):
        config = config_of(name, sampling)
        plan = make_plan(COUNT, config, Item("a"))
        rows = extract(random_network(name), config, frames, [plan], batch_frames=batch_frames).writers["a"].rows
        found.append({path: array for path, array in rows.items() if path.startswith("frames/")})
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for path, array in other.items():
            np.testing.assert_array_equal(array, found[0][path], path)


@pytest.mark.parametrize("outputs", [("stage2",), ("stage3_4x4",), ("stage4",), ("motion_2x2", "stage2"), ("frame",)])
def test_a_stage_alone_is_stored_alone(outputs: tuple[str, ...]) -> None:
    """Stage 3 is computed without the others, and stage 2 comes without motion though motion is added to it."""
    name = "msnet_resnet18"
    config, frames = config_of(name, "dense", outputs), make_frames(COUNT)
    found = extract(random_network(name), config, frames, [make_plan(COUNT, config, Item("a"))], batch_frames=5)
    expected = slow_rows(random_network(name), [frames])
    rows = {path: array for path, array in found.writers["a"].rows.items() if len(array)}
    assert set(rows) == {spec.path for spec in datasets_of(config, network_shape(config, None))}
    for output in outputs:
        if output != "frame":
            assert_close(rows[TENSORS[output].path], expected[output], output)


def test_stages_are_asked_for() -> None:
    network, frames = random_network("msnet_resnet18"), normalize(make_frames(5))[None]
    assert network(frames).stage3 is None
    with pytest.raises(ValueError, match="expected stages among stage2, stage3, stage4; got"):
        network(frames, stages=["layer3"])
    output, maps = network(frames, stages=STAGES), slow_maps(network, make_frames(5))
    for name in STAGES:
        np.testing.assert_allclose(getattr(output, name)[0], maps[name], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output.frame_features, network(frames).frame_features, rtol=0, atol=0)


def test_a_grid_finer_than_its_map_is_refused() -> None:
    config = config_of("msnet_resnet18", "dense", ("stage4_4x4",))
    with pytest.raises(ConfigurationError, match="at most 2 cells a side, which the map has; got stage4_4x4"):
        datasets_of(config, network_shape(config, None))


def test_stages_need_no_motion_but_grids_of_motion_do() -> None:
    config = config_of("tsn_resnet18", "dense", ("motion_2x2",))
    with pytest.raises(ConfigurationError, match="no MotionSqueeze module"):
        datasets_of(config, network_shape(config, None))
