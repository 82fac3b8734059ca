"""Run the command line: every command, and every way in which one ends."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer
from pydantic import ValidationError

from jobs.cli.app import INTERRUPTED, InterruptedHalfwayError, app
from jobs.cli.streams import guarded_streams, say
from jobs.cluster.signals import Interruptions
from schemas.errors import MSNetError
from schemas.wording import first_refusal

_COMPLETED = "_TYPER_COMPLETE_ARGS"  # of zsh, fish and PowerShell; bash has COMP_WORDS
_PIPE_BROKEN = 141  # 128 + SIGPIPE, as shells report it

ROOMS: dict[str, tuple[str, ...]] = {
    "demo": ("demo",),
    **dict.fromkeys(("extract", "resume", "plan"), ("extract",)),
    **dict.fromkeys(("status", "show", "report", "compare", "verify"), ("stores",)),
    "export": ("exchange.exports",),
    "import": ("exchange.imports",),
    "gebd": ("gebd.annotations", "gebd.demo", "gebd.finetuning", "gebd.heads", "gebd.plots"),
    "weights": (
        "weights.checkpoints",
        "weights.public",
        "weights.lists",
        "weights.evaluation",
        "weights.picture",
        "weights.training",
    ),
}
"""Modules of `jobs.cli` by the first word of the commands that they register when they are imported.

Only those of the command at hand are: importing torch and the rest takes longer than most commands on a store.
"""


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


def register(arguments: list[str]) -> None:
    """Import the modules of the command that the arguments begin with, or those of all.

    Where a shell asks for completions, the words that it has are in a variable of the environment.
    """
    if "_MSNET_COMPLETE" in os.environ:
        arguments = os.environ.get("COMP_WORDS", os.environ.get(_COMPLETED, "")).split()[1:]
    words = arguments[:1] if arguments[:1] and arguments[0] in ROOMS else list(ROOMS)
    if arguments[:1] == ["--version"]:
        words = []
    for word in words:
        for module in ROOMS[word]:
            import_module(f"jobs.cli.{module}")


def _run(arguments: list[str] | None) -> int:
    register(sys.argv[1:] if arguments is None else arguments)
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
