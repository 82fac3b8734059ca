"""`msnet report --html`: its options, and the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.display import progress, size
from jobs.cli.outputs import with_listed_videos
from jobs.cli.streams import say
from schemas.errors import ConfigurationError
from schemas.wording import counted

_PANEL = "The page"


@dataclass(frozen=True)
class Page:
    """The options of a page; all None or False where none is wanted."""

    out: Path | None = None
    serve: bool = False
    pictures: int | None = None
    videos: str | None = None
    boundaries: Path | None = None
    annotations: Path | None = None

    def require_none(self) -> None:
        """Raise ConfigurationError if there are options, but no folder for the page."""
        values: dict[str, object] = {"serve": self.serve or None, "pictures": self.pictures, "videos": self.videos}
        values |= {"boundaries": self.boundaries, "annotations": self.annotations}
        given = [f"--{name}" for name, value in values.items() if value is not None]
        if given:
            raise ConfigurationError(f"expected --html FOLDER with {given[0]}; got {given[0]} alone. Add --html")


def page_options(
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="<folder>",
            help="Write a page that a browser opens from the disk: totals, videos, frames, curves.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Hand it out to browsers of this machine until Ctrl-C.", rich_help_panel=_PANEL),
    ] = False,
    pictures: Annotated[
        int | None,
        typer.Option(
            "--pictures",
            min=0,
            help="Of how many videos, spread evenly. (default: 50)",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    videos: Annotated[
        str | None,
        typer.Option(
            "--videos", metavar="<path>", help="Where the dataset is now, if it was moved.", rich_help_panel=_PANEL
        ),
    ] = None,
    boundaries: Annotated[
        Path | None,
        typer.Option(
            "--boundaries", help="Predictions to draw, as `msnet gebd predict` writes.", rich_help_panel=_PANEL
        ),
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", help="Raters' marks to draw.", rich_help_panel=_PANEL)
    ] = None,
) -> Page:
    """The options of the page."""
    return Page(html, serve, pictures, videos, boundaries, annotations)


def write_html(store: Path, page: Page, *, json: bool) -> int:
    """Write the page, say what it holds, and serve it if that is wanted."""
    from jobs.pages.page import PICTURES, write_page

    assert page.out is not None
    if json:
        raise ConfigurationError("expected --json or --html; got both. Leave one out")
    _refuse_inputs(page.out, [page.boundaries, page.annotations, *with_listed_videos(page.videos)])
    pictures = PICTURES if page.pictures is None else page.pictures
    marks = {"boundaries": page.boundaries, "annotations": page.annotations}
    with progress("drawing", "video") as update:
        done = write_page(store, page.out, videos=page.videos, pictures=pictures, progress=update, **marks)
    without = f" ({done.without_frames} of them without frames)" if done.without_frames else ""
    say(f"{counted(done.videos, 'video')}, pictures of {done.pictured}{without}, {size(done.bytes)}: {done.index}")
    return _served(page.out) if page.serve else 0


def _served(folder: Path) -> int:
    """Hand the page out until an interruption, which is how it ends."""
    from jobs.pages.serving import address, page_server

    with page_server(folder) as server:
        say(f"{address(server)} (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def _refuse_inputs(out: Path, inputs: list[Path | None]) -> None:
    """Raise ConfigurationError if the page's folder is, or holds, what it is made from."""
    place = out.absolute().resolve()
    for path in inputs:
        if path is not None and path.absolute().resolve().is_relative_to(place):
            raise ConfigurationError(f"expected a folder that holds no input; {out} holds {path}. Give another --html")
