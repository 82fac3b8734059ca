"""What the site changes in the files: links, lists, the notebook."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType

import pytest

from tests.docs.documents import DOCUMENTS, ROOT

pytest.importorskip("mkdocs", reason="needs MkDocs (extra docs)")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks_of_the_site", ROOT / "docs" / "theme" / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("source", "link", "expected"),
    [
        ("README.md", "docs/format.md#shards", "format.md#shards"),
        ("README.md", "docs/page.png", "page.png"),
        ("README.md", "CONTRIBUTING.md", "contributing.md"),
        ("README.md", "docs/tutorial.ipynb", "tutorial.md"),
        ("docs/networks.md", "../extractor/models/weights/msnet_resnet18.md", "model_card.md"),
        ("docs/gebd.md", "format.md#shards", "format.md#shards"),
        ("docs/tutorial.ipynb", "tutorial.ipynb", "tutorial.ipynb"),
        ("docs/gebd.md", "#variants", "#variants"),
        ("docs/gebd.md", "https://example.org/a.md", "https://example.org/a.md"),
    ],
)
def test_links_point_at_pages(hooks: ModuleType, source: str, link: str, expected: str) -> None:
    assert hooks.relink(f"[a]({link}), b", source) == f"[a]({expected}), b"


def test_link_to_no_page_is_refused(hooks: ModuleType) -> None:
    with pytest.raises(hooks.PluginError, match=r"expected links to pages; got LICENSE in README\.md\."):
        hooks.relink("[licence](LICENSE)", "README.md")


def test_lists_are_set_apart_outside_of_code(hooks: ModuleType) -> None:
    text = "First:\n* one\n  more\n* two\n\n```\na\n* b\n```\nThen:\n1. x\n130. no list"
    assert hooks.set_apart(text) == ("First:\n\n* one\n  more\n* two\n\n```\na\n* b\n```\nThen:\n\n1. x\n130. no list")


def test_notebook_becomes_a_page_with_its_file(hooks: ModuleType) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "Text."]},
        {"cell_type": "code", "source": ["a = 1\n", "a"], "outputs": [], "execution_count": None},
    ]
    assert hooks.notebook_markdown(json.dumps({"cells": cells}), "n.ipynb") == (
        "# Title\n\n[n.ipynb](n.ipynb) is this page as a notebook.\n\nText.\n\n```python\na = 1\na\n```\n"
    )


def test_pages_from_elsewhere_are_checked_documents(hooks: ModuleType) -> None:
    assert {ROOT / source for source in hooks.PAGES} <= set(DOCUMENTS)
