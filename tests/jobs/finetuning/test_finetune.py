"""From videos and marks to weights and a head, and back to boundaries: one way, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from extractor.models.checkpoints.checkpoint import read_checkpoint
from extractor.models.checkpoints.fitting import restore
from extractor.models.spec import describe_network
from extractor.store.reader import FeatureStore
from gebd.annotations.loading import write_annotations
from gebd.annotations.records import Annotations, VideoAnnotation
from gebd.heads.predict import predict
from gebd.heads.trained import load_head
from gebd.metric.predictions import load_predictions
from jobs.cli.main import main
from jobs.finetuning.config import FinetuneConfig
from jobs.finetuning.levels import video_rows
from jobs.finetuning.scoring import score_video
from jobs.finetuning.sources import WholeSource, WholeVideo
from jobs.finetuning.videos import BoundaryVideo
from schemas.errors import ConfigurationError
from tests.jobs.finetuning.made import write_video
from training.clips.records import Example
from training.config import TrainingPrecision

ROOT = Path(__file__).parents[3]
CONFIG = """
size_px = 64
epochs = 2
clips_per_step = 2
learning_rate = 1e-3
frozen_stages = 2
[head]
window_seconds = 2.0
hop_seconds = 1.0
width = 16
raters = "best"
max_epochs = 2
validation_share = 0.4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos of three seconds, with marks, a configuration, and an empty place for the run."""
    root = tmp_path_factory.mktemp("finetune")
    (root / "videos").mkdir()
    marks = [write_video(root / "videos" / f"{number}.mp4", number) for number in range(5)]
    write_annotations(Annotations(marks), root / "marks.json")
    (root / "mine.toml").write_text(CONFIG)
    return root


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def _documented(folder: Path) -> list[list[str]]:
    """The commands of the first block of the documentation, with the names of these tests."""
    block = (ROOT / "docs" / "finetuning.md").read_text().split("```")[1]
    names = {"VIDEOS": "videos", "MARKS": "marks.json", "TEST_VIDEOS": "videos", "TEST_MARKS": "marks.json"}
    names |= {"RUN": "run", "STORE": "store", "OTHER_STORE": "other", "found.json": "found.json"}
    found = []
    for line in block.strip().splitlines():
        _, *words = line.split()
        paths = {word: word.replace("RUN", names["RUN"]) for word in words if word.startswith("RUN/")} | names
        found.append([str(folder / paths[word]) if word in paths else word for word in words])
    return found


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    command = _documented(folder)[0]
    assert _run(*command, "--config", folder / "mine.toml", "--device", "cpu", "--loader-workers", 0) == 0
    return folder / "run"


@pytest.mark.ray
@pytest.mark.slow
def test_a_store_of_the_new_weights_holds_what_the_network_returned_while_it_learned(folder: Path, run: Path) -> None:
    """And the head's scores on it are those by which epoch and threshold were chosen."""
    out = folder / "found.json"
    _, predicting, evaluating, extracting = _documented(folder)
    assert _run(*predicting, "--device", "cpu") == 0
    assert _run(*evaluating) == 0
    assert _run(*extracting, "--size", 64, "--device", "cpu") == 0
    trained, store = load_head(run), FeatureStore(folder / "store")
    checkpoint = read_checkpoint(run / "model.safetensors")
    network = restore(describe_network("msnet_resnet18"), checkpoint).eval()
    config = FinetuneConfig(size_px=64, head=trained.config)
    found = predict(trained, store)
    assert load_predictions(out) == found.boundaries
    assert FeatureStore(folder / "other").config.weights == store.config.weights
    for video_id in store.video_ids:
        path = folder / "videos" / video_id
        video = BoundaryVideo(Example(video_id, str(path)), 0.0, None, VideoAnnotation(video_id, 3.0, ((),)))
        whole = WholeSource([video], config).load(0)
        assert isinstance(whole, WholeVideo)
        rows = video_rows(network, whole.frames, tuple(trained.head.spec.shapes), TrainingPrecision.FLOAT32)
        clip = int(store.video_clips(video_id)[0])
        _, start, stop, pair_start, pair_stop = store.row_ranges()[clip].tolist()
        for name, values in rows.items():
            edges = (pair_start, pair_stop) if name in ("displacement", "confidence") else (start, stop)
            stored = store.rows(name, clip, *edges)
            np.testing.assert_allclose(values.numpy(), stored.astype(np.float32), atol=4e-3, rtol=4e-3)
        track, _ = score_video(trained.head, rows, whole.own_seconds, video.annotation, trained.config, torch.ones(2))
        np.testing.assert_allclose(track.time_seconds, found.tracks[video_id].time_seconds)
        np.testing.assert_allclose(track.scores, found.tracks[video_id].scores, atol=2e-3)


