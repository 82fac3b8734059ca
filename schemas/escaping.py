"""Foreign text for people's eyes: what would move a cursor, recolour or reorder a line is shown by its escape."""

from __future__ import annotations

import re

__all__ = ["as_title", "escaped", "escaped_lines"]

# C0, DEL and C1; marks, embeddings, overrides and isolates of direction; separators of lines; lone surrogates, which
# stand for the bytes of a file name that is not UTF-8
_BREAKS = "\n\t"
_MOVING = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_A_LINE = re.compile(f"[{_BREAKS}{_MOVING}]")
_IN_LINES = re.compile(f"[{_MOVING}]")


def escaped(value: object) -> str:
    r"""Text as one line that a terminal shows as it is: "a\x1b[2Jb" with an ESC is shown as those very letters.

    Only for people: files and JSON hold the text itself.
    """
    return _IN_A_LINE.sub(_escape, str(value))


def escaped_lines(text: str) -> str:
    """The same of text whose line breaks and tabs are meant."""
    return _IN_LINES.sub(_escape, text)


def as_title(value: object) -> str:
    """The same as text of a picture, where matplotlib takes what stands between two dollars for a formula."""
    return escaped(value).replace("$", r"\$")


def _escape(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
