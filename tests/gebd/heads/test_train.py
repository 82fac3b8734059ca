from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gebd import (
    Annotations,
    TrainingResult,
    evaluate,
    fit_clock,
    head_config,
    load_annotations,
    load_head,
    predict,
    train_head,
    uniform_matched,
)
from gebd.heads.run_folder import Epoch, HeadFolder
from gebd.metric.report import read_clock
from schemas.errors import ConfigurationError, StorageError, UsageError, WeightsError
from tests.gebd.boundary_stores import make_videos

SMALL = {"max_epochs": 4, "width": 8, "context_seconds": 0.5, "learning_rate": 0.01, "batch_windows": 4}


def part(truth: Annotations, start: int, stop: int) -> Annotations:
    return Annotations(list(truth.values())[start:stop])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Annotations]:
    store, truth = make_videos(tmp_path_factory.mktemp("stores") / "store", 20)
    return store.paths.root, truth


@pytest.fixture
def train(made: tuple[Path, Annotations], tmp_path: Path) -> Callable[..., TrainingResult]:
    def run(name: str = "run", tell: Callable[[Epoch], None] | None = None, **changes: Any) -> TrainingResult:
        options = {key: changes.pop(key) for key in ("validation", "truth") if key in changes}
        truth = options.pop("truth", part(made[1], 0, 14))
        return train_head(made[0], truth, tmp_path / name, head_config(**(SMALL | changes)), tell=tell, **options)

    return run


@pytest.mark.parametrize("head", ["contrast", "temporal", "similarity"])
def test_training_learns_and_the_run_holds_everything(
    head: str, made: tuple[Path, Annotations], train: Callable[..., TrainingResult]
) -> None:
    result = train(head=head, max_epochs=12)
    losses = [epoch.training_loss for epoch in result.epochs]
    assert losses[-1] < losses[0]
    assert result.trained.validation_f1 == max(epoch.validation_f1 for epoch in result.epochs)
    files = {path.name for path in result.folder.iterdir()}
    assert files == {
        "run.json",
        "curves.csv",
        "checkpoint.pt",
        "head.safetensors",
        "validation_annotations.json",
        "validation_predictions.json",
        "validation_scores.json",
        "report.json",
    }
    rows = list(csv.DictReader((result.folder / "curves.csv").read_text().splitlines()))
    assert [float(row["training_loss"]) for row in rows] == pytest.approx(losses, rel=1e-4)
    report = json.loads((result.folder / "report.json").read_text())
    assert report["methods"][head]["coverage"] == 1.0
    assert {"uniform-matched", "random-matched"} <= set(report["methods"])
    again = evaluate(result.folder / "validation_predictions.json", result.folder / "validation_annotations.json")
    assert again.f1[0.05] == pytest.approx(result.trained.validation_f1)


def test_trained_head_finds_boundaries_of_other_videos(
    made: tuple[Path, Annotations], train: Callable[..., TrainingResult]
) -> None:
    trained = train(max_epochs=15).trained
    test = part(made[1], 14, 20)
    found = predict(trained, made[0], test).boundaries
    assert set(found) == set(test)
    f1 = evaluate(found, test).f1[0.05]
    assert f1 > 0.8
    assert f1 > evaluate(uniform_matched(found, test), test).f1[0.05] + 0.2


def test_interrupted_training_goes_on_with_the_same_losses(train: Callable[..., TrainingResult]) -> None:
    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("stopped", tell=stop)
    torch.rand(3)  # the caller's random numbers have no say
    told: list[int] = []
    resumed = train("stopped", tell=lambda epoch: told.append(epoch.epoch))
    assert told == [3, 4]
    assert resumed.epochs == whole.epochs
    heads = [result.trained.head.state_dict() for result in (whole, resumed)]
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    finished = train("stopped", tell=lambda epoch: told.append(epoch.epoch))
    assert told == [3, 4] and finished.epochs == whole.epochs


