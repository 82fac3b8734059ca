"""How a store is continued is said by its run: imported ones cannot be resumed."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.extractor.store.making import make_run

ROOT = Path(__file__).parents[4]
OF_EXTRACTED_STORES = {
    "extractor/store/commits/run.py",
    "extractor/store/planning.py",
    "extractor/store/samples/labels.py",
}


@pytest.mark.parametrize(("options", "more"), [("", []), ("--rescan", ["--rescan"])])
def test_continuing_is_a_command_to_be_pasted(options: str, more: list[str]) -> None:
    run = make_run()
    assert shlex.split(run.continuing(Path("my store"), options)) == ["msnet", "resume", "my store", *more]
    imported = replace(run, dataset_root="my i3d", config=run.config.model_copy(update={"model": "imported:i3d"}))
    command = imported.continuing(Path("my store"), options)
    assert shlex.split(command) == ["msnet", "import", "my i3d", "--out", "my store"]


def messages(path: Path) -> Iterator[str]:
    """The texts of a module that are no docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str) and not isinstance(node, ast.Expr):
                yield child.value


def test_no_message_tells_to_resume_what_may_be_an_imported_store() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for room in ("extractor", "gebd", "jobs", "schemas", "training")
        for path in (ROOT / room).rglob("*.py")
        if any("msnet resume" in text for text in messages(path))
    }
    assert found == OF_EXTRACTED_STORES
