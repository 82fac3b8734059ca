"""Annotations, independent of their file format: `VideoAnnotation` and `Annotations`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from gebd.annotations.values import shown
from schemas.errors import UsageError

PerRater = tuple[tuple[float, ...], ...]

MIN_CONSISTENCY = 0.3
"""The official metric skips videos whose raters agree less."""


class Raters(StrEnum):
    """Whose boundaries are the target."""

    BEST = "best"  # the rater with the highest consistency
    TOP2 = "top2"  # either of the two raters with the highest consistency
    ALL = "all"  # any rater
    VOTE = "vote"  # the share of raters who marked it; positive from one half
    SEPARATE = "separate"  # the two best raters as samples of their own, the second only if as consistent as the mean


class AnnotationFormat(StrEnum):
    """Supported formats of annotation files."""

    KINETICS_RAW = "kinetics_raw"
    KINETICS_PROCESSED = "kinetics_processed"
    TAPOS_KINETICS = "tapos_kinetics"  # TAPOS under the keys of Kinetics-GEBD, with one rater
    TAPOS_INSTANCES = "tapos_instances"  # TAPOS under my_duration, my_num_frames, my_substages_frameidx
    GEB_PLUS = "geb_plus"  # Kinetics-GEB+: boundaries with captions, of one rater
    PLAIN = "plain"
    CSV = "csv"
    LIST = "list"  # videos without marks, in any of several schemas


class UnusableVideoError(UsageError):
    """A value of one video that no video can have; `reason` is the message without the video's id."""

    def __init__(self, video_id: str, reason: str) -> None:
        super().__init__(
            f"the annotation of {shown(video_id)}: {reason}. Correct it, or remove the video from the file"
        )
        self.reason = reason


@dataclass(frozen=True, slots=True)
class VideoAnnotation:
    """What raters marked in one video (for TAPOS: in one stretch of a video, with times from the stretch's start).

    `rater_seconds` holds the boundaries of every rater in seconds, in stored order; a rater who saw none has an empty
    tuple, and a video of a list without marks has no rater. `rater_frames` holds the same boundaries as 0-based frame
    numbers if the file states them. `consistency` is each rater's agreement with the others (F1, 0 to 1) and
    `consistency_average` that of the video; None if the file states none. `source_path` is the video's path as the file
    states it.

    Raises UnusableVideoError, a UsageError that names the video, if a value is invalid: a duration or fps that is not
    above 0, a boundary that is not finite, or lists that differ in length.
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
        self._expect(self.fps is None or (math.isfinite(self.fps) and self.fps > 0), "an fps above 0")
        self._expect(math.isfinite(self.duration_seconds) and self.duration_seconds > 0, "a duration above 0 seconds")
        self._expect(self.num_frames is None or self.num_frames > 0, "at least one frame")
        counts = [len(times) for times in self.rater_seconds]
        self._expect(all(math.isfinite(time) for times in self.rater_seconds for time in times), "finite boundaries")
        if self.rater_frames is not None:
            self._expect([len(frames) for frames in self.rater_frames] == counts, "one frame number a boundary")
            self._expect(all(math.isfinite(n) for frames in self.rater_frames for n in frames), "finite frame numbers")
        self._expect(self.consistency is None or len(self.consistency) == len(counts), "one consistency a rater")

    def _expect(self, holds: bool, what: str) -> None:
        if not holds:
            raise UnusableVideoError(
                self.video_id,
                f"expected {what}; got duration {self.duration_seconds} s, fps {self.fps}, {self.num_frames} frames, "
                f"{len(self.rater_seconds)} raters",
            )

    @property
    def num_raters(self) -> int:
        """Number of raters, including those who marked no boundary."""
        return len(self.rater_seconds)

    def frames(self) -> PerRater:
        """Return boundaries of every rater as 0-based frame numbers: as stored, else min(num_frames - 1, floor(t fps)).

        Raises UsageError if neither is known.
        """
        if self.rater_frames is not None:
            return self.rater_frames
        return tuple(tuple(self.frame_at(time) for time in times) for times in self.rater_seconds)

    def frame_at(self, seconds: float) -> float:
        """Return the 0-based frame number at a time, as the official annotations count; needs fps and num_frames."""
        fps, num_frames = self.rate()
        return float(min(num_frames - 1, math.floor(seconds * fps)))

    def rate(self) -> tuple[float, int]:
        """Return fps and number of frames; raises UsageError if the annotation states only times."""
        if self.fps is None or self.num_frames is None:
            raise UsageError(
                f"the annotation of {shown(self.video_id)}: expected fps and number of frames; got fps {self.fps}, "
                f"{self.num_frames} frames. Add both to the file, or work in seconds"
            )
        return self.fps, self.num_frames

    def without_rater(self, rater: int) -> VideoAnnotation:
        """Return the annotation without one rater; needs at least two raters."""
        keep = [n for n in range(self.num_raters) if n != rater]
        return replace(
            self,
            rater_seconds=tuple(self.rater_seconds[n] for n in keep),
            rater_frames=None if self.rater_frames is None else tuple(self.rater_frames[n] for n in keep),
            consistency=None if self.consistency is None else tuple(self.consistency[n] for n in keep),
        )


@dataclass(frozen=True)
class AnnotationSummary:
    """Counts to report before any score, so that nothing odd in a file is dropped silently."""

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

    `format` is the format of the file they came from, and `left_out` the reason, by video id, for every video of the
    file that was dropped.
    """

    def __init__(
        self,
        videos: Iterable[VideoAnnotation],
        *,
        format: AnnotationFormat = AnnotationFormat.PLAIN,
        left_out: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._videos: dict[str, VideoAnnotation] = {}
        for video in videos:
            if video.video_id in self._videos:
                raise UsageError(f"expected unique video ids; got {shown(video.video_id)} twice. Keep one of the two")
            self._videos[video.video_id] = video
        self.format = format
        self.left_out: dict[str, str] = dict(left_out)

    def __getitem__(self, video_id: str) -> VideoAnnotation:
        return self._videos[video_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._videos)

    def __len__(self) -> int:
        return len(self._videos)

    def __repr__(self) -> str:
        return f"Annotations({len(self)} videos, {self.format.value}, {len(self.left_out)} left out)"

    def require_marks(self, purpose: str) -> None:
        """Raise UsageError if there are videos without a rater, as in a list of videos to predict."""
        unmarked = [video_id for video_id, video in self._videos.items() if not video.num_raters]
        if unmarked:
            raise UsageError(
                f"expected raters' marks to {purpose}; got none for {len(unmarked)} of {len(self)} videos, "
                f"{shown(unmarked[0])} among them: a list of videos can only be predicted. Give annotations with marks"
            )

    def summary(self) -> AnnotationSummary:
        """Count over all videos; low consistency is below 0.3, as in the official metric."""
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
                video.consistency_average is not None and video.consistency_average < MIN_CONSISTENCY
                for video in self._videos.values()
            ),
            left_out=len(self.left_out),
        )
