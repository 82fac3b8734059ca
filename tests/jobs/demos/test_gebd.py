from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gebd import load_annotations
from jobs.cli.main import main


@pytest.mark.ray
@pytest.mark.slow
def test_demo_runs_from_files_to_an_f1_and_again(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "msnet_features", "gebd", "demo", "--out", str(tmp_path / "demo")]
    command += ["--training-videos", "6", "--test-videos", "3", "--size", "64", "--device", "cpu"]
    command += ["--weights", "random", "--against", "random"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert list(report["methods"])[:5] == ["msnet+levels", "msnet", "temporal head", "tsn", "no labels"]
    assert all(method["coverage"] == 1.0 for method in report["methods"].values())
    assert "3 of 3 annotated videos predicted, coverage 1.000" in done.stdout
    assert (tmp_path / "demo" / "f1.png").exists() and (tmp_path / "demo" / "timeline.png").exists()
    train, test = (load_annotations(tmp_path / "demo" / f"{part}.json") for part in ("train", "test"))
    assert (len(train), len(test)) == (6, 3) and not set(train) & set(test)
    curves = {path: path.read_bytes() for path in (tmp_path / "demo").glob("run-*/curves.csv")}
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert {path: path.read_bytes() for path in curves} == curves
    assert again.stdout == done.stdout


def test_demo_refuses_weights_that_are_none_before_it_makes_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.pth").write_bytes(b"no weights")
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "gebd",
                "demo",
                "--out",
                str(tmp_path / "demo"),
                "--training-videos",
                "4",
                "--test-videos",
                "2",
                "--weights",
                str(tmp_path / "a.pth"),
                "--device",
                "cpu",
            ]
        )
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("msnet: ")
    assert not (tmp_path / "demo").exists()


def test_demo_refuses_a_folder_with_other_things(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        main(["gebd", "demo", "--out", str(tmp_path)])
    assert ended.value.code == 1
    assert "holds 'thesis.txt'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
