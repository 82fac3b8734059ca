from __future__ import annotations

import numpy as np

from extractor.pipeline.item_rows import concatenate_rows, merge_members


def test_merge_members_joins_clips_and_appends_rows() -> None:
    first = {
        "clips/feature": np.array([[1.0, 2.0]], np.float32),
        "clips/logits": np.array([[1.0, 5.0]], np.float32),
        "frames/feature": np.array([[1.0], [2.0]], np.float32),
        "pairs/confidence": np.array([[[3.0]]], np.float32),
    }
    second = {
        "clips/feature": np.array([[3.0, 4.0]], np.float32),
        "clips/logits": np.array([[2.0, 6.0]], np.float32),
        "frames/feature": np.array([[3.0], [4.0], [5.0]], np.float32),
        "pairs/confidence": np.array([[[4.0]], [[5.0]]], np.float32),
    }
    merged = merge_members([first, second], [2, 3])
    assert {path: array.ravel().tolist() for path, array in merged.items()} == {
        "clips/feature": [1, 2, 3, 4],
        "clips/logits": [1.5, 5.5],
        "frames/feature": [1, 2, 3, 4, 5],
        "pairs/confidence": [3, 4, 5],
        "frames/member": [0, 0, 1, 1, 1],
        "pairs/member": [0, 1, 1],
    }
    assert merged["clips/feature"].shape == (1, 4)
    assert merge_members([first], [2]) is first


def test_logits_of_members_are_averaged_in_float32() -> None:
    rows = [{"clips/logits": np.array([[value]], np.float16)} for value in (60000, 60032)]
    merged = merge_members(rows, [8, 16])["clips/logits"]
    assert merged.dtype == np.float16
    assert merged[0, 0] == np.float16(60016)  # in float16 their sum would be infinite


def test_concatenate_rows_takes_what_either_has() -> None:
    a, b = np.arange(2), np.arange(3)
    joined = concatenate_rows({"x": a, "y": a}, {"y": b, "z": b})
    assert {path: array.tolist() for path, array in joined.items()} == {
        "x": [0, 1],
        "y": [0, 1, 0, 1, 2],
        "z": [0, 1, 2],
    }
