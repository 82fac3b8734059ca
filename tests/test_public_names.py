"""The faces that users import: what they name exists; every module says what it is."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from msnet_features import PACKAGES

ROOT = Path(__file__).parents[1]
FACES = ("extractor", "extractor.store", "extractor.video", "gebd", "jobs", "schemas", "msnet_features")


@pytest.mark.parametrize("name", FACES)
def test_every_name_of_a_face_exists(name: str) -> None:
    module = importlib.import_module(name)
    listed = module.__all__
    assert len(set(listed)) == len(listed) > 0
    assert [public for public in listed if not hasattr(module, public)] == []


def test_every_module_says_what_it_is() -> None:
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert [str(path) for path in modules if not ast.get_docstring(ast.parse(path.read_text()))] == []
