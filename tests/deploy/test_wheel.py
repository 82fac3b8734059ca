"""The sdist and the wheel, and what is installed from them into an environment that knows no checkout."""

from __future__ import annotations

import json
import subprocess
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from tests.deploy.conftest import ROOT, Environment, make_environment

pytestmark = pytest.mark.slow

# What is read at run time, or by type checkers, and is no module.
DATA = ("extractor/models/weights", "training/recipes", "jobs/finetuning/recipes", "jobs/pages/assets")
MINE = "import sys, extractor, gebd, jobs, schemas, training; print(*(sys.modules[n].__file__ for n in sys.argv[1:]))"


def tracked(*patterns: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


def members(wheel: Path) -> dict[str, str]:
    """Files of a wheel with the hash of each. RECORD has no fixed order."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith(("/", "/RECORD"))]
        return {name: sha256(archive.read(name)).hexdigest() for name in names}


@pytest.fixture(scope="module")
def environment(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One into which the wheel was installed."""
    made = make_environment(tmp_path_factory.mktemp("environment") / "env")
    made.run("pip", "install", "--no-deps", built["wheel"], cwd=made.folder)
    return made


def test_the_wheel_has_every_module_and_all_that_they_read(built: dict[str, Path]) -> None:
    packages = tuple(f"{name}/" for name in ("schemas", "extractor", "training", "gebd", "jobs"))
    expected = {name for name in tracked() if name.startswith(packages)} | {"msnet_features.py"}
    assert {name for name in members(built["wheel"]) if ".dist-info/" not in name} == expected
    assert {f"{name}py.typed" for name in packages} <= expected
    assert all(any(name.startswith(f"{folder}/") for name in expected) for folder in DATA)


def test_the_sdist_makes_the_wheel_that_the_tree_makes(built: dict[str, Path]) -> None:
    assert members(built["wheel"]) == members(built["from_tree"])


def test_the_sdist_has_what_building_and_citing_take_and_no_tests(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md"} <= names
    assert not any(name.startswith(("tests/", "weights/", "benchmarks/")) for name in names)


def test_commands_run_outside_any_checkout(environment: Environment, tmp_path: Path) -> None:
    """What is imported is the installed package; a store, its page, and boundaries are made in an empty folder."""
    files = environment.run(environment.python, "-c", MINE, "extractor", "gebd", "jobs", cwd=tmp_path).split()
    assert all(Path(file).is_relative_to(environment.packages) for file in files)
    assert environment.run("msnet", "--version", cwd=tmp_path).startswith("msnet-features ")
    assert "store: d/store" in environment.run("msnet", "demo", "--videos", "2", "--out", "d", cwd=tmp_path)
    status = json.loads(environment.run("msnet", "status", "d/store", "--json", cwd=tmp_path))
    assert status["complete"] and status["videos"]["done"] == 2
    assert "page/index.html" in environment.run("msnet", "report", "d/store", "--html", "page", cwd=tmp_path)
    assert (tmp_path / "page" / "index.html").is_file()
    assert environment.run("msnet", "weights", "inspect", "bundled", cwd=tmp_path)
    few = ("--training-videos", "4", "--test-videos", "2", "--size", "64")
    told = environment.run("msnet", "gebd", "demo", *few, "--out", "g", cwd=tmp_path)
    assert "F1 at 0.05" in told and "tsn" not in told.split("marks")[0]
    assert {path.name for path in tmp_path.iterdir()} == {"d", "g", "page"}
