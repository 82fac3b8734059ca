"""Running the command line: every command, and every way in which one ends."""

from __future__ import annotations

import os
import sys

import typer
from pydantic import ValidationError

# imported for what they add to the app
from jobs.cli import demo, extract, stores  # noqa: F401
from jobs.cli.app import INTERRUPTED, InterruptedHalfwayError, app
from jobs.cli.gebd import annotations as gebd, demo as gebd_demo, heads, plots  # noqa: F401
from jobs.cli.streams import guarded_streams, say
from jobs.cli.weights import checkpoints, evaluation, picture, training  # noqa: F401
from jobs.run.signals import Interruptions
from schemas.errors import MSNetError
from schemas.wording import first_refusal

__all__ = ["main"]

_PIPE_BROKEN = 141  # 128 + SIGPIPE, as a shell reports it of other tools


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
    if isinstance(refusal.__cause__, ValidationError) and hasattr(refusal, "message"):
        refusal.message = first_refusal(refusal.__cause__)


def _run(arguments: list[str] | None) -> int:
    try:
        code = app(args=arguments, prog_name="msnet", standalone_mode=False)
    except MSNetError as error:
        say(f"msnet: {error}", to=sys.stderr)
        return 1
    except InterruptedHalfwayError:
        say("msnet: interrupted; what was finished is kept, and the same command goes on", to=sys.stderr)
        return INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if not hasattr(error, "show"):  # not one of click's, which lie in click or in typer by the version of typer
            raise
        _tell_in_our_words(error)
        error.show(file=sys.stderr)  # of its own accord click writes bytes past the stream where that is ASCII
        return 1
    if code == INTERRUPTED:  # by typer as well: some of its versions turn Ctrl-C into this code themselves
        say("msnet: interrupted", to=sys.stderr)
    return code if isinstance(code, int) else 0
