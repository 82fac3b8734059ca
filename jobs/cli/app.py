"""The app of the command `msnet`, to which the modules of its commands add theirs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import typer

from jobs.cli.plain_help import App
from jobs.cli.streams import say
from schemas import DISTRIBUTION, __version__

__all__ = ["INTERRUPTED", "InterruptedHalfwayError", "app", "goes_on"]

INTERRUPTED = 130
"""Exit code after an interruption: 128 + SIGINT."""

app = App(
    name="msnet",
    help="MotionSqueeze (MSNet) motion features from video datasets: extract, resume, read.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    say(f"{DISTRIBUTION} {__version__}")
    raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What `msnet` takes before a command; its help is the app's."""


class InterruptedHalfwayError(Exception):  # not a KeyboardInterrupt: typer makes an exit of those
    """What was done until the interruption is worth something."""


def goes_on(command: Callable[..., int]) -> Callable[..., int]:
    """Mark a command that, called again after an interruption, goes on where it was: the user is told so.

    It may end by KeyboardInterrupt or, where it drained, return 130.
    """

    @functools.wraps(command)
    def call(*arguments: Any, **options: Any) -> int:
        try:
            code = command(*arguments, **options)
        except KeyboardInterrupt:
            code = INTERRUPTED
        if code == INTERRUPTED:
            raise InterruptedHalfwayError
        return code

    return call
