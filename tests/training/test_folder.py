"""The folder of a training after a kill at a bad moment."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from schemas.errors import StorageError
from training.folder import TrainingFolder

_EVALUATIONS = "step,figure\r\n1,0.25\r\n2,0.5\r\n3,0.75\r\n"


def test_rows_are_not_lost_where_dropping_later_ones_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evaluations.csv").write_bytes(_EVALUATIONS.encode())
    folder = TrainingFolder(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(csv.DictWriter, "writerow", killed)
        patched.setattr(csv.DictWriter, "writerows", killed)
        folder.begin(2)
    assert [row["figure"] for row in TrainingFolder(tmp_path).evaluations()] == [0.25, 0.5, 0.75]
    folder.begin(2)
    folder.close()
    assert (tmp_path / "evaluations.csv").read_bytes() == _EVALUATIONS.replace("3,0.75\r\n", "").encode()


def test_rows_that_a_power_cut_left_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "evaluations.csv").write_text("step,figure,other\r\n1,0.25,1\r\n2,0.")
    (tmp_path / "losses.csv").touch()
    folder = TrainingFolder(tmp_path)
    folder.begin(2)
    folder.log_step(3, "all", 0.1, {"loss": 1.0}, ("loss",))
    folder.close()
    assert folder.evaluations() == [{"step": 1.0, "figure": 0.25, "other": 1.0}]
    assert (tmp_path / "losses.csv").read_text().splitlines() == ["step,stage,learning_rate,loss", "3,all,0.1,1.0"]


@pytest.mark.parametrize("name", ["losses.csv", "evaluations.csv"])
def test_rows_are_not_added_to_what_a_link_points_to(tmp_path: Path, name: str) -> None:
    other, root = tmp_path / "theirs.csv", tmp_path / "run"
    other.write_text("step\n1\n2\n")
    root.mkdir()
    (root / name).symlink_to(other)
    refusal = rf"expected .*run/{name} to be a file of the training; got a symbolic link\. Remove it"
    for step in (0, 1):
        with pytest.raises(StorageError, match=refusal):
            TrainingFolder(root).begin(step)
    (root / name).unlink()
    folder = TrainingFolder(root)
    folder.begin(0)
    (root / name).symlink_to(other)
    with pytest.raises(StorageError, match="got a symbolic link"):
        if name == "losses.csv":
            folder.log_step(1, "all", 0.1, {"loss": 1.0}, ("loss",))
        else:
            folder.log_evaluation(1, {"figure": 0.5})
    folder.close()
    assert other.read_text() == "step\n1\n2\n"
