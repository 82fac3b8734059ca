"""docs/python.md: its blocks are run in their order; the training loops on a store of seeded numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from extractor.store import FeatureStore, write_inventory, write_manifest_cache
from extractor.store.tables import read_inventory
from tests.extractor.store.making import make_store
from tests.videos import write_video

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "docs" / "python.md").read_text(), re.DOTALL)


def block(word: str) -> str:
    """The one block that holds a word."""
    (found,) = (text for text in BLOCKS if word in text)
    return found


def run(text: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    names = {} if names is None else names
    exec(text, names)  # our own documentation
    return names


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with videos and a table of them."""
    place = tmp_path_factory.mktemp("guide")
    for seed, name in enumerate("abc"):
        write_video(place / "VIDEOS" / f"{name}.mp4", frames=20, size=(64, 96), seed=seed)
    (place / "VIDEOS" / "broken.mp4").write_text("not a video" * 100)
    rows = [f"VIDEOS/{name}.mp4,{name},{label},train" for name, label in zip("abc", ("x", "y", "x"), strict=True)]
    text = "\n".join(["path,video_id,label,split", *rows, "VIDEOS/broken.mp4,broken,x,test"])
    (place / "videos.csv").write_text(text.replace(",a,", ",a.mp4,") + "\n")
    return place


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with STORE: videos of two classes, whose frames differ in their mean."""
    place = tmp_path_factory.mktemp("labelled")
    ids = [[f"{kind}{shard}{video}.mp4" for kind in "xy" for video in range(8)] for shard in range(2)]

    def change(video_id: str, arrays: dict[str, np.ndarray]) -> None:
        arrays["frames/feature"][:, 0] += 3 if video_id.startswith("x") else -3

    paths = make_store(place / "STORE", ids, clips=3, change=change)
    inventory = read_inventory(paths)
    names = inventory["video_id"]
    inventory["label"] = pd.array(names.str[0], "str")
    inventory["split"] = pd.array(["test" if name[2] in "67" else "train" for name in names], "str")
    write_inventory(paths, inventory, replace=True)
    write_manifest_cache(paths)
    return place


def test_one_video(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(place)
    names = run(block("features.clip(0)"))
    assert repr(names["features"]).startswith("VideoFeatures('a.mp4': 1 clip; clip (1, 512), frame (4, 512), ")
    run(block("except VideoError"), names)
    assert capsys.readouterr().out.startswith("cannot_open ")
    run(block("extractor.parts"), names)
    assert names["frames"] == 20 and names["clips"]["video_id"].tolist() == ["b.mp4"]


@pytest.mark.ray
@pytest.mark.slow
def test_many_videos(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(place)
    names = run(block("jobs.extract("))
    assert (names["outcome"].done, names["outcome"].failed) == (3, 1)
    assert capsys.readouterr().out == f"{names['outcome'].one_line()}\n"
    run(block('"a.mp4" in store'), names)
    store = names["store"]
    assert list(store) == ["a.mp4", "b", "c"] and store.videos["label"].tolist() == ["x", "y", "x"]
    assert store.failures["video_id"].tolist() == ["broken"]


def test_training_with_pytorch(
    labelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(labelled)
    names = run(block("optimizer.step()"))
    assert len(names["train"]) == 24 and len(names["test"]) == 8
    assert "8 of 8 test videos" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")  # Lightning's own, about a small machine
def test_training_with_lightning(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightning", reason="the example needs Lightning (extra lightning)")
    monkeypatch.chdir(labelled)
    names = run(block("optimizer.step()"))
    run(block("LightningModule"), names)
    trainer = names["trainer"]
    assert trainer.current_epoch == 3 and float(trainer.callback_metrics["accuracy"]) == 1
    assert names["loader"].sampler.epoch == 2


def test_text_of_a_store_is_as_documented(labelled: Path) -> None:
    assert repr(FeatureStore(labelled / "STORE")).startswith(f"FeatureStore('{labelled}/STORE': 32 videos, 96 clips; ")
