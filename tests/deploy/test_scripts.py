"""deploy/: the scripts with stand-ins for Slurm, Ray and msnet; the image's steps against the package; the manifest."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
NOTE = 'printf "%s\\n" "$(basename "$0") $*" >> "$NOTES"'
Run = Callable[..., tuple[subprocess.CompletedProcess[str], list[str]]]
STAND_INS = {
    "srun": f'{NOTE}\nwhile [ "${{1#--}}" != "$1" ]; do shift; done\nexec "$@"',
    "scontrol": 'printf "%s\\n" node1 node2 node3',
    "ray": f'{NOTE}\n[ -n "$RAY_AUTH_TOKEN" ] && [ "$RAY_AUTH_MODE" = token ] || exit 9\n'
    '[ "$RAY_USAGE_STATS_ENABLED" = 0 ] || exit 9\n'
    'case "$*" in *--block*) exec sleep 30;; esac',
    "msnet": f"{NOTE}\n"
    'until [ "$(grep -c "^ray start" "$NOTES")" -ge "${STARTS:-0}" ]; do sleep 0.05; done\n'  # they begin beside it
    '[ -z "${WAITS:-}" ] || { trap "sleep 0.3; exit 130" TERM; touch "$WAITS"; while true; do sleep 0.05; done; }\n'
    'exit "${CODE:-0}"',
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a script of deploy/ with the stand-ins; the result, and the lines that they have noted."""
    (tmp_path / "bin").mkdir()
    for name, script in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    def call(name: str, *arguments: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", DEPLOY / name, *arguments],
            env={"PATH": path, "NOTES": str(tmp_path / "notes"), **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        notes = tmp_path / "notes"
        return done, notes.read_text().splitlines() if notes.exists() else []

    return call


def array(**values: int) -> dict[str, str]:
    numbers = {f"SLURM_ARRAY_TASK_{name.upper()}": str(value) for name, value in values.items()}
    return {**numbers, "SLURM_CPUS_PER_TASK": "4"}


@pytest.mark.parametrize(("least", "number", "part"), [(1, 1, "1/8"), (1, 8, "8/8"), (0, 0, "1/8"), (0, 7, "8/8")])
def test_each_job_of_an_array_has_its_part(run: Run, least: int, number: int, part: str) -> None:
    done, notes = run("slurm-array.sh", "a b", "store", "--hop", "4", **array(id=number, count=8, min=least))
    assert done.returncode == 0, done.stderr
    assert notes[-1] == f"msnet extract a b --out store --part {part} --hop 4"


@pytest.mark.parametrize("name", ["slurm-array.sh", "slurm-ray.sh"])
def test_every_step_is_given_its_cores(run: Run, name: str) -> None:
    """Since Slurm 22.05, srun no longer takes them from sbatch."""
    notes = run(name, "v", "s", **{**array(id=1, count=1, min=1), **CLUSTER})[1]
    steps = [note for note in notes if note.startswith("srun")]
    assert steps and all(" --cpus-per-task=4 " in step for step in steps)


def test_the_exit_code_of_an_array_job_is_that_of_msnet(run: Run) -> None:
    assert run("slurm-array.sh", "v", "s", CODE="2", **array(id=1, count=1, min=1))[0].returncode == 2


@pytest.mark.parametrize("name", ["slurm-array.sh", "slurm-ray.sh"])
def test_outside_slurm_or_without_arguments_the_usage_is_shown(run: Run, name: str) -> None:
    for arguments in ((), ("videos", "store")):
        done, notes = run(name, *arguments)
        assert (done.returncode, notes) == (1, []) and done.stderr.startswith("usage: sbatch")


CLUSTER = {"SLURM_JOB_NODELIST": "node[1-3]", "SLURM_JOB_ID": "20017", "SLURM_CPUS_PER_TASK": "4"}


@pytest.mark.parametrize("code", [0, 2])
def test_a_cluster_of_all_nodes_runs_one_extraction(run: Run, code: int) -> None:
    done, notes = run(
        "slurm-ray.sh", "v", "s", "--hop", "4", CODE=str(code), STARTS="3", SLURM_GPUS_ON_NODE="1", **CLUSTER
    )
    assert done.returncode == code, done.stderr
    assert "ray start --head --block --port=20017 --num-cpus=4 --num-gpus=1" in notes
    joined = [line for line in notes if line.startswith("ray start --block --address=node1:20017")]
    assert len(joined) == 2
    assert [line for line in notes if line.startswith("msnet")] == [
        "msnet extract v --out s --ray-address node1:20017 --hop 4"
    ]
    assert all(f"--nodelist=node{n}" in "\n".join(notes) for n in (1, 2, 3))


def test_a_signal_reaches_the_extraction_and_is_waited_for(run: Run, tmp_path: Path) -> None:
    script = f"bash {shlex.quote(str(DEPLOY / 'slurm-ray.sh'))} v s & script=$!\n"
    script += 'while [ ! -e "$WAITS" ]; do sleep 0.05; done; kill -TERM $script; wait $script'
    (tmp_path / "outer.sh").write_text(script)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", tmp_path / "outer.sh"],
        env={"PATH": path, "NOTES": str(tmp_path / "notes"), "WAITS": str(tmp_path / "waits"), **CLUSTER},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 130, done.stderr


def test_the_image_copies_what_the_package_is_made_of() -> None:
    steps = (DEPLOY / "Dockerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (.*)$", steps, re.MULTILINE) for name in line.split()[:-1]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    modules = {f"{name}.py" for name in project["tool"]["setuptools"]["py-modules"]}
    files = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml", "constraints.txt"}
    assert copied == packages | modules | files
    extras = re.search(r'pip install .*"\.\[(.*)\]"', steps)
    assert extras is not None and set(extras[1].split(",")) <= set(project["project"]["optional-dependencies"])
    python = re.search(r"^ARG PYTHON=(.*)$", steps, re.MULTILINE)
    assert python is not None and python[1] in ("3.11", "3.12", "3.13")


def test_the_manifest_runs_our_image_with_shared_storage_and_shared_memory() -> None:
    job: dict[str, Any] = yaml.safe_load((DEPLOY / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    command = shlex.split(job["spec"]["entrypoint"])
    assert command[:3] == ["msnet", "extract", "/data/videos"] and "--ray-address" in command
    for pod in pods:
        (container,) = pod["template"]["spec"]["containers"]
        named = {volume["name"] for volume in pod["template"]["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == named
        assert "/data" in {mount["mountPath"] for mount in container["volumeMounts"]}
    worker = pods[1]["template"]["spec"]
    assert "/dev/shm" in {mount["mountPath"] for mount in worker["containers"][0]["volumeMounts"]}
    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_citation_has_the_version_of_the_project() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])


def test_the_docs_name_the_files_that_there_are() -> None:
    named = set(re.findall(r"deploy/([\w.-]+)", (ROOT / "docs" / "anywhere.md").read_text()))
    assert named == {path.name for path in DEPLOY.iterdir()}
