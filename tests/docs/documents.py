"""The documents of the repository: their text, links, headings and anchors, as a code host shows them."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "weights/README.md")),
    *sorted((ROOT / "extractor" / "models" / "weights").glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    NOTEBOOK,
)
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def text_of(document: Path) -> str:
    """The markdown of a document; of a notebook, that of its cells of text."""
    if document.suffix != ".ipynb":
        return document.read_text(encoding="utf-8")
    cells = json.loads(document.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def links_of(markdown: str) -> list[str]:
    """Targets of links and pictures outside of code."""
    return re.findall(r"\]\(([^)\s]+)\)", _CODE.sub("", markdown))


def anchors_of(markdown: str) -> set[str]:
    """Anchors of the headings: lower case, without punctuation, hyphens for spaces, numbered where repeated."""
    anchors: Counter[str] = Counter()
    found = set()
    without_code = re.sub(r"^```.*?^```$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.+)$", without_code, re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        found.add(f"{anchor}-{anchors[anchor]}" if anchors[anchor] else anchor)
        anchors[anchor] += 1
    return found
