"""The app of the command `msnet`. The other modules register their commands with it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import typer

from jobs.cli.plain_help import App
from jobs.cli.streams import say
from schemas import DISTRIBUTION, __version__

INTERRUPTED = 130
"""Exit code after an interruption: 128 + SIGINT."""

app = App(
    name="msnet",
    help="MotionSqueeze (MSNet) motion features from video datasets: extract, resume, read.",
    epilog="Exit codes: 0 all done; 1 failed (usage, configuration, storage, damage); 2 finished, with failed videos; "
    "130 interrupted (the same command continues).",
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
    """Options of `msnet` itself, before a command. The help is the app's."""


class InterruptedHalfwayError(Exception):  # not a KeyboardInterrupt: typer turns those into an exit
    """A resumable command was interrupted: the same command continues the work."""


def resumable(command: Callable[..., int]) -> Callable[..., int]:
    """Mark a command that continues its work when it is run again after an interruption, so that the user is told.

    The command may raise KeyboardInterrupt or, after draining, return 130.
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
