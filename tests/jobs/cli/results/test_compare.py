"""What `msnet compare` prints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from schemas.layout import StorePaths
from tests.extractor.store.making import make_store
from tests.jobs.conftest import Call


def test_compare_says_equal_or_different(call: Call, store: StorePaths, tmp_path: Path) -> None:
    shutil.copytree(store.root, tmp_path / "copy")
    assert call("compare", store.root, tmp_path / "copy")[0] == 0
    make_store(tmp_path / "other", shards=(("a.mp4",),))
    code, out, _ = call("compare", store.root, tmp_path / "other")
    assert (code, out.splitlines()[-1]) == (1, "different")


def test_compare_names_what_differs_in_how_two_stores_were_made(call: Call, store: StorePaths, tmp_path: Path) -> None:
    weights: dict[str, Any] = {"weights": "ab" * 32, "seed": None}
    other = make_store(tmp_path / "other", size=96, resize="crop", outputs=("clip",), **weights)
    code, out, _ = call("compare", store.root, other.root)
    assert code == 1
    assert " ".join(out.split()).startswith(
        "configurations differ: weights random / abababababab, seed 0 / none, "
        "outputs clip+frame+motion+displacement+confidence / clip, motion_form pooled / none, size 224 / 96, "
        "resize stretch / crop tensor "
    )
    assert "configurations" not in call("compare", store.root, store.root)[1]


@pytest.mark.parametrize("columns", [60, 80])
def test_compare_cuts_no_value_that_would_look_like_the_other(
    columns: int, call: Call, store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    alike: list[dict[str, Any]] = [{"weights": f"{'ab' * 10}{end * 44}", "seed": None} for end in "01"]
    first, second = (
        make_store(tmp_path / model, model=model, **weights)
        for model, weights in zip(("msnet_resnet18", "msnet_resnet101"), alike, strict=True)
    )
    code, out, _ = call("compare", first.root, second.root)
    assert code == 0 and max(map(len, out.splitlines())) <= columns
    said = " ".join(out.split())
    assert "model msnet_resnet18 / msnet_resnet101, " in said
    assert f"weights {'ab' * 10}0 / {'ab' * 10}1 " in said
