"""What the parts of this package pass to one another."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.records import FileJob, Item


@dataclass(frozen=True, slots=True)
class Example:
    """A video, or a segment of one, that clips are taken from.

    path: of the file, absolute. start_seconds and end_seconds: on the container's clock; None for the file's own start
    or end. fps: of a folder of numbered images. label: number of its class; None without one.
    """

    video_id: str
    path: str
    start_seconds: float | None = None
    end_seconds: float | None = None
    fps: float | None = None
    label: int | None = None

    @property
    def item(self) -> Item:
        """What extraction would take from the file."""
        return Item(self.video_id, self.start_seconds, self.end_seconds)

    @property
    def job(self) -> FileJob:
        """The file with this item alone."""
        return FileJob(self.path, (self.item,), fps=self.fps)
