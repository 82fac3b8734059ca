"""`make docs`: the API reference has every name that users import, each with its docstring."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

pdoc = pytest.importorskip("pdoc")

ROOT = Path(__file__).parents[1]
FACES = re.findall(r"^FACES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()


@pytest.mark.parametrize("face", FACES)
def test_every_name_of_a_face_is_in_the_reference(face: str) -> None:
    module = importlib.import_module(face)
    page = pdoc.render.html_module(pdoc.doc.Module(module), {})
    sections = set(re.findall(r'<section id="(\w+)">', page))
    assert module.__all__ and set(module.__all__) <= sections
    told = [name for name in module.__all__ if callable(getattr(module, name))]
    assert [name for name in told if not inspect.getdoc(getattr(module, name))] == []
