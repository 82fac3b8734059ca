from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Environment:
    """A virtual environment without our package; what that depends on is this interpreter's, so no index is asked."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where its own packages are."""
        return Path(sysconfig.get_path("purelib", vars={"base": str(self.folder), "platbase": str(self.folder)}))

    def variables(self, **more: str) -> dict[str, str]:
        """Those of a shell in which it is active: no folder of ours on any path, and pip asks no index."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        # pip turns round what variables say of its options that begin with "no": build isolation is off.
        return {**kept, "PATH": path, "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_QUIET": "1", **more}

    def run(self, *command: str | Path, cwd: Path, seconds: float = 1800, **more: str) -> str:
        """What a command wrote to standard output; it must succeed."""
        done = subprocess.run(
            list(map(str, command)),
            cwd=cwd,
            env=self.variables(**more),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def make_environment(folder: Path) -> Environment:
    """An environment as `Environment` says. Its pip is this interpreter's, too."""
    venv.create(folder, symlinks=True)
    made, others = Environment(folder), folder / "others"
    others.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "msnet_features" not in entry.name:
            (others / entry.name).symlink_to(entry)
    (made.packages / "others.pth").write_text(f"{others}\n")
    pip = folder / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec {made.python} -m pip "$@"\n')
    pip.chmod(0o755)
    return made


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the repository alone, without what builds and tests leave among them."""
    folder = tmp_path_factory.mktemp("deploy") / "tree"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("needs the files that git lists; this is no checkout")
    for name in listed.stdout.decode().split("\0")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def built(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, the wheel that it makes (`wheel`), and the one that the tree makes (`from_tree`)."""
    pytest.importorskip("setuptools", "77", reason="building needs setuptools")
    folder = tmp_path_factory.mktemp("built")
    sdist = build(tree, "sdist", folder)
    shutil.unpack_archive(sdist, folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return {"sdist": sdist, "wheel": build(unpacked, "wheel", folder), "from_tree": build(tree, "wheel", folder / "t")}


def build(source: Path, what: str, into: Path) -> Path:
    """What the build backend makes of a folder."""
    into.mkdir(exist_ok=True)
    script = f"from setuptools import build_meta; print(build_meta.build_{what}({str(into)!r}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]
