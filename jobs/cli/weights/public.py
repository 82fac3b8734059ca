"""`msnet weights fetch`: public weights by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from extractor.models.public.catalogue import PUBLIC_WEIGHTS, public_weights
from jobs.cli.app import resumable
from jobs.cli.display import bar_width, notice, open_bar, paragraph, rows, size
from jobs.cli.streams import say
from jobs.cli.weights.checkpoints import TERMS, weights_app


def _names(incomplete: str) -> list[str]:
    return [name for name in PUBLIC_WEIGHTS if name.startswith(incomplete)]


@weights_app.command()
@resumable
def fetch(
    name: Annotated[
        str,
        typer.Argument(help="Of public weights, as `list` shows them.", show_default=False, autocompletion=_names),
    ],
    into: Annotated[
        Path | None, typer.Option("--into", help="Folder to write to. (default: the cache, where --weights NAME looks)")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Address of a mirror of this file. (default: where it is published)")
    ] = None,
) -> int:
    """Download public weights and check them; the same command continues a download that was cut off."""
    from extractor.models.public.fetching import fetch_weights

    weights = public_weights(name)
    with _bytes_shown() as report:
        path = fetch_weights(weights, into=into, url=url, report=report, tell=notice)
    say(str(path))
    say(
        rows(
            (
                ("weights", weights.about),
                ("size", size(path.stat().st_size)),
                ("SHA-256", f"{weights.sha256}, as expected"),
                ("licence", weights.licence),
            )
        )
    )
    used = weights.name if into is None else str(path)
    say(paragraph(TERMS))
    say(paragraph(f"--weights {used} takes them, for example with --model {weights.network}."))
    return 0


@contextmanager
def _bytes_shown() -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes on standard error, if that is a terminal."""
    with open_bar(desc="fetching", unit="B", unit_scale=True, leave=False) as bar:

        def update(done: int, total: int) -> None:
            if sys.stderr.isatty():
                bar.total, bar.ncols = total, bar_width()
                bar.update(done - bar.n)

        yield update
