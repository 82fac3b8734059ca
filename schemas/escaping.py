"""Foreign text made safe to show: characters that move the cursor, recolour or reorder a line become escapes."""

from __future__ import annotations

import re

# C0, DEL and C1; marks, embeddings, overrides and isolates of direction; line separators; lone surrogates, which
# stand for the bytes of a file name that is not UTF-8
_BREAKS = "\n\t"
_MOVING = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_A_LINE = re.compile(f"[{_BREAKS}{_MOVING}]")
_IN_LINES = re.compile(f"[{_MOVING}]")


def escaped(value: object) -> str:
    r"""Text as one line without control characters: an ESC in "a\x1b[2Jb" becomes the four characters \x1b.

    For display only: files and JSON hold the text itself.
    """
    return _IN_A_LINE.sub(_escape, str(value))


def escaped_lines(text: str) -> str:
    """`escaped`, but line breaks and tabs stay."""
    return _IN_LINES.sub(_escape, text)


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: that of a file may hold any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_title(value: object) -> str:
    """`escaped` for a matplotlib title, where text between two dollars would be a formula."""
    return escaped(value).replace("$", r"\$")


def _escape(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
