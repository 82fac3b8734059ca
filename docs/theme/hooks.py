"""Makes the site of files that are written for a code host: pages from elsewhere, the notebook, links and lists.

MkDocs calls the functions `on_*`. The files stay as they are: this changes what code hosts and MkDocs see differently.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "extractor/models/weights/msnet_resnet18.md": "model_card.md",
    "docs/tutorial.ipynb": "tutorial.md",
}
"""Pages that are not markdown in docs/, by their files."""

_CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)\s:#]+)((?:#[^)\s]*)?\))")  # relative ones: no address, no place in the same page
_ITEM = re.compile(r"(?:[*-]|1\.) ")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Headings get the anchors that code hosts give them."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from elsewhere."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        content = notebook_markdown(text, Path(source).name) if source.endswith(".ipynb") else text
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at pages, and set lists apart, outside of code."""
    sources = {place: source for source, place in PAGES.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    parts = _CODE.split(set_apart(markdown))
    return "".join(part if number % 2 else relink(part, source) for number, part in enumerate(parts))


def relink(markdown: str, source: str) -> str:
    """The relative links of a file, from the page that it becomes. Raises PluginError for one that leads to no page."""

    def place(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[2]))
        if target not in PAGES and not target.startswith("docs/"):
            raise PluginError(f"expected links to pages; got {found[2]} in {source}. Add it to PAGES.")
        # A notebook does not link to itself but for its file.
        inside = target.removeprefix("docs/") if target == source else PAGES.get(target, target.removeprefix("docs/"))
        return f"{found[1]}{inside}{found[3]}"

    return _LINK.sub(place, markdown)


def set_apart(markdown: str) -> str:
    """An empty line before each list that follows a line of text: code hosts need none, Python-Markdown does."""
    lines: list[str] = []
    fenced = False
    for line in markdown.split("\n"):
        before = lines[-1] if lines else ""
        if not fenced and _ITEM.match(line) and before and not before.startswith(" ") and not _ITEM.match(before):
            lines.append("")
        fenced ^= line.startswith("```")
        lines.append(line)
    return "\n".join(lines)


def notebook_markdown(text: str, name: str) -> str:
    """The cells of a notebook one after the other, and a link to its file below the title."""
    cells: list[dict[str, Any]] = json.loads(text)["cells"]
    parts = []
    for cell in cells:
        content = "".join(cell["source"])
        parts.append(content if cell["cell_type"] == "markdown" else f"```python\n{content}\n```")
    title, _, rest = parts[0].partition("\n")
    parts[0] = f"{title}\n\n[{name}]({name}) is this page as a notebook.\n{rest}"
    return "\n\n".join(parts) + "\n"
