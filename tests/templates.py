"""What many tests begin with is made once in a process, and copied for each."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path

_made: dict[object, Path] = {}
_numbers = count()


def copy_of(key: object, make: Callable[[Path], object], root: Path) -> None:
    """Fill the folder `root` as `make(root)` does, which runs for the first `root` of a key only."""
    if key not in _made:
        place = _folder() / str(next(_numbers))  # not how many there are: `make` may ask for others
        make(place)
        _made[key] = place
    shutil.copytree(_made[key], root, dirs_exist_ok=True)


@cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="msnet-tests-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return Path(folder.name)
