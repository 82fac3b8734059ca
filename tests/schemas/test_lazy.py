from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package whose module `second` must not be imported."""
    name = "made_for_lazy_names"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(
        "from schemas.lazy import import_on_use\n"
        "__getattr__, __dir__ = import_on_use(__name__, {'first': ('one', 'uno'), 'second': ('two',)})\n"
        "here = 0\n"
    )
    (tmp_path / name / "first.py").write_text("one = uno = 1\n")
    (tmp_path / name / "second.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for loaded in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[loaded]


def test_names_are_imported_when_they_are_used(package: str) -> None:
    module = __import__(package)
    assert f"{package}.first" not in sys.modules
    assert (module.one, module.uno, module.here) == (1, 1, 0)
    assert f"{package}.first" in sys.modules and f"{package}.second" not in sys.modules
    with pytest.raises(RuntimeError, match="imported"):
        _ = module.two


def test_names_are_listed_before_they_are_imported(package: str) -> None:
    assert {"one", "two", "uno", "here", "__doc__"} <= set(dir(__import__(package)))


def test_name_that_is_not_there_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'three'"):
        _ = __import__(package).three
