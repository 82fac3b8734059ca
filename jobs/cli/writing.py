"""`--force`, and the check of every command that writes a file."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from jobs.cli.display import notice
from jobs.cli.outputs import check_outputs

__all__ = ["Force", "check_writable"]

Force = Annotated[
    bool, typer.Option("--force", help="Replace a file that is there, though this command did not write it.")
]

check_writable = partial(check_outputs, tell=notice)
