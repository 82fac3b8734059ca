from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gebd import AnnotationFormat, load_annotations, load_predictions, uniform, write_annotations
from tests.gebd import made, stores
from training.world.videos import write_demo_videos

ROOT = Path(__file__).parents[2]


def python_block(name: str) -> str:
    """The one block of Python in the documentation that uses a name; it is to be short."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "gebd.md").read_text(), re.DOTALL)
    (found,) = (block for block in blocks if name in block)
    assert found.count("\n") < 15
    return found


def test_lines_of_the_documentation_run_and_load_no_heavy_library(tmp_path: Path) -> None:
    truth = {f"v{n}": made.processed_entry([2.0, 5.0], [2.1, 5.2], [4.0]) for n in range(10)}
    (tmp_path / "annotations.pkl").write_bytes(made.as_old_numpy(made.with_numpy(truth)))
    (tmp_path / "predictions.pkl").write_bytes(pickle.dumps(uniform(truth, 4)))
    block = python_block("gebd.evaluate")
    loaded = "import sys; assert not {'torch', 'ray', 'av', 'decord', 'h5py'} & set(sys.modules)"
    subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{block}\n{loaded}"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert dict(load_annotations(tmp_path / "annotations.json")) == dict(load_annotations(truth))
    assert load_predictions(tmp_path / "submission.pkl") == uniform(truth, 4)


def test_lines_of_the_documentation_load_a_store(tmp_path: Path) -> None:
    videos = {f"{n}.mp4": stores.regular(12.0) for n in range(5)}
    stores.make(tmp_path / "STORE", videos)
    truth = {str(n): made.processed_entry([2.0, 5.0], duration=12.0) for n in range(5)}
    write_annotations(truth, tmp_path / "annotations.json")
    done = subprocess.run(
        [sys.executable, "-c", python_block("DataLoader") + "\nprint('read', len(batch), epoch)"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "joined                  5 of 5 annotated videos" in done.stdout and "read 6 1" in done.stdout
    assert not done.stderr


def test_lines_of_the_documentation_hand_out_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = ("frame", "stage3", "stage2_2x2", "motion_2x2", "displacement", "confidence")
    stores.make(tmp_path / "STORE", {f"{n}.mp4": stores.regular(2.0) for n in range(2)}, outputs=outputs)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(python_block("maps"), names)
    assert tuple(names["batch"].tensors) == outputs
    assert names["batch"].tensors["stage2_2x2"].shape == (2, 20, 3, 2, 2)


def test_the_example_of_an_annotation_file_loads() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "gebd.md").read_text(), re.DOTALL)
    annotations = load_annotations(json.loads(block))
    assert [video.num_raters for video in annotations.values()] == [2, 1]
    assert annotations["street.mp4"].rater_seconds == ((),)


@pytest.mark.ray
@pytest.mark.slow
def test_lines_of_the_documentation_lead_from_videos_to_an_f1(tmp_path: Path) -> None:
    videos = write_demo_videos(tmp_path / "VIDEOS", 8, height=64, width=80, seconds=(3.0, 4.0))
    truth = {
        video.path.name: {
            "duration_seconds": video.duration_seconds,
            "boundaries_seconds": [[boundary.seconds for boundary in video.boundaries]],
        }
        for video in videos
    }
    write_annotations(truth, tmp_path / "annotations.json")
    done = subprocess.run(
        [sys.executable, "-c", python_block("gebd.train_head")],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "joined                  6 of 6 annotated videos" in done.stdout
    assert "f1@0.05" in done.stdout and "uniform-matched" in done.stdout and "coverage" in done.stdout


def test_every_format_is_documented() -> None:
    text = (ROOT / "docs" / "gebd.md").read_text()
    assert all(f"`{found.value}`" in text for found in AnnotationFormat)
