"""What C++ writes past Python: kept from the user's terminal while Ray runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def native_errors_to(log: Path | None) -> Iterator[None]:
    """During the block, append what C++ libraries write to standard error to a file; None discards it.

    Ray's libraries write stacks, state dumps, and a line a second while the head does not answer. What Python writes
    still reaches the user, through a descriptor of its own.
    """
    ours = sys.stderr
    ours.flush()
    try:
        kept = os.dup(2)
    except OSError:  # this process has no standard error
        yield
        return
    private = _on_own_descriptor(ours)
    if private is not None:
        sys.stderr = private = over(private) if (over := getattr(ours, "over", None)) else private
    target = os.open(log or os.devnull, os.O_WRONLY | os.O_APPEND)
    os.dup2(target, 2)
    os.close(target)
    try:
        yield
    finally:
        if private is not None:
            if sys.stderr is private:
                sys.stderr = ours
            private.close()
        os.dup2(kept, 2)
        os.close(kept)


def _on_own_descriptor(stream: Any) -> Any:
    """A copy of the stream that does not follow descriptor 2; None if the stream never did, as in a test."""
    try:
        if stream.fileno() != 2:
            return None
    except (OSError, ValueError):
        return None
    return open(  # noqa: PTH123  a descriptor, not a path
        os.dup(2), "w", buffering=1, encoding=stream.encoding, errors=stream.errors
    )
