"""What README and the pages after it say is run: their commands in their order, their Python, the table of networks."""

from __future__ import annotations

import re
import shlex
from contextlib import chdir
from pathlib import Path

import pytest

from extractor import describe_network
from extractor.video import list_videos
from schemas.errors import FailureClass
from tests.extractor.models.checkpoint_factory import random_state, save_reference
from tests.jobs.running import here
from tests.videos import write_video

ROOT = Path(__file__).parents[1]
RUN = ("README.md", "docs/extract.md", "docs/output.md", "docs/weights.md")
PAGES = {name: (ROOT / name).read_text() for name in RUN}
COMMANDS = list(
    dict.fromkeys(  # README has some that docs/extract.md shows again
        line.partition("#")[0].strip()
        for text in PAGES.values()
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("msnet ")
    )
)
LATER = [command for command in COMMANDS if "--retry-failed" in command or "--rescan" in command]
PYTHON = [block for text in PAGES.values() for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


def output_of(command: str, place: Path) -> str:
    """What a command that ends well prints."""
    with chdir(place):
        ended = here(*shlex.split(command)[1:])
    assert ended.code == 0, f"{command}\n{ended.out}{ended.err}"
    return ended.out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with VIDEOS and checkpoint.pth.tar, in which the commands were run, but for those of LATER."""
    place = tmp_path_factory.mktemp("readme")
    for seed, name in enumerate(("clip.mp4", "other.mp4")):
        write_video(place / "VIDEOS" / name, frames=30, size=(96, 128), seed=seed)
    save_reference(place / "checkpoint.pth.tar", random_state("resnet50"))
    for command in COMMANDS:
        output = "" if command in LATER else output_of(command, place)
        (place / "outputs").mkdir(exist_ok=True)
        (place / "outputs" / f"{len(list((place / 'outputs').iterdir())):02d}.txt").write_text(output)
    return place


def test_readme_has_its_commands() -> None:
    said = " ".join(COMMANDS)
    for name in ("weights inspect", "plan", "extract", "status", "resume", "report", "show", "verify"):
        assert f"msnet {name}" in said


@pytest.mark.ray
def test_readme_commands_run(place: Path) -> None:
    assert (place / "STORE" / "manifest.parquet").exists()
    assert len(list((place / "outputs").iterdir())) == len(COMMANDS)


@pytest.mark.ray
@pytest.mark.slow  # tests/jobs/run/test_extraction runs them with other options
@pytest.mark.parametrize("command", LATER)
def test_readme_commands_on_failures_and_new_videos_run(command: str, place: Path) -> None:
    assert "videos done" in output_of(command, place)


@pytest.mark.ray
@pytest.mark.parametrize("block", range(len(PYTHON)))
def test_readme_python_runs(block: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    names: dict[str, object] = {}
    exec(PYTHON[block], names)  # our own documentation
    if "result" in names:
        result = names["result"]
        assert result.clip_features.shape == (2, 512)  # type: ignore[attr-defined]
        assert result.displacement.shape == (2, 7, 2, 28, 28)  # type: ignore[attr-defined]


@pytest.mark.ray
@pytest.mark.slow  # tests/jobs/demos has its parts, and the commands above an extraction like its own
def test_readme_demo_runs(tmp_path: Path) -> None:
    done = here("demo", "--videos", "1", "--out", tmp_path / "demo")
    assert done.code == 0, done.err
    assert "motion changes at" in done.out and str(tmp_path / "demo") in done.out


def test_table_of_networks_is_true() -> None:
    text = (ROOT / "docs" / "networks.md").read_text()
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (\d+) \| (\d+) \|", text, re.MULTILINE)
    assert len(rows) >= 3
    for names, frame, motion in rows:
        for name in re.findall(r"`(\w+)`", names):
            spec = describe_network(name)
            assert (spec.frame_feature_dim, spec.motion_channels) == (int(frame), int(motion))


def test_every_failure_class_is_listed() -> None:
    listed = re.search(r"Failure classes: ([^.]+)\.", PAGES["docs/extract.md"])
    assert listed is not None
    assert [name.strip() for name in listed[1].split(",")] == [failure.value for failure in FailureClass]
    lasting = re.search(r"Of these, ([\w,\s]+?) follow from what the file holds", PAGES["docs/extract.md"])
    assert lasting is not None
    assert [name.strip() for name in lasting[1].split(",")] == [one.value for one in FailureClass if one.lasting]


def test_what_becomes_of_a_tables_columns_is_true(tmp_path: Path) -> None:
    text = " ".join(PAGES["docs/extract.md"].split())
    assert "`table_codec`" in text and "leaves `007` and `NA` as they are" in text
    (tmp_path / "videos.csv").write_text("path,label,codec,code\na.mp4,1,x,007\nb.mp4,2,y,NA\n")
    values = list_videos(tmp_path / "videos.csv").columns.values
    assert values.to_dict("list") == {"label": [1, 2], "table_codec": ["x", "y"], "code": ["007", "NA"]}
