"""`msnet gebd`: each command on a made store, within 80 columns, no score without coverage."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gebd import Annotations, load_annotations, load_head, load_predictions, load_tracks, write_annotations
from jobs.cli.gebd.tables import spoken_warnings
from jobs.cli.main import main
from tests.gebd import made
from tests.gebd.boundary_stores import make_videos
from tests.jobs.conftest import Call

TRAINING = ("--epochs", 3, "--device", "cpu", "--learning-rate", 0.01)


@pytest.fixture
def call(call: Call) -> Call:
    """Runs `msnet gebd`; exit code, standard output and error, both within 80 columns."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        code, out, err = call("gebd", *arguments)
        lines = out.splitlines() + (err.splitlines() if code == 0 else [])
        assert [line for line in lines if len(line) > 80 and "/" not in line] == []
        return code, out, err

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, annotations of a training and a test part under other names, and one video too many."""
    place = tmp_path_factory.mktemp("place")
    _, truth = make_videos(place / "STORE", 16)
    named = [replace(video, video_id=video.video_id.removesuffix(".mp4")) for video in truth.values()]
    write_annotations(Annotations(named[:11]), place / "train.json")
    (place / "empty.json").write_text("{}")
    (place / "p02.json").write_text('{"v02": [1.0]}')
    (place / "p12.json").write_text('{"v12": [2.0, 5.0]}')
    write_annotations(Annotations([*named[11:], replace(named[0], video_id="ghost")]), place / "test.json")
    return place


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    """A trained run."""
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "gebd",
                "train",
                str(place / "STORE"),
                str(place / "train.json"),
                "--out",
                str(place / "RUN"),
                *map(str, TRAINING),
            ]
        )
    assert ended.value.code == 0
    return place / "RUN"


def test_train_shows_the_join_the_baselines_and_the_coverage(call: Call, place: Path, tmp_path: Path) -> None:
    code, out, err = call("train", place / "STORE", place / "train.json", "--out", tmp_path / "run", *TRAINING)
    assert code == 0
    assert "joined                  11 of 11 annotated videos" in out
    assert "uniform-matched" in out and "random-matched" in out
    assert "2 of 2 annotated videos predicted, coverage 1.000" in out
    assert f"msnet gebd predict {tmp_path / 'run'} {place / 'STORE'} --annotations TEST" in out
    assert len(re.findall(r"^epoch \d+: loss", err, re.MULTILINE)) == 3
    again = call("train", place / "STORE", place / "train.json", "--out", tmp_path / "run", *TRAINING)
    assert again[1] == out and again[2] == ""  # finished: nothing is trained again


def test_train_without_motion_asks_for_none(call: Call, place: Path, tmp_path: Path) -> None:
    code, *_ = call(
        "train", place / "STORE", place / "train.json", "--out", tmp_path / "run", "--tensors", "frame", *TRAINING
    )
    assert code == 0
    assert not load_head(tmp_path / "run").head.spec.uses_motion


def test_predict_and_evaluate(call: Call, place: Path, run: Path, tmp_path: Path) -> None:
    for name in ("predictions.json", "submission.pkl"):
        code, out, _ = call(
            "predict", run, place / "STORE", "--annotations", place / "test.json", "--out", tmp_path / name,
            "--scores", tmp_path / "scores.json", "--device", "cpu",
        )  # fmt: skip
        assert code == 0 and "without features        1: ghost" in out and f"written: {tmp_path / name}" in out
    assert load_predictions(tmp_path / "submission.pkl") == load_predictions(tmp_path / "predictions.json")
    assert set(load_tracks(tmp_path / "scores.json")) == set(load_annotations(place / "test.json")) - {"ghost"}
    code, out, _ = call(
        "evaluate",
        tmp_path / "submission.pkl",
        place / "test.json",
        "--out",
        tmp_path / "report.json",
        "--name",
        "ours",
    )
    assert code == 0 and "5 of 6 annotated videos predicted, coverage 0.833" in out
    methods = json.loads((tmp_path / "report.json").read_text())["methods"]
    assert methods["ours"]["coverage"] == pytest.approx(5 / 6)
    shown = re.search(r"^  ours +(\d\.\d{3}) ", out, re.MULTILINE)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(methods["ours"]["by_tolerance"][0]["f1"], abs=5e-4)


def test_predict_tells_of_videos_that_had_a_say_in_the_head(call: Call, place: Path, run: Path, tmp_path: Path) -> None:
    known = load_annotations(place / "train.json")
    new = load_annotations(place / "test.json")
    write_annotations(Annotations([*known.values(), new["v12"]]), tmp_path / "mixed.json")
    for name, said in {
        place / "train.json": "trained on 9 and validated on 2 of 11 predicted videos",
        tmp_path / "mixed.json": "trained on 9 and validated on 2 of 12 predicted videos",
        place / "test.json": None,
    }.items():
        for head in (run, run / "head.safetensors"):
            arguments = ("--annotations", name, "--out", tmp_path / "p.json", "--device", "cpu", "--force")
            code, _, err = call("predict", head, place / "STORE", *arguments)
            assert code == 0
            line = " ".join(err.split())
            assert line == ("" if said is None else f"the head was {said}: a score on these says little")


def test_predict_tells_of_other_stretches_of_a_source(call: Call, place: Path, run: Path, tmp_path: Path) -> None:
    content = json.loads((run / "run.json").read_text())
    seen = content["training"][0]
    content["sources"][seen].append("path:long.mp4")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps(content))
    (tmp_path / "run" / "head.safetensors").write_bytes((run / "head.safetensors").read_bytes())
    video = replace(load_annotations(place / "test.json")["v12"], source_path="long.mp4")
    write_annotations(Annotations([video]), tmp_path / "test.json")
    code, _, err = call(
        "predict", tmp_path / "run", place / "STORE", "--annotations", tmp_path / "test.json", "--pattern", r"(v\d+)",
        "--out", tmp_path / "p.json", "--device", "cpu",
    )  # fmt: skip
    assert code == 0 and " ".join(err.split()) == (
        "the head was trained on other stretches of the source of 1 of 1 predicted video: a score on these says little"
    )


def test_predict_knows_no_videos_of_a_head_by_itself(call: Call, place: Path, run: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "head.safetensors").write_bytes((run / "head.safetensors").read_bytes())
    for head in (tmp_path / "run", tmp_path / "run" / "head.safetensors"):
        arguments = (place / "STORE", "--annotations", place / "train.json", "--out", tmp_path / "p.json")
        code, _, err = call("predict", head, *arguments, "--device", "cpu")
        assert (code, err) == (0, "")


def test_predictions_under_other_names_are_told(call: Call, place: Path, run: Path, tmp_path: Path) -> None:
    predicted = call("predict", run, place / "STORE", "--out", tmp_path / "p.json", "--device", "cpu")
    assert predicted[0] == 0 and "in 16 videos" in predicted[1]
    code, out, err = call("evaluate", tmp_path / "p.json", place / "test.json")
    assert (code, out) == (1, "") and "--annotations" in err  # a score of nothing is none
    boundaries = load_predictions(tmp_path / "p.json")
    (tmp_path / "p.json").write_text(json.dumps({**boundaries, "v12": boundaries["v12.mp4"]}))
    code, out, _ = call("evaluate", tmp_path / "p.json", place / "test.json")
    assert code == 0 and "1 of 6 annotated videos predicted, coverage 0.167" in out
    assert "predicted, but not annotated by that name: 16 videos" in out
    assert "intervals over 6 videos say little" in out
    assert "nan" not in out


def test_evaluate_adds_the_clock_of_the_training_annotations(call: Call, place: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", place / "p12.json", place / "test.json")
    assert "clock" not in call(*arguments)[1]
    code, out, _ = call(*arguments, "--training", place / "train.json", "--out", tmp_path / "report.json")
    assert code == 0 and re.search(r"^  clock +\d\.\d{3} ", out, re.MULTILINE)
    assert re.search(r"per video \(a rater marks \d\.\d\);", " ".join(out.split()))
    assert re.search(r"clock: \d\.\d\d s, then every \d\.\d\d s, the best on the training", " ".join(out.split()))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["clock"]["videos"] == 11 and report["marks_per_video"] > 1


def test_evaluate_of_one_video_shows_no_interval(call: Call, place: Path, tmp_path: Path) -> None:
    write_annotations(Annotations([load_annotations(place / "test.json")["v12"]]), tmp_path / "one.json")
    code, out, _ = call("evaluate", place / "p12.json", tmp_path / "one.json", "--out", tmp_path / "report.json")
    assert code == 0 and ".." not in out and "nan" not in out and "one video has no interval" in out
    assert json.loads((tmp_path / "report.json").read_text())["methods"]["method"]["average_f1_interval"] == [
        None,
        None,
    ]


def test_evaluate_tells_what_it_left_out(call: Call, place: Path, tmp_path: Path) -> None:
    content = json.loads((place / "test.json").read_text())
    content["videos"]["v13"]["duration_seconds"] = 0
    (tmp_path / "test.json").write_text(json.dumps(content))
    code, out, _ = call("evaluate", place / "p12.json", tmp_path / "test.json")
    assert code == 0 and "1 of 5 annotated videos predicted" in out and "v13: expected a duration above 0" in out


def test_a_list_without_marks_is_predicted_and_not_evaluated(
    call: Call, place: Path, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "list.json").write_text(
        '{"v12": {"fps": 30, "num_frames": 240}, "v13": {"fps": 30, "num_frames": 240}}'
    )
    arguments = ("predict", run, place / "STORE", "--annotations", tmp_path / "list.json", "--device", "cpu")
    code, out, err = call(*arguments, "--out", tmp_path / "submission.pkl")
    assert code == 0 and err == "" and "2 of 2 annotated videos" in out and "marks                   none" in out
    assert "no boundary" not in out and "next:" not in out
    assert list(load_predictions(tmp_path / "submission.pkl")) == ["v12", "v13"]
    code, out, err = call("evaluate", tmp_path / "submission.pkl", tmp_path / "list.json")
    assert (code, out, len(err.splitlines())) == (1, "", 1) and "got none for 2 of 2 videos" in err


def test_evaluate_names_its_variant(call: Call, place: Path) -> None:
    code, out, _ = call(
        "evaluate", place / "p12.json", place / "test.json", "--missing", "skip", "--tolerances-seconds", "0.5,1"
    )
    assert code == 0 and "F1 at 0.5 s" in out and "(tolerances in seconds, missing videos" in out
    assert "1 of 6 annotated videos predicted, coverage 0.167" in out


def test_evaluate_fits_a_narrow_terminal(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = call("evaluate", place / "p12.json", place / "test.json")[1]
    monkeypatch.setenv("COLUMNS", "60")
    code, out, _ = call("evaluate", place / "p12.json", place / "test.json")
    assert code == 0 and max(map(len, out.splitlines())) <= 60
    assert sorted(set(out.split())) == sorted(set(wide.split()))  # nothing is left out or cut
    assert out.count("uniform-5") == 2 and wide.count("uniform-5") == 1


def test_detect_needs_no_labels(call: Call, place: Path, tmp_path: Path) -> None:
    code, out, _ = call("detect", place / "STORE", "--out", tmp_path / "p.json", "--scores", tmp_path / "s.json")
    assert code == 0 and "in 16 videos" in out
    assert len(load_predictions(tmp_path / "p.json")) == len(load_tracks(tmp_path / "s.json")) == 16


def test_join_reports_without_training(call: Call, place: Path) -> None:
    code, out, _ = call("join", place / "STORE", place / "test.json")
    assert code == 0 and "5 of 6 annotated videos, coverage 0.833" in out and "perfect labels reach" in out


def test_a_split_of_the_users_that_leaks_is_told_in_a_line(call: Call, place: Path, tmp_path: Path) -> None:
    known = load_annotations(place / "train.json")
    shared = [replace(video, source_path="long.mp4") for video in known.values()]
    write_annotations(Annotations(shared), tmp_path / "train.json")
    (tmp_path / "ids.txt").write_text("v03\nv05\n")
    code, _, err = call(
        "train", place / "STORE", tmp_path / "train.json", "--out", tmp_path / "run", *TRAINING, "--pattern", r"(v\d+)",
        "--validation", tmp_path / "ids.txt", "--epochs", 1,
    )  # fmt: skip
    said = " ".join(line for line in err.splitlines() if not line.startswith("epoch"))
    assert code == 0 and said.startswith("2 of 2 validation videos share their source with training videos, v03 among")
    code, _, err = call(
        "train",
        place / "STORE",
        tmp_path / "train.json",
        "--out",
        tmp_path / "other",
        *TRAINING,
        "--pattern",
        r"(v\d+)",
    )
    assert code == 1 and "got none of the 11" in err and "of 1 source" in err and "--sources" in err


def test_low_rate_is_warned_of_in_a_line(call: Call, place: Path) -> None:
    code, _, err = call("join", place / "STORE", place / "test.json", "--rate-hz", "2")
    assert code == 0 and err.startswith("2 frames a second") and "Warning" not in err


def test_convert_writes_plain_json_and_counts(call: Call, tmp_path: Path) -> None:
    content = {"good": made.raw_entry([made.mark(2.0)], [made.mark(2.1)], []), "few": made.raw_entry([made.mark(2.0)])}
    pd.to_pickle(content, tmp_path / "raw.pkl")
    code, out, _ = call("convert", tmp_path / "raw.pkl", "--out", tmp_path / "plain.json")
    assert code == 0
    assert re.search(r"^  left out +1$", out, re.MULTILINE) and "few: " in out
    assert re.search(r"^  raters without a boundary +1$", out, re.MULTILINE)
    assert list(load_annotations(tmp_path / "plain.json")) == ["good"]


def test_plots_are_written(call: Call, place: Path, run: Path, tmp_path: Path) -> None:
    for name, arguments in {
        "detector.png": ("plot", "video", place / "STORE", "v12.mp4"),
        "head.png": ("plot", "video", place / "STORE", "v12", "--run", run, "--annotations", place / "test.json"),
        "run.png": ("plot", "run", run),
    }.items():
        code, out, _ = call(*arguments, "--out", tmp_path / name)
        assert code == 0 and out == f"written: {tmp_path / name}\n"
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "STORE", "train.json", "--out", "STORE"), "expected a file of `msnet gebd train`"),
        (("train", "STORE", "nothing.json", "--out", "new"), "nothing.json cannot be read"),
        (("train", "STORE", "train.json", "--out", "new", "--validation", "nothing.txt"), "one id per line"),
        (
            ("train", "STORE", "train.json", "--out", "new", "--rate-hz", "0"),
            "rate_hz (--rate-hz): expected more than 0",
        ),
        (("predict", "STORE", "STORE", "--out", "p.json"), "Give the folder that `msnet gebd train --out` wrote"),
        (("detect", "STORE", "--out", "p.txt"), "expected a name ending in .json or .pkl"),
        (("detect", "STORE", "--out", "p.json", "--stretches"), "--stretches"),
        (("evaluate", "train.json", "train.json"), "as annotations have. Give the predictions"),
        (("evaluate", "train.json", "p02.json"), "p02.json: expected annotations"),
        (("evaluate", "empty.json", "train.json"), "annotated videos; got none"),
        (
            ("evaluate", "p02.json", "train.json", "--tolerances-seconds", "much"),
            "got 'much'. Separate them by commas, like 0.5,1",
        ),
        (("join", "STORE", "train.json", "--pattern", "("), "--pattern"),
        (("join", "STORE", "train.json", "--pattern", "q(x)"), "Change the pattern q(x) to one that finds"),
        (("train", "STORE", "train.json", "--out", "new", "--sources", "camera"), "got 'camera'. Extract from a table"),
        (("plot", "video", "STORE", "nobody", "--out", "a.png"), "got 'nobody'"),
        (("plot", "video", "STORE", "v12.mp4", "--out", "a.png", "--videos", "."), "it is missing"),
        (("plot", "run", "STORE", "--out", "a.png"), "Give the folder that `msnet gebd train --out` wrote"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    arguments: tuple[str, ...], said: str, call: Call, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = sorted(path.name for path in place.iterdir())
    code, out, err = call(*arguments)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("msnet: ") and said in line and "Traceback" not in err
    assert sorted(path.name for path in place.iterdir()) == before


def test_warnings_are_said_once_and_when_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    with spoken_warnings():
        warnings.warn("a source on both sides", stacklevel=1)
        assert capsys.readouterr().err == "a source on both sides\n"
        warnings.warn("a source on both sides", stacklevel=1)
    assert capsys.readouterr().err == ""
