"""The floors: who may import what, by the source of every module and by what a fresh process really loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from msnet_features import PACKAGES

ROOT = Path(__file__).parents[1]
FLOORS = {
    "schemas": ("schemas",),
    "extractor": ("extractor", "schemas"),
    "training": ("training", "extractor", "schemas"),
    "gebd": ("gebd", "extractor.store", "schemas"),
    "jobs": ("jobs", "gebd", "training", "extractor", "schemas"),
    "msnet_features": ("jobs",),
}
HOMES = {
    "av": "extractor.video",
    "decord": "extractor.video",
    "h5py": "extractor.store",
    "hdf5plugin": "extractor.store",
    "ray": "jobs",
    "typer": "jobs",
}
MOST_IN_A_FOLDER = 12
FOR_TORCH = ["extractor.store.samples.dataset", "extractor.store.samples.collating"]
NOT_IN_SCHEMAS = {"torch", "ray", "av", "decord", "h5py", "hdf5plugin", "typer", "tqdm", "safetensors"}


@cache
def sources() -> dict[str, Path]:
    """Every module of the product by its name."""
    found = {"msnet_features": ROOT / "msnet_features.py"}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(sources()[module].read_text())


def imported(node: ast.AST) -> Iterator[str]:
    """Names of modules that the import statements at or below a node load."""
    for found in ast.walk(node):
        if isinstance(found, ast.Import):
            yield from (alias.name for alias in found.names)
        elif isinstance(found, ast.ImportFrom):
            assert found.level == 0, "absolute imports only"
            for alias in found.names:
                name = f"{found.module}.{alias.name}"
                yield name if name in sources() else str(found.module)


def imported_on_loading(module: str) -> set[str]:
    """Of our modules, those that loading this one loads: no function bodies, nothing for type checkers only."""
    names: set[str] = set()
    for statement in tree(module).body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            continue
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.update(imported(statement))
    return {name for name in names if name in sources()} - {module}


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def test_sources_are_found() -> None:
    assert {name.partition(".")[0] for name in sources()} == {*PACKAGES, "msnet_features"}
    assert len(sources()) > 60


@pytest.mark.parametrize("floor", FLOORS)
def test_floor_imports_only_what_lies_below(floor: str) -> None:
    wrong = [
        f"{module} imports {name}"
        for module in sources()
        if within(module, floor)
        for name in imported(tree(module))
        if name.partition(".")[0] in {*PACKAGES, "msnet_features"}
        and not any(within(name, allowed) for allowed in FLOORS[floor])
    ]
    assert not wrong


@pytest.mark.parametrize("library", HOMES)
def test_library_is_imported_in_its_home_only(library: str) -> None:
    users = {module for module in sources() for name in imported(tree(module)) if within(name, library)}
    assert {module for module in users if not within(module, HOMES[library])} == set()
    assert users, "nobody imports it: is the home still the right one?"


def test_schemas_import_no_heavy_library() -> None:
    names = {
        name.partition(".")[0] for module in sources() if within(module, "schemas") for name in imported(tree(module))
    }
    assert not names & NOT_IN_SCHEMAS


def test_modules_import_one_another_without_a_circle() -> None:
    try:
        list(TopologicalSorter({module: imported_on_loading(module) for module in sources()}).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


STAGES = ("faces", "schemas", "extractor.store", "checkpoint", "gebd", "training", "extractor")
_LOADING = f"""
import importlib, json, pkgutil, sys
def modules_of(name):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if module.name not in {FOR_TORCH!r}:
            importlib.import_module(module.name)
for stage in {STAGES!r}:
    if stage == "faces":
        import extractor, gebd
    elif stage == "checkpoint":
        extractor.load_model("msnet_resnet18")
    else:
        modules_of(stage)
    print(json.dumps([stage, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What one process has loaded after each stage, which may load no less than the one before.

    A package's stage imports all of its modules but those that are for torch: datasets of a store.
    """
    done = subprocess.run([sys.executable, "-c", _LOADING], capture_output=True, text=True, check=True, cwd=ROOT)
    return {stage: set(names) for stage, names in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize(
    ("stage", "foreign"),
    [
        ("faces", {"torch", "ray"}),
        ("schemas", NOT_IN_SCHEMAS),
        ("extractor.store", {"torch", "ray", "av", "decord", "typer"}),
        ("checkpoint", {"torch._dynamo"}),  # the compiler, which takes seconds in every process that has a network
        ("gebd", {"ray", "av", "decord", "typer"}),
        ("training", {"ray", "typer"}),
        ("extractor", {"ray", "typer"}),
    ],
)
def test_loading_a_package_loads_no_library_of_another_floor(
    stage: str, foreign: set[str], loaded: dict[str, set[str]]
) -> None:
    assert not loaded[stage] & foreign
    assert tuple(loaded) == STAGES


def test_a_kind_of_gpu_is_named_in_device_selection_only() -> None:
    found = set()
    for module in sources():
        documentation = {id(node.value) for node in ast.walk(tree(module)) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree(module)):
            text = node.value if isinstance(node, ast.Constant) and id(node) not in documentation else None
            if (isinstance(text, str) and "cuda" in text.lower()) or (
                isinstance(node, ast.Attribute) and node.attr == "cuda"
            ):
                found.add(module)
    assert found == {"jobs.cluster.devices", "extractor.pipeline.devices"}


def test_nothing_is_printed_outside_the_command_line() -> None:
    printing = {
        module
        for module in sources()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert {module for module in printing if not within(module, "jobs.cli")} <= {"msnet_features"}


def test_module_path_is_left_alone() -> None:
    wrong = [
        module
        for module in sources()
        for node in ast.walk(tree(module))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.path", "sys.meta_path", "sys.path_hooks"))
        or (isinstance(node, ast.ImportFrom) and node.module == "sys" and any(a.name == "path" for a in node.names))
    ]
    assert not wrong


def test_no_except_is_bare() -> None:
    wrong = [
        f"{module}:{node.lineno}"
        for module in sources()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert not wrong


def test_nothing_is_left_to_do_in_the_source() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    wrong = [module for module, path in sources().items() if any(mark in path.read_text() for mark in marks)]
    assert not wrong


def test_no_folder_has_more_than_twelve_modules() -> None:
    folders = {path.parent for tree in (*PACKAGES, "tests", "benchmarks") for path in (ROOT / tree).rglob("*.py")}
    crowded = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert {folder: count for folder, count in crowded.items() if count > MOST_IN_A_FOLDER} == {}


@pytest.mark.parametrize("house", [*PACKAGES, "extractor.models", "extractor.store", "jobs.cli"])
def test_rooms_beside_one_another_have_no_circle(house: str) -> None:
    """Modules of a package may use its rooms and the other way round; a room must not need one that needs it."""

    def room_of(module: str) -> str | None:
        below = module.removeprefix(house + ".")
        return f"{house}.{below.partition('.')[0]}" if within(module, house) and "." in below else None

    needs: dict[str, set[str]] = {}
    for module in sources():
        if (room := room_of(module)) is not None:
            needed = {room_of(name) for name in imported(tree(module))} - {room, None}
            needs.setdefault(room, set()).update(name for name in needed if name)
    try:
        list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
