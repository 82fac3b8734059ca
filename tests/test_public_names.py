"""`__all__` of every module is true: what it lists exists, what is public is listed."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from msnet_features import PACKAGES

ROOT = Path(__file__).parents[1]


def module_names() -> list[str]:
    names = ["msnet_features"]
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def defined_in(path: Path) -> set[str]:
    """Public functions and classes that a module defines itself."""
    body = ast.parse(path.read_text()).body
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")}


@pytest.mark.parametrize("name", module_names())
def test_all_lists_what_is_public(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None and module.__doc__
    path = Path(module.__file__)
    if path.name == "__init__.py" and len(ast.parse(path.read_text()).body) == 1:
        return  # a package that is a docstring
    listed = module.__all__
    assert len(set(listed)) == len(listed)
    assert [public for public in listed if not hasattr(module, public)] == []
    assert defined_in(path) - set(listed) == set()
