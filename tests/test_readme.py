"""What the README says is run: its commands in their order, its Python, its table of networks, its links."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from extractor import describe_network
from extractor.video import list_videos
from schemas.errors import FailureClass
from tests.extractor.models.checkpoint_factory import random_state, save_reference
from tests.videos import write_video

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("msnet ")
]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "msnet_features", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with VIDEOS and checkpoint.pth.tar, in which the README's commands were run."""
    place = tmp_path_factory.mktemp("readme")
    for seed, name in enumerate(("clip.mp4", "other.mp4")):
        write_video(place / "VIDEOS" / name, frames=30, size=(96, 128), seed=seed)
    save_reference(place / "checkpoint.pth.tar", random_state("resnet50"))
    for command in COMMANDS:
        done = run(*shlex.split(command)[1:], cwd=place)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        (place / "outputs").mkdir(exist_ok=True)
        (place / "outputs" / f"{len(list((place / 'outputs').iterdir())):02d}.txt").write_text(done.stdout)
    return place


def test_readme_has_its_commands() -> None:
    said = " ".join(COMMANDS)
    for name in ("weights inspect", "plan", "extract", "status", "resume", "report", "show", "verify"):
        assert f"msnet {name}" in said


def test_readme_commands_run(place: Path) -> None:
    assert (place / "STORE" / "manifest.parquet").exists()
    assert len(list((place / "outputs").iterdir())) == len(COMMANDS)


@pytest.mark.parametrize("block", range(len(PYTHON)))
def test_readme_python_runs(block: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    names: dict[str, object] = {}
    exec(PYTHON[block], names)  # our own README
    if "result" in names:
        result = names["result"]
        assert result.clip_features.shape == (2, 512)  # type: ignore[attr-defined]
        assert result.displacement.shape == (2, 7, 2, 28, 28)  # type: ignore[attr-defined]


def test_readme_demo_runs(tmp_path: Path) -> None:
    done = run("demo", "--videos", "1", "--out", str(tmp_path / "demo"))
    assert done.returncode == 0, done.stderr
    assert "motion changes at" in done.stdout and str(tmp_path / "demo") in done.stdout


def test_readme_table_of_networks_is_true() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (\d+) \| (\d+) \|", README, re.MULTILINE)
    assert len(rows) >= 3
    for names, frame, motion in rows:
        for name in re.findall(r"`(\w+)`", names):
            spec = describe_network(name)
            assert (spec.frame_feature_dim, spec.motion_channels) == (int(frame), int(motion))


def test_readme_lists_every_failure_class() -> None:
    listed = re.search(r"Failure classes: ([^.]+)\.", README)
    assert listed is not None
    assert [name.strip() for name in listed[1].split(",")] == [failure.value for failure in FailureClass]


def test_readme_says_what_becomes_of_a_tables_columns(tmp_path: Path) -> None:
    assert "`table_codec`" in README and "leaves `007` and `NA` as they are" in " ".join(README.split())
    (tmp_path / "videos.csv").write_text("path,label,codec,code\na.mp4,1,x,007\nb.mp4,2,y,NA\n")
    values = list_videos(tmp_path / "videos.csv").columns.values
    assert values.to_dict("list") == {"label": [1, 2], "table_codec": ["x", "y"], "code": ["007", "NA"]}


def test_links_between_documents_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
