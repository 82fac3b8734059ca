"""What is installed: metadata, the command, pinned versions, and other people's folders with our names."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, version
from pathlib import Path

import pytest

from msnet_features import PACKAGES
from tests.videos import write_video

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMAND = Path(sys.executable).with_name("msnet")
FOR_OTHERS = {"dev", "docs", "lightning"}  # extras of which the product imports nothing
LOADED_BY_NAME = {"plotly", "s3fs"}  # its script is copied; by fsspec, for an address that begins with s3://
# distribution by imported name, where they differ
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "decord": "decord2",
    "PIL": "pillow",
    "lazy_loader": "lazy-loader",
    "tensorboardX": "tensorboardx",
}


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return found[0].lower().replace("_", "-")


def run(*command: str | Path, cwd: Path = ROOT, seconds: float = 60, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def shadow(folder: Path, *names: str, content: str = "") -> Path:
    """A user's folder that has packages with our names."""
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(content)
    return folder


def test_metadata_is_that_of_the_project() -> None:
    assert version("msnet-features") == PROJECT["version"]
    metadata = distribution("msnet-features").metadata
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == "<3.14,>=3.11"


def test_changelog_begins_with_this_version_or_what_comes() -> None:
    newest = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert newest in ("Unreleased", PROJECT["version"])


def test_command_is_the_entry_point() -> None:
    (command,) = [e for e in distribution("msnet-features").entry_points if e.group == "console_scripts"]
    assert (command.name, command.value) == ("msnet", "msnet_features:main")
    assert command.load().__module__ == "msnet_features"


def test_packages_are_all_that_the_folder_has() -> None:
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert found == set(PACKAGES)
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert set(find["include"]) == {f"{name}*" for name in PACKAGES}
    without = [
        p.parent for name in PACKAGES for p in (ROOT / name).rglob("*.py") if not (p.parent / "__init__.py").exists()
    ]
    assert without == [], "a folder without __init__.py is not installed"


def test_constraints_pin_every_direct_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {name_of(name) for name in pinned}
    wanted = PROJECT["dependencies"] + [r for extra in PROJECT["optional-dependencies"].values() for r in extra]
    assert {name_of(r) for r in wanted} - {"msnet-features"} <= pins
    assert pinned["torch"] == "2.13.0"


def test_every_dependency_has_an_oldest_version() -> None:
    """Without one `make test-oldest` would install a release of many years ago."""
    wanted = PROJECT["dependencies"] + [r for extra in PROJECT["optional-dependencies"].values() for r in extra]
    assert [r for r in wanted if ">=" not in r and name_of(r) != "msnet-features"] == []


def test_dependencies_are_what_the_source_imports() -> None:
    imported = set()
    for path in [ROOT / "msnet_features.py", *(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - set(PACKAGES) - {"msnet_features"}
    extras = [r for name, extra in PROJECT["optional-dependencies"].items() if name not in FOR_OTHERS for r in extra]
    declared = {name_of(r) for r in PROJECT["dependencies"] + extras}
    assert {DISTRIBUTIONS.get(name, name) for name in foreign} | LOADED_BY_NAME == declared


@pytest.mark.parametrize("name", PACKAGES)
def test_package_of_another_with_our_name_is_named_in_a_sentence(name: str, tmp_path: Path) -> None:
    shadow(tmp_path, name, content="raise SystemExit('not ours was imported')")
    done = run(sys.executable, "-m", "msnet_features", "--help", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(rf"msnet: .*{name} from {re.escape(str(tmp_path))}.*\. Rename .*\n", done.stderr), done.stderr


def test_shadowing_by_pythonpath_is_named_too(tmp_path: Path) -> None:
    shadow(tmp_path / "theirs", "jobs", "schemas")
    done = run(COMMAND, "--help", cwd=tmp_path, PYTHONPATH=str(tmp_path / "theirs"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "jobs from" in done.stderr and "schemas from" in done.stderr


def test_plain_folder_with_our_name_is_passed_over_or_named(tmp_path: Path) -> None:
    """Without __init__.py a folder stands behind every installed package, but before one of an editable install."""
    (tmp_path / "jobs").mkdir()
    done = run(sys.executable, "-m", "msnet_features", "--help", cwd=tmp_path)
    named = done.stderr.startswith(f"msnet: expected its own packages; got jobs from {tmp_path}")
    assert done.returncode == 0 or (done.returncode == 1 and named and len(done.stderr.splitlines()) == 1)


def test_command_runs_beside_packages_with_our_names(tmp_path: Path) -> None:
    shadow(tmp_path, *PACKAGES, content="raise SystemExit('not ours was imported')")
    done = run(COMMAND, "weights", "list", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.ray
@pytest.mark.slow
def test_extraction_runs_beside_packages_with_our_names(tmp_path: Path) -> None:
    """Ray puts the folder where it was started in front of its workers' module path."""
    shadow(tmp_path, *PACKAGES, content="raise RuntimeError('not ours was imported')")
    write_video(tmp_path / "videos" / "a.mp4", frames=20, size=(64, 64))
    done = run(
        COMMAND,
        *("extract", "videos", "--out", "store", "--weights", "random", "--size", "64", "--device", "cpu"),
        cwd=tmp_path,
        seconds=240,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "store" / "manifest.parquet").is_file()


def test_places_that_contributing_names_exist() -> None:
    named = re.findall(
        r"`((?:schemas|extractor|gebd|jobs|training|tests)/[\w/.]+)`", (ROOT / "CONTRIBUTING.md").read_text()
    )
    places = [(ROOT / name, ROOT / f"{name}.py", ROOT / f"{name.rpartition('.')[0]}.py") for name in named]
    assert len(named) > 20
    assert [name for name, found in zip(named, places, strict=True) if not any(path.exists() for path in found)] == []
