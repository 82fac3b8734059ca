"""Addresses of objects as text: which are taken, and how they are shortened and joined."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from extractor.video.objects.remote import is_prefix
from schemas.errors import InventoryError
from schemas.records import SCHEMES, is_address

Place = Path | str
"""Where a dataset is: a Path of a file system, or an address of objects as text, which a Path would not keep whole."""


def place(source: Path | str) -> Place:
    """An absolute path, or an address without a slash at its end.

    Raises InventoryError for an address of an unknown kind, one that holds a secret, or one in a Path.
    """
    text = str(source)
    if isinstance(source, Path) and source.parts[:1] in {(f"{scheme}:",) for scheme in SCHEMES} and not source.exists():
        raise InventoryError(
            f"expected an address as text; got it as a Path ({source.parts[0]}/), which drops a slash. Give it as a str"
        )
    if isinstance(source, Path) or not looks_like_address(text):
        return Path(source).absolute()
    check_address(text)
    return text.rstrip("/")


def looks_like_address(text: str) -> bool:
    """Whether a text begins as addresses do, of whatever kind."""
    return re.match(r"[a-z][a-z0-9+.-]*://", text) is not None


def check_address(address: str) -> None:
    """Raise InventoryError for an address that is not taken. Its text is not in the message: it may hold a secret."""
    scheme = address.partition("://")[0]
    if not is_address(address):
        known = ", ".join(f"{name}://" for name in SCHEMES if name != "memory")
        raise InventoryError(
            f"expected an address that begins with {known}; got {scheme}://. Copy the videos to one of these, or to a "
            "folder"
        )
    rest = address.partition("://")[2]
    if "@" in rest.partition("/")[0]:
        raise InventoryError(
            f"expected an address without a user or a password; got one with @ ({scheme}://). An address is kept in "
            "the store: give credentials by the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID, a role of the node)"
        )
    signed = "?versionId=" in rest or "X-Amz-" in rest
    if signed or (scheme in ("http", "https") and (urlsplit(address).query or urlsplit(address).fragment)):
        raise InventoryError(
            f"expected an address without a query; got one ({scheme}://...?). A signature or a token would be kept in "
            "the store, and expires: name the object itself, and give credentials by the environment"
        )
    if not rest.strip("/") or "\0" in rest:
        raise InventoryError(f"expected a bucket or a host behind {scheme}://; got none. Name it")


def relative_to(path: str, root: Place) -> str:
    """The path, or address, of a file as the inventory keeps it: relative to the dataset's root if it is below it."""
    return path.removeprefix(f"{str(root).rstrip('/')}/")


def joined(root: Place, path: str) -> str:
    """The path, or address, of a file that the inventory keeps as `path`."""
    if is_address(path):
        return path
    return f"{root}/{path}" if is_address(str(root)) else str(Path(root) / path)


def is_there(root: Place) -> bool:
    """Whether a dataset is where it should be. Raises InventoryError for an address that cannot be reached."""
    if isinstance(root, Path):
        return root.exists()
    try:
        is_prefix(root)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InventoryError(
            f"{root} cannot be reached ({error.strerror or error}). Check the address and the credentials"
        ) from error
    return True
