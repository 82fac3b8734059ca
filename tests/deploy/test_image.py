"""deploy/Dockerfile: what an engine would refuse or leak, and its steps in an empty environment, without an engine."""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.deploy.conftest import ROOT, make_environment

STEPS = re.findall(r"^([A-Z]+) (.*)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
OF_THE_SYSTEM = ("apt-get update && apt-get install -y --no-install-recommends ", "useradd ")  # they need an engine


def values(*kinds: str) -> list[str]:
    return [value for kind, value in STEPS if kind in kinds]


def test_steps_are_those_that_the_test_below_knows() -> None:
    assert {kind for kind, _ in STEPS} <= {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "ENTRYPOINT", "CMD"}
    assert [run for run in values("RUN") if not run.startswith((*OF_THE_SYSTEM, "pip install ", "msnet "))] == []
    assert all(run.endswith("&& rm -rf /var/lib/apt/lists/*") for run in values("RUN") if run.startswith("apt-get"))


def test_the_command_is_not_run_as_root() -> None:
    """Kubernetes (runAsNonRoot) believes a number only. After it, nothing is installed."""
    (user,) = values("USER")
    (added,) = [shlex.split(run) for run in values("RUN") if run.startswith("useradd")]
    assert int(user) > 0 and added[added.index("--uid") + 1] == user
    after = STEPS[STEPS.index(("USER", user)) :]
    assert not any(kind == "RUN" and value.startswith("pip") for kind, value in after)
    assert ("ENTRYPOINT", '["msnet"]') in after


def test_nothing_of_the_image_is_secret() -> None:
    told = " ".join(values("ARG", "ENV"))
    assert not re.search(r"token|secret|password|passwd|credential|_key", told, re.IGNORECASE)
    assert all("--no-cache-dir" in run for run in values("RUN") if run.startswith("pip"))


def test_rays_that_others_start_in_it_report_nothing_either() -> None:
    """As ours does not; KubeRay starts Ray by its own command."""
    assert "RAY_USAGE_STATS_ENABLED=0" in " ".join(values("ENV")).split()


def test_the_engine_is_given_what_is_copied_and_nothing_else() -> None:
    """.dockerignore: environments, videos and stores of a working folder are not sent, and cannot be copied."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    copied = {name for line in values("COPY") for name in line.split()[:-1]}
    assert lines[0] == "*" and {line[1:] for line in lines if line[0] == "!"} == copied
    assert any(fnmatch.fnmatch("jobs/__pycache__", line) for line in lines[1:])


@pytest.mark.slow
def test_the_steps_install_what_runs(tree: Path, tmp_path: Path) -> None:
    """COPY and RUN as written; pip takes what torch and the extras are from this interpreter, and asks no index."""
    pytest.importorskip("setuptools", "77", reason="building needs setuptools")
    environment = make_environment(tmp_path / "env")
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    variables = {"TORCH_INDEX": "", "HOME": str(home), "PIP_NO_DEPS": "1"}
    told = ""
    for kind, value in STEPS:
        if kind == "COPY":
            *names, into = value.split()
            for name in names:
                copy = shutil.copytree if (tree / name).is_dir() else shutil.copyfile
                copy(tree / name, work / (name if into == "./" else into))
        elif kind == "RUN" and not value.startswith(OF_THE_SYSTEM):
            folder = home if value.startswith("msnet") else work
            told += environment.run("sh", "-c", value, cwd=folder, **variables)
    assert "msnet-features " in told and "msnet_resnet18" in told
    assert (environment.packages / "extractor" / "models" / "weights" / "msnet_resnet18.safetensors").is_file()
