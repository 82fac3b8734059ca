"""Links between documents lead to files and headings that there are; README stays short and names every page."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, anchors_of, links_of, text_of

README = text_of(ROOT / "README.md")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(document: Path) -> None:
    text = text_of(document)
    for link in links_of(text):
        if re.match(r"https?://|mailto:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.is_relative_to(ROOT) and target.exists(), f"no file: {link}"
        assert not anchor or anchor in anchors_of(text_of(target)), f"no heading: {link}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_named_in_text_exist(document: Path) -> None:
    """`docs/format.md` in running text, also in CHANGELOG: it is read beside the files."""
    named = re.findall(r"(?<![\w/])docs/[\w/]+\.(?:md|ipynb|png)", text_of(document))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_targets_of_make_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(text_of(document) for document in DOCUMENTS if document.name != "CHANGELOG.md")
    named = set(re.findall(r"(?:^|`)make ([a-z][\w-]*)", text, re.MULTILINE))
    assert {"demo", "test", "site"} <= named <= targets


def test_every_extra_is_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = re.findall(r"^\| `(\w+)` \|", text_of(ROOT / "docs" / "install.md"), re.MULTILINE)
    assert set(rows) == set(project["optional-dependencies"])


def test_readme_is_read_in_three_minutes() -> None:
    assert len(README.splitlines()) <= 140


def test_readme_leads_to_every_page() -> None:
    pages = {path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".ipynb")}
    assert {Path(link.partition("#")[0]).name for link in links_of(README) if link.startswith("docs/")} >= pages


def test_comparison_is_dated_and_whole() -> None:
    assert re.search(r"As read on \d{4}-\d{2}-\d{2}", README)
    (table,) = (block for block in re.findall(r"(?:^\|.*\n)+", README, re.MULTILINE) if "video_features" in block)
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
    assert len({len(row) for row in rows}) == 1
    assert [row[0] for row in rows[2:] if not all(row)] == []
