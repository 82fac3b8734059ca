"""The labelled videos that commands of `msnet weights` take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.clips.labelled import LabelledVideos, read_labelled_videos

_VIDEOS = "Labelled videos"


def labelled_videos(
    videos: Annotated[
        Path | None,
        typer.Option(
            "--videos",
            help="A folder with a folder for each class, perhaps within train and val.",
            rich_help_panel=_VIDEOS,
        ),
    ] = None,
) -> LabelledVideos | None:
    """The labelled videos; None where none are asked for."""
    return None if videos is None else read_labelled_videos(videos)
