"""Numbers in sentences for people."""

from __future__ import annotations

__all__ = ["counted"]


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: counted(1, "video") is "1 video", counted(0, "video") "0 videos".

    plural: where it is not the noun with an s.
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
