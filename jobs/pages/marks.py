"""Boundaries of a store's videos: what was predicted, and what raters marked."""

from __future__ import annotations

from pathlib import Path

from gebd.annotations.identity import join_videos
from gebd.annotations.loading import load_annotations
from gebd.dataset.store_videos import StoreVideos
from gebd.metric.predictions import checked_predictions


class BoundaryMarks:
    """Marks of videos by their ids in the store, in seconds from the start of the video.

    `notes`: sentences on what of the files has no video. Raises UsageError for a file that cannot be read.
    """

    def __init__(self, videos: StoreVideos, boundaries: Path | None, annotations: Path | None) -> None:
        self.notes: list[str] = []
        self.has_boundaries = boundaries is not None
        truth = None if annotations is None else load_annotations(annotations)
        names: dict[str, list[str]] = {video_id: [video_id] for video_id in videos.ids}
        self._raters: dict[str, list[tuple[float, ...]]] = {}
        if truth is not None:
            join = join_videos(videos.ids, truth, spans=videos.spans)
            for name, video_id in join.items.items():
                names[video_id].append(name)
                self._raters.setdefault(video_id, []).extend(truth[name].rater_seconds)
            if len(join.items) < len(truth):
                self.notes.append(
                    f"{len(truth) - len(join.items)} of {len(truth)} annotated videos have no features here."
                )
        self._predicted: dict[str, list[float]] = {}
        if boundaries is not None:
            found = checked_predictions(boundaries)
            used = set()
            for video_id, known in names.items():
                for name in known:
                    if name in found:
                        self._predicted[video_id] = found[name]
                        used.add(name)
            if len(used) < len(found):
                self.notes.append(
                    f"{len(found) - len(used)} of {len(found)} videos with boundaries have no features here."
                )

    def count(self, video_id: str) -> int | None:
        """How many boundaries were predicted; None where no prediction was made."""
        predicted = self._predicted.get(video_id)
        return None if predicted is None else len(predicted)

    def of(self, video_id: str) -> list[tuple[str, list[float]]]:
        """Rows of marks of a video: what was predicted, then every rater's."""
        rows = [("predicted", sorted(self._predicted[video_id]))] if video_id in self._predicted else []
        raters = self._raters.get(video_id, [])
        return rows + [(f"rater {number + 1}", sorted(times)) for number, times in enumerate(raters)]
