"""Progress of an evaluation, part by part."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Self

from jobs.cli.display import notice, progress


class PartProgress:
    """On standard error: a progress bar for each part on a terminal, elsewhere a line when a part begins."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._part = ""
        self._bar = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def report(self, part: str, done: int, total: int) -> None:
        """Show that `done` of `total` of a part are done."""
        if part != self._part:
            self._bar.close()
            self._part, self._show = part, self._bar.enter_context(progress(part, "done"))
            if not sys.stderr.isatty():
                notice(f"{self._doing}: {part}")
        self._show(done, total)