def test_join_is_told_before_the_first_epoch(made: tuple[Path, Annotations], tmp_path: Path) -> None:
    told: list[str] = []
    config = head_config(**(SMALL | {"max_epochs": 1}))
    result = train_head(
        made[0],
        part(made[1], 0, 14),
        tmp_path / "run",
        config,
        joined=lambda report: told.append(str(report)),
        tell=lambda epoch: told.append("epoch"),
    )
    assert told == [str(result.join), "epoch"]


def test_training_leaves_the_callers_random_numbers_alone(train: Callable[..., TrainingResult]) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(max_epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_stops_when_nothing_gets_better(train: Callable[..., TrainingResult]) -> None:
    result = train(max_epochs=50, patience_epochs=2, learning_rate=1e-12)
    assert len(result.epochs) == result.trained.epoch + 2 < 50


def test_other_options_in_the_same_folder_are_refused_by_name(
    made: tuple[Path, Annotations], train: Callable[..., TrainingResult]
) -> None:
    train(max_epochs=1)
    with pytest.raises(ConfigurationError, match=r"width was 8, now 16"):
        train(max_epochs=1, width=16)
    with pytest.raises(ConfigurationError, match="other videos"):
        train(max_epochs=1, truth=part(made[1], 0, 15))


def test_validation_part_can_be_given(made: tuple[Path, Annotations], train: Callable[..., TrainingResult]) -> None:
    ids = list(made[1])[:3]
    by_ids = train("by_ids", max_epochs=1, validation=ids)
    by_file = train("by_file", max_epochs=1, validation=part(made[1], 0, 3), truth=part(made[1], 3, 14))
    assert by_ids.epochs == by_file.epochs
    assert list(by_ids.comparison.evaluations["similarity"].counts.video_ids) == ids


def test_video_in_both_parts_is_refused(made: tuple[Path, Annotations], train: Callable[..., TrainingResult]) -> None:
    with pytest.raises(UsageError, match=r"3 in common, v00\.mp4 among them"):
        train(validation=part(made[1], 0, 3))


def test_empty_parts_are_refused(train: Callable[..., TrainingResult]) -> None:
    with pytest.raises(UsageError, match="in the validation part; got none of the 14"):
        train(validation=["nobody"])


def test_annotations_without_marks_are_refused_before_anything_is_written(
    train: Callable[..., TrainingResult], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="expected raters' marks to train on; got none for 2 of 2 videos, v00"):
        train(truth=load_annotations({"v00.mp4": 8.0, "v01.mp4": 8.0}))
    assert not (tmp_path / "run").exists()


def test_report_has_a_clock_of_the_training_part(
    made: tuple[Path, Annotations], train: Callable[..., TrainingResult]
) -> None:
    result = train(max_epochs=1)
    parts = HeadFolder(result.folder).parts()
    expected = fit_clock(Annotations(made[1][video_id] for video_id in parts.training))
    assert result.comparison.clock == expected == read_clock(result.folder / "report.json")
    assert "clock" in result.comparison.evaluations


def test_folder_with_other_things_is_refused(train: Callable[..., TrainingResult], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"holds 'thesis\.txt'"):
        train()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


class _Program:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_checkpoint_that_holds_a_program_is_refused(
    train: Callable[..., TrainingResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(max_epochs=1)
    (tmp_path / "run" / "checkpoint.pt").write_bytes(pickle.dumps(_Program()))
    with pytest.raises(WeightsError, match=r"checkpoint\.pt: expected a checkpoint of"):
        train(max_epochs=1)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"not a head at all", pickle.dumps({"head": 1})])
def test_file_that_is_no_head_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "head.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="expected a head of"):
        load_head(tmp_path)


def test_folder_without_a_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="Give the folder that `msnet gebd train --out` wrote"):
        load_head(tmp_path)


@pytest.mark.parametrize("change", [{"rate_hz": 0}, {"head": "deep"}, {"raters": "worst"}, {"epochs": 3}, {"width": 6}])
def test_configuration_that_cannot_be_is_one_sentence(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{next(iter(change))} \(--") as caught:
        head_config(**change)
    assert "\n" not in str(caught.value)
