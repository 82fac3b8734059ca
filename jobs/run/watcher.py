"""Where a run tells what happens to it."""

from __future__ import annotations

from jobs.run.outcome import Outcome

__all__ = ["Watcher"]


class Watcher:
    """Is told what happens; the command line draws a progress bar from it. Does nothing by itself."""

    def say(self, message: str) -> None:
        """A line for the user."""

    def probing(self, done: int, total: int) -> None:
        """So many of the dataset's files were looked at."""

    def begin(self, outcome: Outcome) -> None:
        """Extraction begins; the outcome knows what was done before."""

    def update(self, outcome: Outcome) -> None:
        """Something happened."""

    def end(self) -> None:
        """Extraction ended, well or badly."""
