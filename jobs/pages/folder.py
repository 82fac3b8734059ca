"""The folder of a page: written beside an older one, which it replaces at once in the end.

index.html names the folder of its data. It is written last, so a stop at any moment leaves the older page or the new
one, and what no index.html names is removed by the next call.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extractor.store.disk.atomic import entries, fsync_folder, is_temporary, storage_errors, write_bytes
from extractor.store.disk.probe import refuse_other_folder
from schemas.errors import StorageError, UsageError
from schemas.layout import require_no_address

INDEX = "index.html"
GENERATOR = '<meta name="generator" content="msnet-features page">'
"""Stands at the start of every index.html of ours, by which we know it."""

_MARK = "made-by-msnet-features"
_DATA = re.compile(r"data-[0-9a-f]{12}")
_HEAD_BYTES = 1024


def check_page_folder(root: Path, store: Path) -> None:
    """Raise a UsageError if a page cannot be written to the folder `root`, before anything is computed."""
    require_no_address(root, "a folder", "Give a local folder, and copy the page")
    if root.absolute().resolve().is_relative_to(store.absolute().resolve()):
        raise UsageError(f"expected a folder outside the store {store}; got {root}. Give another --html")
    if root.exists() and not root.is_dir():
        raise UsageError(f"expected a folder for --html; {root} is a file. Give another name")
    index = root / INDEX
    with storage_errors(root):
        own = _is_own_index(index) if index.exists() else True
        foreign = [path for path in entries(root) if _DATA.fullmatch(path.name) and not _is_own_data(path)]
    if not own or foreign:
        name = foreign[0].name if foreign else INDEX
        raise StorageError(f"expected an empty folder or a page; {root} holds another {name}. Give another --html")
    try:
        refuse_other_folder(root, lambda name: name == INDEX or _DATA.fullmatch(name) is not None, "a page")
    except StorageError as error:
        raise StorageError(str(error).replace("--out", "--html")) from error


@contextmanager
def writing_page(root: Path) -> Iterator[PageFolder]:
    """Yield a new folder for data; leaving the block without a call of `finish` removes it."""
    folder = PageFolder(root)
    with storage_errors(root):
        try:
            yield folder
        finally:
            if not folder.finished:
                shutil.rmtree(folder.data, ignore_errors=True)


class PageFolder:
    """A page that is being written: `data` is its folder of data, and `finish` makes it the page."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.finished = False
        self.bytes = 0
        self.data = root / f"data-{secrets.token_hex(6)}"
        with storage_errors(root):
            self.data.mkdir(parents=True)
            (self.data / _MARK).touch()

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the data. It need not be durable before the index is written."""
        (self.data / name).write_bytes(content)
        self.bytes += len(content)

    def finish(self, index: str) -> Path:
        """Write index.html, which begins with GENERATOR behind its doctype, and remove the data of older pages."""
        fsync_folder(self.data)
        path = self.root / INDEX
        write_bytes(path, index.encode())
        self.finished = True
        self.bytes += len(index)
        for other in entries(self.root):
            if other != self.data and (is_temporary(other) or (_DATA.fullmatch(other.name) and _is_own_data(other))):
                shutil.rmtree(other, ignore_errors=True) if other.is_dir() else other.unlink(missing_ok=True)
        return path


def _is_own_index(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(_HEAD_BYTES)


def _is_own_data(path: Path) -> bool:
    return not path.is_symlink() and (path / _MARK).is_file()
