"""Where a run reports its progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.run.outcome import Outcome


class Watcher:
    """Receives the progress of a run, and ignores it. The command line overrides it to draw a progress bar."""

    def say(self, message: str) -> None:
        """A line for the user."""

    def probing(self, done: int, total: int) -> None:
        """`done` of the dataset's `total` files were probed."""

    def planning(self, done: int, total: int) -> None:
        """`done` of `total` videos have a shard; before the extraction, or while it goes on."""

    def begin(self, outcome: Outcome) -> None:
        """Extraction starts; the outcome counts what was done before."""

    def update(self, outcome: Outcome) -> None:
        """The outcome has changed."""

    def end(self) -> None:
        """Extraction ended, in success or failure."""
