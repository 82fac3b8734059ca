"""The command `msnet`: options are translated and handed on; what is done is done by functions of the same name."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version as version_of
from typing import Annotated, Any

import typer

from jobs.cli.plain_help import App
from jobs.cli.streams import guarded_streams, say
from jobs.run.signals import Interruptions
from schemas.errors import MSNetError

__all__ = ["app", "goes_on", "main"]

_DISTRIBUTION = "msnet-features"
_INTERRUPTED = 130
_PIPE_BROKEN = 141  # 128 + SIGPIPE, as a shell reports it of other tools

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
    try:
        found = version_of(_DISTRIBUTION)
    except PackageNotFoundError:  # run from a folder of the source that was not installed
        found = "of an unknown version"
    say(f"{_DISTRIBUTION} {found}")
    raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What `msnet` takes before a command; its help is the app's."""


class _InterruptedHalfway(Exception):  # noqa: N818  no error, and not a KeyboardInterrupt: typer makes an exit of those
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
            code = _INTERRUPTED
        if code == _INTERRUPTED:
            raise _InterruptedHalfway
        return code

    return call


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 all done, 1 usage or configuration, 2 some videos failed, 130 interrupted.

    141 where whoever reads the output has left, as `head` does.
    """
    with guarded_streams():
        sys.exit(_ended(arguments))


def _ended(arguments: list[str] | None) -> int:
    """Run the command line; its exit code, also where nobody reads on."""
    try:
        with Interruptions():
            code = _run(arguments)
        sys.stdout.flush()  # here, where a reader that has left can be told from an error
    except BrokenPipeError:  # `msnet ... | head`
        code = _pipe_broken()
    except SystemExit as ended:
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        code = _pipe_broken()  # typer ends with 1 then
    return code


def _pipe_broken() -> int:
    """Nobody reads on: let the interpreter's last flush go nowhere instead of failing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return _PIPE_BROKEN


def _tell_in_our_words(refusal: Exception) -> None:
    """Some versions of typer leave values to pydantic, and its wording to the user."""
    from pydantic import ValidationError

    from schemas.wording import first_refusal

    if isinstance(refusal.__cause__, ValidationError) and hasattr(refusal, "message"):
        refusal.message = first_refusal(refusal.__cause__)


def _run(arguments: list[str] | None) -> int:
    from jobs.cli import commands  # noqa: F401  registers the commands; here, so that --help stays quick to import

    try:
        code = app(args=arguments, prog_name="msnet", standalone_mode=False)
    except MSNetError as error:
        say(f"msnet: {error}", to=sys.stderr)
        return 1
    except _InterruptedHalfway:
        say("msnet: interrupted; what was finished is kept, and the same command goes on", to=sys.stderr)
        return _INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except Exception as error:
        if not hasattr(error, "show"):  # not one of click's, which lie in click or in typer by the version of typer
            raise
        _tell_in_our_words(error)
        error.show(file=sys.stderr)  # of its own accord click writes bytes past the stream where that is ASCII
        return 1
    if code == _INTERRUPTED:  # by typer as well: some of its versions turn Ctrl-C into this code themselves
        say("msnet: interrupted", to=sys.stderr)
    return code if isinstance(code, int) else 0
