"""`msnet demo` and `msnet gebd demo`: a folder is of one seed and one number of videos."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from extractor.video.listing import list_videos
from gebd.annotations.loading import load_annotations
from gebd.detection.detector import detect
from jobs.demos.first_look import DemoRow
from tests.jobs.conftest import Call, refused
from tests.jobs.running import here
from training.world.videos import write_demo_videos

COMMANDS = {
    "jobs.demos.first_look": ("demo", "--videos", "2"),
    "jobs.demos.gebd": ("gebd", "demo", "--training-videos", "4", "--test-videos", "2", "--device", "cpu"),
}


def interrupt(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


def write_small_videos(folder: Path, count: int, seed: int, **options: object) -> object:
    small = {"height": 48, "width": 64, "fps": 10, "seconds": (1.0, 2.0)}
    return write_demo_videos(folder, count, seed, **{**options, **small})


@pytest.fixture
def interrupted(request: pytest.FixtureRequest, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The module of a demonstration that was interrupted in tmp_path/demo when its videos were written."""
    module: str = request.param
    monkeypatch.setattr(f"{module}.write_demo_videos", write_small_videos)
    monkeypatch.setattr(f"{module}.extract", interrupt)
    assert call(*COMMANDS[module], "--out", tmp_path / "demo")[0] == 130
    return module


@pytest.mark.parametrize("interrupted", COMMANDS, indirect=True)
def test_demo_of_another_seed_is_refused(interrupted: str, call: Call, tmp_path: Path) -> None:
    line = refused(call, tmp_path, *COMMANDS[interrupted], "--seed", "5", "--out", tmp_path / "demo")
    assert f"{tmp_path / 'demo'} holds a demonstration" in line
    assert "(seed: expected 0, got 5)" in line and line.endswith("or another --out")


@pytest.mark.parametrize(
    ("interrupted", "option", "has"),
    [
        ("jobs.demos.first_look", "videos", 2),
        ("jobs.demos.gebd", "training-videos", 4),
        ("jobs.demos.gebd", "test-videos", 2),
    ],
    indirect=["interrupted"],
)
def test_demo_of_another_number_of_videos_is_refused(
    interrupted: str, option: str, has: int, call: Call, tmp_path: Path
) -> None:
    line = refused(call, tmp_path, *COMMANDS[interrupted], f"--{option}", "9", "--out", tmp_path / "demo")
    assert f"({option.replace('-', '_')}: expected {has}, got 9)" in line


@pytest.mark.parametrize("interrupted", COMMANDS, indirect=True)
def test_same_demo_goes_on_with_the_videos_that_are_there(
    interrupted: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extracted: list[Path] = []

    def extract(videos: Path, *arguments: object) -> None:
        extracted.append(videos)
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{interrupted}.write_demo_videos", lambda *_: pytest.fail("written again"))
    monkeypatch.setattr(f"{interrupted}.extract", extract)
    assert call(*COMMANDS[interrupted], "--out", tmp_path / "demo")[0] == 130
    assert extracted == [tmp_path / "demo" / "videos"]


@pytest.mark.parametrize("module", COMMANDS)
def test_demo_that_was_interrupted_among_its_videos_keeps_its_seed(
    module: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*COMMANDS[module], "--out", tmp_path / "demo")
    monkeypatch.setattr(f"{module}.extract", interrupt)
    monkeypatch.setattr(f"{module}.write_demo_videos", interrupt)
    assert call(*command)[0] == 130
    assert "seed: expected 0" in refused(call, tmp_path, *command, "--seed", "8")
    monkeypatch.setattr(f"{module}.write_demo_videos", write_small_videos)
    assert call(*command)[0] == 130
    assert len(list(tmp_path.rglob("demo_*.mp4"))) in (2, 4 + 2)
    assert list_videos(tmp_path / "demo" / "videos").skipped == (), "what is extracted holds nothing but videos"


@pytest.mark.parametrize("name", ["thesis.tex", "videos/holiday.mp4"])
def test_demo_in_a_folder_of_others_is_refused(name: str, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "mine" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    line = refused(call, tmp_path, "demo", "--out", tmp_path / "mine")
    assert f"holds {Path(name).parts[0]!r}. Give another --out" in line


def test_what_was_detected_is_compared_with_the_truth() -> None:
    row = DemoRow("a.mp4", 5.0, 50, changes=(1.0, 2.0, 3.5), detected=(1.2, 2.3, 3.4, 3.7))
    assert (row.found, row.wrong) == (2, 1)
    assert (DemoRow("a.mp4", 5.0, 50, (), ()).found, DemoRow("a.mp4", 5.0, 50, (), (1.0,)).wrong) == (0, 1)


@pytest.mark.ray
@pytest.mark.slow
def test_demo_says_what_its_own_detector_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.demos.first_look.write_demo_videos", write_small_videos)
    code, out, err = here("demo", "--videos", "2", "--out", tmp_path / "demo")
    assert code == 0, err
    assert "left out" not in err, "nothing but videos is in the folder"
    truth = load_annotations(tmp_path / "demo" / "boundaries.json")
    found = detect(tmp_path / "demo" / "store").boundaries
    rows = re.findall(r"^  (demo_\d\d\.mp4) +[\d.]+ +\d+  (.*)$", out, re.MULTILINE)
    assert [(name, times.split()) for name, times in rows] == [
        (name, [f"{time:.1f}" for time in (*truth[name].rater_seconds[0], *found[name])]) for name in truth
    ]
    changes = sum(len(one.rater_seconds[0]) for one in truth.values())
    assert re.search(rf"finds \d+ of {changes} changes within 0.25 s, with \d+ false alarm", " ".join(out.split()))


def test_demo_where_no_folder_can_be_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert str(tmp_path / "file") in refused(call, tmp_path, "demo", "--out", tmp_path / "file")
