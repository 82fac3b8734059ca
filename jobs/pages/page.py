"""A store as a static page: files that a browser opens from a disk, without a network."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from extractor.store import FeatureStore
from extractor.video.objects.addresses import place
from jobs.pages.folder import GENERATOR, PageFolder, check_page_folder, writing_page
from jobs.pages.marks import BoundaryMarks
from jobs.pages.overview import Overview, folder_of, inventory_of
from jobs.pages.pictures import PictureMaker, legends, require_pictures, without_old_copies
from jobs.pages.scripts import numbers, script
from jobs.pages.tracks import Curve, TrackReader, VideoTracks
from schemas.errors import UsageError
from schemas.wording import counted

PICTURES = 50
"""Videos with pictures, unless another number is given."""

_BLOCK = 50  # videos whose curves are in one file, which is loaded when one of them is opened
_SCRIPTS = ("common.js", "overview.js", "table.js", "player.js", "video.js")
_MAIN, _STYLE, _PLOTS = "main.js", "page.css", "plotly.min.js"


@dataclass(frozen=True)
class PageReport:
    """A page that was written: its index.html, videos on it, those with frames, those without, and bytes in all."""

    index: Path
    videos: int
    pictured: int
    without_frames: int
    bytes: int


def write_page(
    store: Path,
    out: Path,
    *,
    videos: str | None = None,
    pictures: int = PICTURES,
    boundaries: Path | None = None,
    annotations: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PageReport:
    """Write a page on a store to the folder `out`, in place of an earlier page there; memory is bounded.

    videos: where the dataset is now, if it was moved. pictures: of how many videos, spread evenly over the store,
    frames and maps are shown; curves are drawn of all. boundaries: predictions, and annotations: raters' marks, by ids
    of videos. `progress(done, total)` is called after every video.

    Raises UsageError where matplotlib or plotly is missing or a file of marks cannot be read, StorageError where `out`
    holds anything else, and StoreError for a damaged store.
    """
    plots = _plotly()
    require_pictures()
    check_page_folder(out, store)
    features = FeatureStore(store, max_open_files=2)  # videos are read in the order of their shards
    tracks = TrackReader(features)
    marks = BoundaryMarks(tracks.videos, boundaries, annotations)
    root = place(videos if videos is not None else str(features.run.dataset_root))
    maker = PictureMaker(
        tracks, without_old_copies(inventory_of(features)), folder_of(root) if isinstance(root, Path) else root
    )
    pictures = 0 if features.config.is_imported else pictures  # its dataset is files of numbers
    with writing_page(out) as folder:
        page = _Page(features, tracks, marks, maker, folder, _pictured(len(features.video_ids), pictures))
        for number in range(len(features.video_ids)):
            page.add(number)
            if progress is not None:
                progress(number + 1, len(features.video_ids))
        index = page.finish(plots)
    features.close()
    return PageReport(index, page.videos, len(page.with_pictures), page.without_frames, folder.bytes)


class _Page:
    """A page in the making: videos are added one by one."""

    def __init__(
        self,
        store: FeatureStore,
        tracks: TrackReader,
        marks: BoundaryMarks,
        maker: PictureMaker,
        folder: PageFolder,
        pictured: frozenset[int],
    ) -> None:
        self._store, self._tracks, self._marks, self._maker, self._folder = store, tracks, marks, maker, folder
        self.with_pictures = sorted(pictured)
        self._pictured = pictured
        self.without_frames = 0
        self.videos = 0
        self._block: list[dict[str, Any]] = []
        names = ["motion", "confidence"] if tracks.has_motion else []
        names += ["change"] if tracks.has_features else []
        names += ["boundaries"] if marks.has_boundaries else []
        self._values = {name: np.full(len(store.video_ids), np.nan) for name in names}

    def add(self, number: int) -> None:
        """Write a video's curves and, of those that are pictured, its pictures."""
        video_id = self._store.video_ids[number]
        found = self._tracks.read(number)
        for name in self._values.keys() & {"motion", "confidence", "change"}:
            self._values[name][number] = getattr(found, name).mean
        if (count := self._marks.count(video_id)) is not None:
            self._values["boundaries"][number] = count
        self._block.append(self._curves(number, video_id, found))
        if number in self._pictured:
            content = self._maker.pictures(number, video_id, found)
            self.without_frames += content["frames"] is None
            self._folder.write(f"pictures-{number}.js", script("pictures", number, content))
        if (number + 1) % _BLOCK == 0 or number + 1 == len(self._store.video_ids):
            self._folder.write(f"curves-{number // _BLOCK}.js", script("curves", number // _BLOCK, self._block))
            self._block = []

    def finish(self, plots: bytes) -> Path:
        """Write all else, the index last; returns its path."""
        overview = Overview(self._store)
        seconds = self._tracks.videos.duration_seconds
        content = overview.content(self._values, seconds)
        self.videos = len(content["columns"]["id"])
        done = len(self._store.video_ids)
        notes = list(self._marks.notes)
        if self._store.config.is_imported:
            notes.append("These features were imported, so there are no frames to show.")
        elif len(self.with_pictures) < done:
            some = f"Frames and maps are shown of {len(self.with_pictures)} of {counted(done, 'video')}"
            notes.append(f"{some}, spread evenly; msnet report --html --pictures N shows those of N.")
        if self.without_frames:
            notes.append(
                f"{counted(self.without_frames, 'video')} could not be decoded again, and "
                f"{'has' if self.without_frames == 1 else 'have'} no frames here: opening one says why."
            )
        if not self._tracks.has_motion:
            notes.append("This store holds no displacement, so there is no motion energy and no confidence.")
        if self._store.run.shape.members > 1:
            notes.append("Motion, confidence and change are those of the ensemble's first network.")
        content |= {"block": _BLOCK, "pictured": self.with_pictures, "notes": notes, "legends": legends()}
        self._folder.write("store.js", script("store", content))
        self._folder.write(_PLOTS, plots)
        assets = files("jobs.pages") / "assets"
        self._folder.write(_MAIN, b"".join((assets / name).read_bytes() for name in _SCRIPTS))
        self._folder.write(_STYLE, (assets / _STYLE).read_bytes())
        return self._folder.finish(
            _index((assets / "index.html").read_text(), self._folder.data.name, content["store"])
        )

    def _curves(self, number: int, video_id: str, found: VideoTracks) -> dict[str, Any]:
        start = float(self._tracks.videos.start_seconds[number])
        return {
            "seconds": round(float(self._tracks.videos.duration_seconds[number]), 3),
            "start": round(start, 3),
            "motion": _points(found.motion),
            "change": _points(found.change),
            "marks": [{"name": name, "times": numbers(times, 3)} for name, times in self._marks.of(video_id)],
        }


def _points(curve: Curve) -> list[list[float | None]]:
    short = curve.shortened()
    return [numbers(short.time_seconds, 3), numbers(short.values, 4)]


def _index(template: str, data: str, store: str) -> str:
    found = template.replace("<!--GENERATOR-->", GENERATOR).replace("DATA", data)
    return found.replace("STORE", html.escape(store))


def _pictured(count: int, wanted: int) -> frozenset[int]:
    """At most so many of the numbers below `count`, evenly spaced."""
    wanted = max(0, min(wanted, count))
    return frozenset(np.floor((np.arange(wanted) + 0.5) * count / max(wanted, 1)).astype(int).tolist())


def _plotly() -> bytes:
    """The script of Plotly, as its Python package has it. Raises UsageError where that is missing."""
    try:
        return (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    except (ImportError, FileNotFoundError) as error:
        raise UsageError(
            "expected plotly for the page; it is not installed. Run pip install 'msnet-features[plot]'"
        ) from error
