"""What an annotation is, whatever file it came from: `VideoAnnotation` and `Annotations`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from gebd.annotations.values import shown
from schemas.errors import UsageError

__all__ = ["AnnotationFormat", "AnnotationSummary", "Annotations", "VideoAnnotation"]

PerRater = tuple[tuple[float, ...], ...]


class AnnotationFormat(StrEnum):
    """The kinds of annotation files that are read."""

    KINETICS_RAW = "kinetics_raw"
    KINETICS_PROCESSED = "kinetics_processed"
    TAPOS_KINETICS = "tapos_kinetics"  # TAPOS under the keys of Kinetics-GEBD, with one rater
    TAPOS_INSTANCES = "tapos_instances"  # TAPOS under my_duration, my_num_frames, my_substages_frameidx
    PLAIN = "plain"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class VideoAnnotation:
    """What raters marked in one video (or, of TAPOS, in one stretch of a video, with times from the stretch's start).

    `rater_seconds` has the boundaries of every rater in seconds, in stored order; a rater who saw none has an empty
    tuple. `rater_frames` has the same boundaries as 0-based frame numbers where the file states them. `consistency`
    is each rater's agreement with the others (F1, 0 to 1) and `consistency_average` that of the video; None where the
    file states none. `source_path` is the video's path as the file states it.

    Raises UsageError, naming the video, where a value cannot be: a duration or fps that is not above zero, a boundary
    that is no finite number, no rater at all, or lists that differ in length.
    """

    video_id: str
    duration_seconds: float
    rater_seconds: PerRater
    fps: float | None = None
    num_frames: int | None = None
    rater_frames: PerRater | None = None
    consistency: tuple[float, ...] | None = None
    consistency_average: float | None = None
    source_path: str | None = None

    def __post_init__(self) -> None:
        self._expect(math.isfinite(self.duration_seconds) and self.duration_seconds > 0, "a duration above 0 seconds")
        self._expect(self.fps is None or (math.isfinite(self.fps) and self.fps > 0), "an fps above 0")
        self._expect(self.num_frames is None or self.num_frames > 0, "at least one frame")
        self._expect(len(self.rater_seconds) > 0, "at least one rater")
        counts = [len(times) for times in self.rater_seconds]
        self._expect(all(math.isfinite(time) for times in self.rater_seconds for time in times), "finite boundaries")
        if self.rater_frames is not None:
            self._expect([len(frames) for frames in self.rater_frames] == counts, "one frame number a boundary")
            self._expect(all(math.isfinite(n) for frames in self.rater_frames for n in frames), "finite frame numbers")
        self._expect(self.consistency is None or len(self.consistency) == len(counts), "one consistency a rater")

    def _expect(self, holds: bool, what: str) -> None:
        if not holds:
            raise UsageError(
                f"the annotation of {shown(self.video_id)} was expected to have {what}, and has not (duration "
                f"{self.duration_seconds} s, fps {self.fps}, {self.num_frames} frames, {len(self.rater_seconds)} "
                "raters): correct it, or take the video out of the file"
            )

    @property
    def num_raters(self) -> int:
        """How many raters marked the video, those without a boundary among them."""
        return len(self.rater_seconds)

    def frames(self) -> PerRater:
        """Boundaries of every rater as 0-based frame numbers: those stored, else min(num_frames - 1, floor(t fps)).

        Raises UsageError where neither is known.
        """
        if self.rater_frames is not None:
            return self.rater_frames
        return tuple(tuple(self.frame_at(time) for time in times) for times in self.rater_seconds)

    def frame_at(self, seconds: float) -> float:
        """The 0-based number of the frame at a time, as the official annotations count; needs fps and num_frames."""
        fps, num_frames = self.rate()
        return float(min(num_frames - 1, math.floor(seconds * fps)))

    def rate(self) -> tuple[float, int]:
        """fps and number of frames; raises UsageError where the annotation states only times."""
        if self.fps is None or self.num_frames is None:
            raise UsageError(
                f"the annotation of {shown(self.video_id)} has no fps or number of frames, so that frame numbers mean "
                "nothing: add both to the file, or work in seconds"
            )
        return self.fps, self.num_frames

    def without_rater(self, rater: int) -> VideoAnnotation:
        """The same with one rater taken out; needs two."""
        keep = [n for n in range(self.num_raters) if n != rater]
        return replace(
            self,
            rater_seconds=tuple(self.rater_seconds[n] for n in keep),
            rater_frames=None if self.rater_frames is None else tuple(self.rater_frames[n] for n in keep),
            consistency=None if self.consistency is None else tuple(self.consistency[n] for n in keep),
        )


@dataclass(frozen=True)
class AnnotationSummary:
    """Counts that a report shows before any score: nothing odd in a file is dropped in silence."""

    videos: int
    boundaries: int
    raters_least: int
    raters_most: int
    empty_raters: int  # raters who marked no boundary
    videos_without_boundary: int  # by any rater
    boundaries_outside: int  # before 0 or after the end of their video
    low_consistency: int  # videos that the official metric skips
    left_out: int  # videos of the file that could not be used; Annotations.left_out says why


class Annotations(Mapping[str, VideoAnnotation]):
    """Annotations by video id, in the order of the file.

    `format` says which kind of file they came from, `path` which file (None for a dictionary), and `left_out` which of
    its videos are not here, each with a sentence that says why.
    """

    def __init__(
        self,
        videos: Iterable[VideoAnnotation],
        *,
        format: AnnotationFormat = AnnotationFormat.PLAIN,
        path: str | None = None,
        left_out: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._videos: dict[str, VideoAnnotation] = {}
        for video in videos:
            if video.video_id in self._videos:
                raise UsageError(f"the video {shown(video.video_id)} was annotated twice: keep one of the two")
            self._videos[video.video_id] = video
        self.format = format
        self.path = path
        self.left_out: dict[str, str] = dict(left_out)

    def __getitem__(self, video_id: str) -> VideoAnnotation:
        return self._videos[video_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._videos)

    def __len__(self) -> int:
        return len(self._videos)

    def __repr__(self) -> str:
        return f"Annotations({len(self)} videos, {self.format.value}, {len(self.left_out)} left out)"

    def summary(self, *, min_consistency: float = 0.3) -> AnnotationSummary:
        """Counts over all videos; low consistency is below `min_consistency`."""
        raters = [times for video in self._videos.values() for times in video.rater_seconds]
        return AnnotationSummary(
            videos=len(self),
            boundaries=sum(map(len, raters)),
            raters_least=min((video.num_raters for video in self._videos.values()), default=0),
            raters_most=max((video.num_raters for video in self._videos.values()), default=0),
            empty_raters=sum(not times for times in raters),
            videos_without_boundary=sum(not any(video.rater_seconds) for video in self._videos.values()),
            boundaries_outside=sum(
                not 0 <= time <= video.duration_seconds
                for video in self._videos.values()
                for times in video.rater_seconds
                for time in times
            ),
            low_consistency=sum(
                video.consistency_average is not None and video.consistency_average < min_consistency
                for video in self._videos.values()
            ),
            left_out=len(self.left_out),
        )
