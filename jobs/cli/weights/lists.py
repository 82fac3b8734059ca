"""The labelled videos that commands of `msnet weights` take, and `msnet weights join`, which reports what fits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.display import progress, rows
from jobs.cli.streams import say
from jobs.cli.weights.checkpoints import weights_app
from schemas.errors import ConfigurationError, FailureClass, VideoError
from schemas.wording import counted

if TYPE_CHECKING:
    from training.clips.records import Example
    from training.labels.labelled import LabelledVideos

_VIDEOS = "Labelled videos"
_CLIP_FRAMES = 8
_NAMED = 10
_LEFT_OUT = 2

_Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="A list of a folder's videos: `path label`, `path num_frames label`, a csv of Kinetics, a json of"
        " Something-Something.",
        rich_help_panel=_VIDEOS,
    ),
]
_Validation = Annotated[
    Path | None,
    typer.Option("--validation", help="The list of those for validation.", rich_help_panel=_VIDEOS),
]
_ClassNames = Annotated[
    Path | None,
    typer.Option("--class-names", help="Names of numbered classes: a name a line, or json.", rich_help_panel=_VIDEOS),
]
_ValidationShare = Annotated[
    float,
    typer.Option(
        "--validation-share",
        min=0,
        max=0.9,
        help="Part of each class for validation, where nothing else says it.",
        rich_help_panel=_VIDEOS,
    ),
]


@dataclass(frozen=True, slots=True)
class VideoLists:
    """Where videos, their labels and their sides are listed."""

    videos: Path
    labels: Path | None = None
    validation: Path | None = None
    class_names: Path | None = None
    validation_share: float = 0.0

    def read(self, *, needs_labels: bool = True) -> LabelledVideos:
        """The videos; with their labels, or without."""
        from training.labels.labelled import read_labelled_videos

        return read_labelled_videos(
            self.videos,
            self.labels,
            validation=self.validation,
            class_names=self.class_names,
            validation_share=self.validation_share,
            needs_labels=needs_labels,
        )


def video_lists(
    videos: Annotated[
        Path | None,
        typer.Option(
            "--videos",
            help="A folder with a folder for each class, perhaps within train and val; a table with path and label; or"
            " a folder with --labels. Where no labels are used: any folder or table of videos.",
            rich_help_panel=_VIDEOS,
        ),
    ] = None,
    labels: _Labels = None,
    validation: _Validation = None,
    class_names: _ClassNames = None,
    validation_share: _ValidationShare = 0.0,
) -> VideoLists | None:
    """The lists of videos; None where no videos are asked for."""
    return None if videos is None else VideoLists(videos, labels, validation, class_names, validation_share)


@weights_app.command()
def join(
    videos: Annotated[
        Path, typer.Argument(help="A folder of videos, or a table with path and label.", show_default=False)
    ],
    listed: Annotated[
        Path | None, typer.Argument(metavar="LIST", help="The same as --labels.", show_default=False)
    ] = None,
    labels: _Labels = None,
    validation: _Validation = None,
    class_names: _ClassNames = None,
    validation_share: _ValidationShare = 0.0,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also look into every file, for broken and for short ones.")
    ] = False,
) -> int:
    """Report how labels and videos match: what fits, what is missing, which classes there are."""
    if listed is not None and labels is not None:
        raise ConfigurationError(f"expected one training list; got {listed} and --labels {labels}. Give one of them")
    found = VideoLists(videos, labels or listed, validation, class_names, validation_share).read()
    say(rows(found.report.lines()))
    sound = _probe([*found.training, *found.validation]) if probe else True
    return 0 if found.report.fits and sound else _LEFT_OUT


def _probe(examples: Sequence[Example]) -> bool:
    """Look into every file once, and say which videos are broken or shorter than a clip; whether none is broken."""
    broken: dict[str, VideoError] = {}
    short: list[str] = []
    of_file: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        of_file[example.path].append(example)
    with progress("looking into files", "file") as show:
        for done, segments in enumerate(of_file.values(), start=1):
            for example, frames in zip(segments, _frames(segments), strict=True):
                if isinstance(frames, VideoError):
                    broken[example.video_id] = frames
                elif frames < _CLIP_FRAMES:
                    short.append(example.video_id)
            show(done, len(of_file))
    counts = Counter(error.failure.value for error in broken.values())
    lines = [("looked into", counted(len(of_file), "file"))]
    lines.append(("broken", ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"))
    lines += [(f"  {name}", error.message) for name, error in list(broken.items())[:_NAMED]]
    if len(broken) > _NAMED:
        lines.append(("  others", f"{len(broken) - _NAMED} more"))
    if short:
        more = f" and {len(short) - _NAMED} more" if len(short) > _NAMED else ""
        lines.append(
            (f"under {_CLIP_FRAMES} frames", f"{len(short)}, which repeat some: {', '.join(short[:_NAMED])}{more}")
        )
    say(rows(lines))
    return not broken


def _frames(segments: Sequence[Example]) -> list[int | VideoError]:
    """How many frames each segment of one file has, or why it has none to train on."""
    from extractor.video import inspect_job, item_frames

    try:
        found = inspect_job(segments[0].job)
    except VideoError as error:
        return [error for _ in segments]
    counts: list[int | VideoError] = []
    for example in segments:
        first, last = item_frames(found.times_seconds, found.info.end_seconds, example.item)
        too_few = f"expected at least two frames; got {max(0, last - first + 1)}. Leave it out"
        counts.append(last - first + 1 if last > first else VideoError(FailureClass.TOO_SHORT, too_few))
    return counts
