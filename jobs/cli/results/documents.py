"""The document that a command prints with `--json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jobs.cli.streams import Block, say
from schemas import __version__
from schemas.escaping import plain

FORMAT = 1
"""Version of the documents: higher where a field is renamed or removed. New fields may come at any time."""


def print_document(command: str, content: Mapping[str, Any]) -> None:
    """Print the result of a command as one JSON document on standard output."""
    document = {"command": command, "format": FORMAT, "version": __version__, **content}
    say(Block(json.dumps(plain(document), indent=2, allow_nan=False)))
