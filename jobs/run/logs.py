"""The log of a run, in the store: what was decoded when, what failed and why, with tracebacks."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from schemas.escaping import escaped, escaped_lines
from schemas.layout import StorePaths

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_PACKAGES = ("jobs", "extractor", "msnet")


class _Handler(logging.FileHandler):
    """A full disk ends the log, not the run: the code that stores features reports the disk."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Do nothing: logging itself would print a traceback on the user's terminal."""


class _Formatter(logging.Formatter):
    """Escapes control characters: ids and paths cannot end a line or move the cursor of a reader's terminal."""

    def format(self, record: logging.LogRecord) -> str:
        arguments = record.args
        if isinstance(arguments, tuple):
            record.args = tuple(escaped(value) if isinstance(value, str) else value for value in arguments)
        try:
            return escaped_lines(super().format(record))
        finally:
            record.args = arguments


@contextmanager
def run_log(paths: StorePaths) -> Iterator[Path]:
    """Log what our packages do during the block to a new file in the store; yields its path."""
    paths.logs.mkdir(parents=True, exist_ok=True)
    path = paths.logs / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    handler = _Handler(path, encoding="utf-8")
    handler.setFormatter(_Formatter(_FORMAT))
    loggers = [logging.getLogger(name) for name in _PACKAGES]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield path
    except Exception:
        logging.getLogger("msnet").exception("the run ended with an error")
        raise
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        with suppress(OSError):
            handler.close()