@pytest.mark.ray
@pytest.mark.slow
def test_features_of_the_first_weights_are_refused(run: Path) -> None:
    with pytest.raises(ConfigurationError, match="weights was"):
        predict(run, run / "features")


@pytest.mark.ray
@pytest.mark.slow
def test_the_same_command_finds_it_done_and_another_configuration_is_refused(
    folder: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "model.safetensors").read_bytes()
    command = ("gebd", "finetune", folder / "videos", folder / "marks.json", "--out", run, "--device", "cpu")
    assert _run(*command, "--config", folder / "mine.toml") == 0
    assert (run / "model.safetensors").read_bytes() == before
    capsys.readouterr()
    assert _run(*command, "--config", folder / "mine.toml", "--learning-rate", 2e-3) == 1
    assert "learning_rate" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_of_a_head_is_where_both_may_start(folder: Path, run: Path) -> None:
    command = ("gebd", "finetune", folder / "videos", folder / "marks.json", "--out", folder / "second")
    given = ("--config", folder / "mine.toml", "--head", run / "frozen", "--epochs", 1, "--device", "cpu")
    assert _run(*command, *given, "--loader-workers", 0) == 0
    assert not (folder / "second" / "frozen").exists()
    split = [json.loads((path / "run.json").read_text())["validation"] for path in (run, folder / "second")]
    assert split[0] == split[1]


@pytest.mark.parametrize(
    ("videos", "marks", "said"),
    [
        ("missing", "marks.json", "missing"),
        ("store", "marks.json", "a store of features"),
        ("videos", "list.json", "expected raters' marks to train on"),
        ("videos", "missing.json", "missing.json"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], videos: str, marks: str, said: str
) -> None:
    (tmp_path / "videos").mkdir()
    annotation = write_video(tmp_path / "videos" / "a.mp4", 0, seconds=1.0)
    write_annotations(Annotations([annotation]), tmp_path / "marks.json")
    unmarked = VideoAnnotation("a.mp4", 1.0, (), fps=20.0, num_frames=20)
    write_annotations(Annotations([unmarked]), tmp_path / "list.json")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "run.json").write_text("{}")
    code = _run("gebd", "finetune", tmp_path / videos, tmp_path / marks, "--out", tmp_path / "run", "--device", "cpu")
    error = capsys.readouterr().err
    assert code == 1 and said in error and len(error.strip().splitlines()) == 1


def test_weights_that_do_not_fit_are_refused_before_anything_is_extracted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "videos").mkdir()
    annotation = write_video(tmp_path / "videos" / "a.mp4", 0, seconds=1.0)
    write_annotations(Annotations([annotation]), tmp_path / "marks.json")
    (tmp_path / "bad.pth").write_bytes(b"no checkpoint")
    command = ("gebd", "finetune", tmp_path / "videos", tmp_path / "marks.json", "--out", tmp_path / "run")
    assert _run(*command, "--weights", tmp_path / "bad.pth") == 1
    assert "bad.pth" in capsys.readouterr().err
    assert not (tmp_path / "run" / "features").exists()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of Ray's own
def test_two_workers_have_the_losses_of_one(folder: Path, run: Path) -> None:
    command = ("gebd", "finetune", folder / "videos", folder / "marks.json", "--out", folder / "shared")
    given = ("--config", folder / "mine.toml", "--head", run / "frozen", "--device", "cpu", "--loader-workers", 0)
    assert _run(*command, *given, "--workers", 2) == 0
    one, two = (
        [float(line.split(",")[3]) for line in (path / "training" / "losses.csv").read_text().splitlines()[1:]]
        for path in (run, folder / "shared")
    )
    assert two == pytest.approx(one, rel=1e-4)
    assert load_head(folder / "shared").validation_f1 == load_head(run).validation_f1
