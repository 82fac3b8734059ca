"""Pages of small stores, read back from their scripts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from jobs.pages.page import PageReport, write_page
from schemas.layout import StorePaths
from tests.extractor.store.making import make_store
from tests.videos import write_video

NASTY = (
    "<img src=x onerror=alert(1)>.mp4",
    "a\"b'c.mp4",
    "right\u202eto left.mp4",
    "two\nlines.mp4",
    "</script><script>alert(2)</script>.mp4",
)


def page_of(store: StorePaths, out: Path, **options: Any) -> PageReport:
    return write_page(store.root, out, **{"videos": str(store.root.parent / "videos"), **options})


def data_folder(page: PageReport) -> Path:
    (folder,) = page.index.parent.glob("data-*")
    return folder


def read_script(page: PageReport, name: str) -> Any:
    """What a script of the page hands over as its last argument."""
    text = (data_folder(page) / f"{name}.js").read_text("ascii")
    found = re.fullmatch(r"msnet\.(store|curves|pictures)\((?:\d+,)?(.*)\);\n", text)
    assert found is not None
    return json.loads(found[2])


def store_with_videos(folder: Path, names: tuple[str, ...] = ("a.mp4", "b.mp4"), **options: Any) -> StorePaths:
    """A store of synthetic numbers, and videos of its names beside it."""
    (folder / "videos").mkdir()
    for number, name in enumerate(names):
        if "/" not in name and "bad" not in name:
            write_video(folder / "videos" / name, frames=30, fps=25, size=(48, 64), seed=number)
    return make_store(folder / "store", [names], **options)
