"""Run the command line: every command, and every way in which one ends."""

from __future__ import annotations

import os
import sys

import typer
from pydantic import ValidationError

# imported to register their commands
from jobs.cli import demo, extract, stores  # noqa: F401
from jobs.cli.app import INTERRUPTED, InterruptedHalfwayError, app
from jobs.cli.gebd import annotations as gebd, demo as gebd_demo, heads, plots  # noqa: F401
from jobs.cli.streams import guarded_streams, say
from jobs.cli.weights import checkpoints, evaluation, picture, training  # noqa: F401
from jobs.cluster.signals import Interruptions
from schemas.errors import MSNetError
from schemas.wording import first_refusal

_PIPE_BROKEN = 141  # 128 + SIGPIPE, as shells report it


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 all done, 1 usage or configuration, 2 some videos failed, 130 interrupted.

    The code is 141 if the reader of the output has closed the pipe, as `head` does.
    """
    with guarded_streams():
        sys.exit(_ended(arguments))


def _ended(arguments: list[str] | None) -> int:
    """Run the command line; its exit code, also after a broken pipe."""
    try:
        with Interruptions():
            code = _run(arguments)
        sys.stdout.flush()  # here, where a broken pipe can be told from other errors
    except BrokenPipeError:  # `msnet ... | head`
        code = _pipe_broken()
    except SystemExit as ended:
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        code = _pipe_broken()  # typer would exit with 1
    return code


def _pipe_broken() -> int:
    """Discard the rest of the output, so that the interpreter's last flush does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return _PIPE_BROKEN


def _run(arguments: list[str] | None) -> int:
    try:
        code = app(args=arguments, prog_name="msnet", standalone_mode=False)
    except MSNetError as error:
        say(f"msnet: {error}", to=sys.stderr)
        return 1
    except InterruptedHalfwayError:
        say("msnet: interrupted; what was finished is kept. Run the same command again to continue", to=sys.stderr)
        return INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if not hasattr(error, "show"):  # not click's, which typer takes from click or has itself, by its version
            raise
        if isinstance(error.__cause__, ValidationError) and hasattr(error, "message"):
            error.message = first_refusal(error.__cause__)  # some versions of typer show pydantic's wording
        error.show(file=sys.stderr)  # else click writes bytes past the stream if that is ASCII
        return 1
    if code == INTERRUPTED:  # some versions of typer turn Ctrl-C into this code themselves
        say("msnet: interrupted", to=sys.stderr)
    return code if isinstance(code, int) else 0
