from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from extractor.models.streaming import BatchOutput
from extractor.pipeline.messages import Rows
from extractor.pipeline.rows import RowMaker, to_numpy
from schemas.layout import unpack_tied
from tests.extractor.pipeline.truth import make_config, pooled

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
