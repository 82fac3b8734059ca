from __future__ import annotations

import numpy as np
import pytest

from schemas.config import ExtractionConfig
from schemas.errors import ConfigurationError, StoreError
from schemas.layout import StorePaths, datasets_of, motion_grid, pack_tied, shard_name, unpack_tied
from schemas.tensors import LEVELS, TENSORS, NetworkShape, output_choices

SHAPE = NetworkShape(clip_dim=2048, frame_dim=2048, motion_channels=512, cells=(28, 28), num_classes=174)


def config(**options):
    return ExtractionConfig(model="msnet_resnet50", weights="random", seed=0, **options)


def test_datasets_are_those_of_the_outputs():
    found = {spec.path: spec for spec in datasets_of(config(), SHAPE)}
    assert {path: (spec.shape, spec.dtype) for path, spec in found.items()} == {
        "clips/feature": ((2048,), "float16"),
        "frames/feature": ((2048,), "float16"),
        "frames/index": ((), "int64"),
        "frames/motion": ((512,), "float16"),
        "frames/time_seconds": ((), "float64"),
        "frames/valid": ((), "uint8"),
        "pairs/confidence": ((1, 28, 28), "float16"),
        "pairs/displacement": ((2, 28, 28), "float16"),
        "pairs/tied": ((28, 4), "uint8"),
    }
    assert {spec.level for spec in found.values()} == set(LEVELS)
    frames_only = datasets_of(config(outputs=("frame",), store_dtype="float32"), SHAPE)
    assert next((s.path, s.dtype) for s in frames_only) == ("frames/feature", "float32")
    assert len(frames_only) == 4


def test_ensembles_say_which_member_a_row_is_of():
    shape = NetworkShape(4096, 2048, 512, (28, 28), members=2)
    assert {"frames/member", "pairs/member"} <= {spec.path for spec in datasets_of(config(), shape)}


@pytest.mark.parametrize("sampling", ["windows", "segments", "dense"])
@pytest.mark.parametrize("motion_form", ["pooled", "4", "full"])
@pytest.mark.parametrize("num_frames", [8, 1024])
def test_chunks_are_about_a_clip_and_never_huge(sampling, motion_form, num_frames):
    for spec in datasets_of(config(sampling=sampling, motion_form=motion_form, num_frames=num_frames), SHAPE):
        size = spec.chunk_rows * spec.row_bytes
        assert spec.chunk_rows >= 1
        assert size <= 4 * 1024 * 1024
        assert size >= 16 * 1024 or spec.chunk_rows == 1024


def test_motion_grid_forms():
    assert motion_grid(config(motion_form="pooled"), SHAPE) == ()
    assert motion_grid(config(motion_form="full"), SHAPE) == (28, 28)
    assert motion_grid(config(motion_form="7"), SHAPE) == (7, 7)
    with pytest.raises(ConfigurationError, match="at most 28"):
        motion_grid(config(motion_form="29"), SHAPE)


def test_outputs_that_the_network_lacks_are_refused():
    with pytest.raises(ConfigurationError, match="MotionSqueeze"):
        datasets_of(config(), NetworkShape(8, 8, 0, (28, 28)))
    with pytest.raises(ConfigurationError, match="classifier"):
        datasets_of(config(outputs=("logits",)), NetworkShape(8, 8, 4, (28, 28)))


def test_every_dataset_has_a_readers_name():
    shape = NetworkShape(8, 8, 4, (28, 28), num_classes=2, members=2, stage_channels=(4, 6, 8))
    assert {spec.path for spec in datasets_of(config(outputs=tuple(output_choices())), shape)} == {
        stored.path for stored in TENSORS.values()
    }


def test_maps_have_the_rows_that_their_names_say():
    shape = NetworkShape(512, 512, 128, (25, 18), stage_channels=(128, 256, 512))
    assert [shape.map_shape(name) for name in ("motion", "stage2", "stage3", "stage4")] == [
        (128, 25, 18),
        (128, 25, 18),
        (256, 13, 9),
        (512, 7, 5),
    ]
    outputs = ("motion_4x4", "stage3", "stage2_7x7", "stage4_2x2")
    found = {spec.path: spec.shape for spec in datasets_of(config(outputs=outputs), shape) if spec.dtype == "float16"}
    assert found == {
        "frames/motion_4x4": (128, 4, 4),
        "frames/stage3": (256,),
        "frames/stage2_7x7": (128, 7, 7),
        "frames/stage4_2x2": (512, 2, 2),
    }
    with pytest.raises(ConfigurationError, match="at most 5 cells a side, which the map has; got stage4_7x7"):
        datasets_of(config(outputs=("stage4_7x7",)), shape)


def test_shapes_of_stores_from_before_stages_are_equal():
    assert NetworkShape(8, 8, 4, (28, 28)) == NetworkShape(8, 8, 4, (28, 28), stage_channels=(1, 2, 3))


@pytest.mark.parametrize("width", [1, 7, 8, 9, 28])
def test_tied_cells_are_packed_from_the_highest_bit(width):
    tied = np.random.default_rng(width).random((5, 3, width)) < 0.5
    packed = pack_tied(tied)
    assert packed.shape == (5, 3, (width + 7) // 8)
    np.testing.assert_array_equal(unpack_tied(packed, width), tied)
    for x in range(width):
        np.testing.assert_array_equal(packed[..., x // 8] >> (7 - x % 8) & 1, tied[..., x])


def test_shard_names_and_paths(tmp_path):
    paths = StorePaths(tmp_path)
    assert shard_name(7) == "shard-00007"
    assert shard_name(123456) == "shard-123456"
    assert paths.commit("shard-00007") == tmp_path / "commits" / "shard-00007.json"
    assert paths.shard_data("shard-00007", "abc").name == "shard-00007.abc.h5"
    for name in ("../x", "shard-1", "shard-00001/..", "shard-00001.json", ""):
        with pytest.raises(StoreError):
            paths.commit(name)
