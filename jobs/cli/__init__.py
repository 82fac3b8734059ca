"""The command `msnet`: options are translated and handed on; what is done is done by functions of the same name."""

from __future__ import annotations

import sys

import typer

from schemas.errors import MSNetError

__all__ = ["app", "main"]

_INTERRUPTED = 130

app = typer.Typer(
    name="msnet",
    help="MotionSqueeze (MSNet) motion features from video datasets: extract, resume, read.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 all done, 1 usage or configuration, 2 some videos failed, 130 interrupted."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    from jobs.cli import commands  # noqa: F401  registers the commands; here, so that --help stays quick to import

    try:
        code = app(args=arguments, prog_name="msnet", standalone_mode=False)
    except MSNetError as error:
        print(f"msnet: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:  # `msnet ... | head`
        sys.stderr.close()
        return 0
    except Exception as error:
        if not hasattr(error, "show"):  # not one of click's, which lie in click or in typer by the version of typer
            raise
        error.show()
        return 1
    if code == _INTERRUPTED:  # by typer as well: some of its versions turn Ctrl-C into this code themselves
        print("msnet: interrupted; what was finished is kept, and the same command goes on", file=sys.stderr)
    return code if isinstance(code, int) else 0
