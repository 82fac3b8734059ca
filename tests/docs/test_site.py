"""`make site`: it builds strictly, its links lead somewhere, and it requests nothing from other hosts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.documents import ROOT
from tests.jobs.pages.browser import BROWSER, DRIVER, MISSING, browser

pytest.importorskip("material", reason="needs MkDocs Material (extra docs)")
pytest.importorskip("pdoc", reason="needs pdoc (extra docs)")
pytestmark = pytest.mark.slow

PARTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "mkdocs.yml", "docs", "extractor/models/weights")
LOADED = {"img": "src", "script": "src", "source": "src", "iframe": "src", "video": "src"}
ICONS_AND_STYLES = ("stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload")


class Page(HTMLParser):
    """Anchors of a page, where its links lead, and what a browser loads for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors, self.links, self.loads = set[str](), list[str](), list[str]()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors.update(found[name] for name in ("id", "name") if name in found)
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and set(found.get("rel", "").split()) & set(ICONS_AND_STYLES):
            self.loads.append(found["href"])
        if found.get(LOADED.get(tag, "")):
            self.loads.append(found[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the commands of `make site` make, in a copy of what they read."""
    place = tmp_path_factory.mktemp("site")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, place / part, ignore=shutil.ignore_patterns("api", "*.safetensors", "__pycache__"))
        else:
            shutil.copy(source, place / part)
    told = ["make", "-n", "-C", ROOT, "-o", ".venv/.installed", "site", f"BIN={Path(sys.executable).parent}"]
    listed = subprocess.run(told, capture_output=True, text=True, check=True).stdout
    commands = [line for line in listed.splitlines() if not line.startswith("make")]
    assert len(commands) == 2
    for command in commands:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, shell=True, cwd=place, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return place / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_site_has_every_page(site: Path, pages: dict[Path, Page]) -> None:
    names = {path.relative_to(site).as_posix() for path in pages}
    expected = {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    assert expected | {"index.html", "tutorial.html", "api/index.html", "api/extractor/store.html"} <= names
    assert (site / "tutorial.ipynb").is_file() and not list(site.rglob("*.py*"))


def test_links_lead_to_pages_and_anchors(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":  # the only one whose links begin at the server's root
            continue
        for link in page.links + page.loads:
            if re.match(r"[a-z]+:", link) or link.startswith("//"):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / unquote(name.partition("?")[0])).resolve() if name else path
            # pdoc links inherited members to anchors that it does not make
            known = target not in pages or "api" in target.parts or unquote(anchor) in pages[target].anchors
            if not target.is_file() or (anchor and not known):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_lists_and_tables_are_rendered(site: Path) -> None:
    """Python-Markdown takes a list without an empty line before it for text."""
    text = "".join(path.read_text() for path in site.glob("*.html"))
    shown = re.sub(r"<pre.*?</pre>|<code.*?</code>", "", text, flags=re.DOTALL)
    assert re.findall(r"(?m)^(?:\* |\|---|```).*", shown) == []


def test_nothing_is_loaded_from_other_hosts(site: Path, pages: dict[Path, Page]) -> None:
    assert [load for page in pages.values() for load in page.loads if re.match(r"(https?:)?//", load)] == []
    styles = [path.read_text() for path in site.rglob("*.css")]
    styles += re.findall(r"<style.*?</style>", "".join(path.read_text() for path in pages), re.DOTALL)
    loaded = [url for text in styles for url in re.findall(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)", text)]
    assert [url for pair in loaded for url in pair if re.match(r"(https?:)?//", url)] == []


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.skipif(not (BROWSER and DRIVER), reason=MISSING)
def test_a_browser_reads_and_searches_it_without_other_hosts(address: str, site: Path, tmp_path: Path) -> None:
    with browser(tmp_path) as window:
        window.open("about:blank")
        window.requests()
        for page in ("index", "format", "tutorial"):
            for width in (360, 1200):
                window.resize(width, 900)
                window.open(f"{address}/{page}.html")
                assert window.run("return document.documentElement.scrollWidth") <= width, f"{page} at {width} px"
        window.run("document.querySelector('[data-md-toggle=search]').click()")
        window.run("document.querySelector('.md-search__input').focus()")
        window.keys(*"displacement")
        window.wait("document.querySelectorAll('.md-search-result__item').length > 2")
        assert window.errors() == []
        window.open((site / "index.html").as_uri())
        window.wait("document.readyState === 'complete'")
        assert [url for url in window.requests() if not url.startswith((address, "file:", "data:", "blob:"))] == []
