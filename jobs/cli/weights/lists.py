"""The labelled videos that commands of `msnet weights` take, and `msnet weights join`, which reports what fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from extractor.video import inspect_job
from jobs.cli.display import paragraph, progress, rows
from jobs.cli.streams import say
from jobs.cli.weights.checkpoints import weights_app
from schemas.errors import FailureClass, VideoError
from schemas.escaping import escaped
from schemas.wording import counted
from training.clips.labelled import LabelledVideos, read_labelled_videos
from training.clips.records import Example

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


def labelled_videos(
    videos: Annotated[
        Path | None,
        typer.Option(
            "--videos",
            help="A folder with a folder for each class, perhaps within train and val; a table with path and label; or"
            " a folder with --labels.",
            rich_help_panel=_VIDEOS,
        ),
    ] = None,
    labels: _Labels = None,
    validation: _Validation = None,
    class_names: _ClassNames = None,
    validation_share: _ValidationShare = 0.0,
) -> LabelledVideos | None:
    """The labelled videos; None where none are asked for."""
    if videos is None:
        return None
    return read_labelled_videos(
        videos, labels, validation=validation, class_names=class_names, validation_share=validation_share
    )


@weights_app.command()
def join(
    videos: Annotated[
        Path, typer.Argument(help="A folder of videos, or a table with path and label.", show_default=False)
    ],
    labels: _Labels = None,
    validation: _Validation = None,
    class_names: _ClassNames = None,
    validation_share: _ValidationShare = 0.0,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also look into every file, for broken and for short ones.")
    ] = False,
) -> int:
    """Report how labels and videos match: what fits, what is missing, which classes there are."""
    found = labelled_videos(videos, labels, validation, class_names, validation_share)
    assert found is not None
    _print(found.report.lines())
    sound = _probe([*found.training, *found.validation]) if probe else True
    return 0 if found.report.fits and sound else _LEFT_OUT


def _print(lines: Sequence[tuple[str, str]]) -> None:
    for label, text in lines:
        say(paragraph(f"{label}: {text}", indent="    "))


def _probe(examples: Sequence[Example]) -> bool:
    """Look into every file, and say which are broken or shorter than a clip; whether none is broken."""
    broken: dict[str, tuple[FailureClass, str]] = {}
    short = 0
    with progress("files", "file") as show:
        for done, example in enumerate(examples, start=1):
            try:
                short += inspect_job(example.job).info.num_frames < _CLIP_FRAMES
            except VideoError as error:
                broken[example.video_id] = (error.failure, error.message)
            show(done, len(examples))
    counts = Counter(failure.value for failure, _ in broken.values())
    lines: list[tuple[object, ...]] = [("looked into", counted(len(examples), "file"))]
    lines.append((f"shorter than {_CLIP_FRAMES} frames", counted(short, "file")))
    lines.append(("broken", ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"))
    say(rows(lines))
    for name, (_, message) in list(broken.items())[:_NAMED]:
        say(paragraph(f"{escaped(name)}: {escaped(message)}", indent="    "))
    if len(broken) > _NAMED:
        say(f"and {len(broken) - _NAMED} more")
    return not broken
