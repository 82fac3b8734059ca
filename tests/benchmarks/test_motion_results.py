"""From scores to accuracies and pictures, and the commands that make the scores."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.motion_classes import __main__ as program, commands
from benchmarks.motion_classes.flow import TIME_COLUMNS, TIMES_NAME
from benchmarks.motion_classes.motions import CLASSES
from benchmarks.motion_classes.results import (
    Scored,
    accuracies,
    by_class,
    by_speed,
    merged,
    read_scores,
    table,
)
from benchmarks.motion_classes.speed import with_flow
from benchmarks.motion_classes.videos import Written, write_table

HEADER = ",".join(["path", "label", *(f"score_{n}" for n in range(len(CLASSES)))])


def _scored(labels: Sequence[int], guesses: Sequence[int], certainty: float = 4.0) -> Scored:
    logits = certainty * np.eye(len(CLASSES))
    rows = zip(range(len(labels)), labels, guesses, strict=True)
    return Scored.of([(f"test/x/{n:03d}.mp4", label, logits[guess].tolist()) for n, label, guess in rows])


def _write(path: Path, scored: Scored, prefix: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        ",".join([prefix + name, CLASSES[label], *map(str, np.log(row))])
        for name, label, row in zip(scored.paths, scored.labels, scored.probabilities, strict=True)
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n")


def test_scores_are_read_wherever_the_data_set_lies_and_become_probabilities(tmp_path: Path) -> None:
    known = _scored([3, 1, 0], [3, 2, 0])
    _write(tmp_path / "scores.csv", known, "/data/videos/")
    read = read_scores(tmp_path / "scores.csv")
    assert read.paths == known.paths and read.labels.tolist() == [3, 1, 0]
    np.testing.assert_allclose(read.probabilities, known.probabilities)
    np.testing.assert_allclose(read.probabilities.sum(1), 1)
    assert read.right.tolist() == [1, 0, 1]
    text = (tmp_path / "scores.csv").read_text().replace(HEADER, ",".join(("video_id", "label", *CLASSES)))
    (tmp_path / "named.csv").write_text(text)
    np.testing.assert_array_equal(read_scores(tmp_path / "named.csv").probabilities, read.probabilities)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label,score_0\ntest/a/a,1,2\n", "score_10"),
        (HEADER + "\n", "a row of finite scores for each test video"),
        (HEADER + "\ntrain/a/a,3" + ",1" * 12, "a row of finite scores"),
        (HEADER + "\ntest/a/a,sideways" + ",1" * 12, "'sideways'"),
        (HEADER + "\ntest/a/a,12" + ",1" * 12, "'12'"),
        (HEADER + "\ntest/a/a,3,nan" + ",1" * 11, "finite"),
        (HEADER + "\ntest/a/a,3" + ",1" * 12 + "\ntest/a/a,3" + ",1" * 12, "twice"),
    ],
)
def test_scores_that_are_none_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_scores(tmp_path / "scores.csv")


def test_two_streams_are_averaged_so_that_the_certain_one_decides() -> None:
    certain, doubtful = _scored([1, 2], [1, 5], 9.0), _scored([1, 2], [4, 2], 1.0)
    assert merged(certain, doubtful).right.tolist() == [1, 0]
    with pytest.raises(ValueError, match="the same 2 videos"):
        merged(certain, _scored([1, 3], [4, 2]))


def test_accuracies_are_means_over_seeds_with_paired_leads() -> None:
    labels = [0] * 50 + [1] * 50
    good = [_scored(labels, [0] * 50 + [1] * 40 + [2] * 10), _scored(labels, [0] * 50 + [1] * 50)]
    poor = [_scored(labels, [0] * 50 + [2] * 50)]
    found = accuracies({"good": good, "poor": poor, "again": good})
    assert found["good"].mean == pytest.approx(0.95) and found["good"].by_seed == (0.9, 1.0)
    assert found["good"].lead is None
    assert 0.91 < found["good"].interval.low < 0.95 < found["good"].interval.high < 0.99
    assert found["poor"].lead == pytest.approx(0.45)
    lead = found["poor"].lead_interval
    assert lead is not None and 0.3 < lead.low < 0.4 < 0.5 < lead.high < 0.6
    same = found["again"].lead_interval  # paired: the same answers on the same draws never differ
    assert same is not None and same.low == same.high == 0
    assert by_class({"good": good, "poor": poor}) == {
        CLASSES[0]: {"good": 1.0, "poor": 1.0},
        CLASSES[1]: {"good": pytest.approx(0.9), "poor": 0.0},
    }
    text = table(found, {"good": 12.34})
    assert "0.950  [0.9" in text and "+0.450 [0.3" in text and "12.3" in text


def test_accuracy_against_speed_counts_the_videos_whose_speed_is_known() -> None:
    scored = _scored([0, 0, 0, 0], [0, 1, 0, 0])
    speeds = dict(zip(scored.paths, (0.5, 0.9, 3.0), strict=False))
    slow, fast = by_speed({"one": [scored]}, speeds, (0.0, 1.0, 2.0, 4.0))
    assert (slow.videos, slow.top1["one"][0]) == (2, 0.5) and slow.top1["one"][1].exists
    assert (fast.low, fast.high, fast.videos, fast.top1["one"][0]) == (2.0, 4.0, 1, 1.0)
    assert not fast.top1["one"][1].exists


def test_flow_costs_the_second_stream_its_time() -> None:
    assert with_flow({"rgb": 10.0, "flow": 10.0}, ("rgb", "flow"), 0.0) == pytest.approx(5.0)
    assert with_flow({"flow": 10.0}, ("flow",), 12.5) == pytest.approx(5.0)


def test_the_products_commands_train_once_and_score_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> SimpleNamespace:
        calls.append(command[3:])
        if "train" in command:
            made = Path(command[command.index("--out") + 1]) / "model.safetensors"
        else:
            made = Path(command[command.index("--scores") + 1])
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    place = commands.Place(tmp_path)
    for _ in range(2):
        commands.train(place, commands.GRAFT, 0, 7)
        commands.train(place, commands.GRAFT, 1, 7)
    grafting, *trainings = (" ".join(call) for call in calls)
    graft = tmp_path / "grafts" / "graft"
    assert grafting.startswith("weights train --config graft") and grafting.endswith(f"--out {graft}")
    assert [f"--weights {graft}/model.safetensors" in training for training in trainings] == [True, True]
    calls.clear()
    for _ in range(2):
        commands.train(place, commands.TSM_ON_FLOW, 2, 7)
        commands.score(place, commands.TSM_ON_FLOW, 2)
    training, scoring = (" ".join(call) for call in calls)
    run_folder, config = tmp_path / "runs" / "tsm_on_flow-2", tmp_path / "configs" / "tsm_on_flow.toml"
    assert training.startswith(f"weights train --task classify --videos {tmp_path / 'flow'} --out {run_folder}")
    assert training.endswith("weights/tsm_resnet18.safetensors --seed 2")
    assert "epochs = 7" in config.read_text() and 'model = "tsm_resnet18"' in config.read_text()
    assert scoring.startswith(f"weights evaluate {run_folder}/model.safetensors --task classify")
    assert (tmp_path / "scores" / "tsm_on_flow-2.csv").exists()
    monkeypatch.setattr(subprocess, "run", lambda *given, **options: SimpleNamespace(returncode=3))
    with pytest.raises(SystemExit, match="ended with 3"):
        commands.train(place, commands.MSNET, 0, 7)


def test_weights_of_all_networks_exist() -> None:
    for network in commands.NETWORKS:
        assert network.weights == "bundled" or Path(network.weights).exists()


def test_a_report_has_all_methods_and_two_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "clips_a_second", lambda networks: {network.name: 20.0 for network in networks})
    place = commands.Place(tmp_path)
    right = [n % len(CLASSES) for n in range(36)]
    known = _scored(right, right)
    for network in commands.NETWORKS:
        guesses = right if network.model.startswith("msnet") else [0] * 36
        _write(place.scores_of(network, 0), _scored(right, guesses))
    place.videos.mkdir()
    labels = [CLASSES[n] for n in right]
    write_table(
        place.videos,
        [
            Written(path, label, "test", 0.2 * n)
            for n, (path, label) in enumerate(zip(known.paths, labels, strict=True))
        ],
    )
    place.flow.mkdir()
    (place.flow / TIMES_NAME).write_text(",".join(TIME_COLUMNS) + "\ntest/x/000.mp4,24,0.24\n")
    program.main([str(tmp_path), "--only", "report", "--seeds", "1"])
    printed = capsys.readouterr().out
    assert (tmp_path / "report.txt").read_text() == printed
    rows = {line.split("  ")[0].strip(): line for line in printed.splitlines()}
    assert rows["MSNet"].split()[1] == "1.000" and rows["MSNet"].split()[-1] == "20.0"
    assert rows["TSM on both"].split()[-1] == "5.6"  # two networks, and 8 times 10 ms of flow
    assert "10.00 ms a pair" in printed
    for name in ("speed_of_motion.png", "clips_a_second.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_steps_run_in_order_and_the_probe_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    for name in ("write", "flow", "probe", "train", "score", "report"):

        def step(place: commands.Place, options: argparse.Namespace, name: str = name) -> None:
            ran.append(f"{name} {options.videos}")

        monkeypatch.setattr(program, f"_{name}", step)
    program.main([str(tmp_path), "--videos", "4"])
    assert ran == ["write 4", "flow 4", "train 4", "score 4", "report 4"]
    program.main([str(tmp_path), "--only", "probe"])
    assert ran[5:] == ["probe 32"]
    with pytest.raises(SystemExit):
        program.main([str(tmp_path), "--seeds", "0"])


def test_a_step_without_what_it_needs_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"expected .*msnet-0.csv; got no such file. Run the steps before report"):
        program.main([str(tmp_path), "--only", "report"])
