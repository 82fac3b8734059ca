"""`msnet weights train --task contrast`: what it prints, what it refuses, and the commands of docs/contrast.md."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest

from extractor.store import FeatureStore
from jobs.cli.weights.progress import TrainingDisplay
from tests.jobs.conftest import Call
from tests.jobs.running import here
from tests.videos import write_video
from training.train import Progress

_DOCS = (Path(__file__).parents[4] / "docs/contrast.md").read_text()
_COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", _DOCS, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("msnet ")
]
_TINY = """
task = "contrast"
num_segments = 2
epochs = 2
clips_per_step = 2
clips_per_share = 2
projection = 8
[views]
size_px = 32
segment_frames = 2
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with VIDEOS and my.toml."""
    for number in range(4):
        path = tmp_path / "VIDEOS" / "walk" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames=16, size=(48, 48), seed=number)
    (tmp_path / "my.toml").write_text(_TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_train_tells_losses_and_what_is_held_out(call: Call, place: Path) -> None:
    arguments = ("weights", "train", "--task", "contrast", "--videos", "VIDEOS", "--config", "my.toml", "--out", "RUN")
    code, said, told = call(*arguments, "--validation-share", "0.5", "--loader-workers", "0", "--device", "cpu")
    assert code == 0 and "RUN/model.safetensors" in said
    assert "recognised as: videos without labels" in told and "training: 2 videos" in told
    assert re.search(r"intra_frame \d\.\d+, inter_frame .*clip .*order", told.replace("\n", " "))
    assert "end of a video found by its beginning, percent" in told and "spread of the keys of clips" in told
    assert max(map(len, told.splitlines())) <= 100
    with (place / "RUN/losses.csv").open(newline="") as file:
        assert list(next(csv.DictReader(file)))[3:] == ["intra_frame", "inter_frame", "clip", "order"]


def test_display_says_a_note_of_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingDisplay() as display:
        display.show(Progress(1, 2, "epoch 1", {"clip": 1.0}, 0.1, 9.0, None, note="the training has collapsed"))
    assert "the training has collapsed" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--task", "contrast"), "expected --videos with --task contrast; got none"),
        (("--videos", "VIDEOS"), "expected no --videos with --task motion; got some"),
        (("--task", "contrast", "--videos", "VIDEOS", "--labels", "my.toml"), "expected no lists of labels"),
        (("--task", "contrast", "--videos", "gone"), "gone does not exist"),
        (("--task", "contrast", "--videos", "VIDEOS", "--clips-per-step", "7"), "a multiple of clips_per_share"),
        (("--task", "contrast", "--videos", "VIDEOS", "--config", "small"), "small"),
    ],
)
def test_train_refuses_with_a_message(call: Call, place: Path, arguments: tuple[str, ...], expected: str) -> None:
    code, said, told = call("weights", "train", "--out", "RUN", *arguments)
    assert code == 1 and not said
    assert expected in " ".join(told.split()) and "Traceback" not in told
    assert not (place / "RUN").exists()


@pytest.mark.slow
@pytest.mark.ray
def test_commands_of_the_documentation_run(place: Path) -> None:
    assert len(_COMMANDS) == 4
    for command in _COMMANDS:
        arguments = shlex.split(command)[1:]
        if arguments[0] == "weights" and "--config" not in arguments:
            arguments += ["--config", "my.toml"]  # the default takes minutes
        ended = here(*arguments)
        assert ended.code == 0, f"{command}\n{ended.err}"
    store = FeatureStore(place / "STORE")
    assert len(store.video_ids) == 4
