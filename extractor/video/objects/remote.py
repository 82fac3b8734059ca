"""Objects read through fsspec: what an object is now, what lies below a prefix, and its bytes.

Whatever a library raises comes out as an OSError: FileNotFoundError, PermissionError (no access or no credentials), or
another whose `strerror` says why. No text of an error holds a secret of an address.
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from schemas.errors import ConfigurationError
from schemas.records import SCHEMES

_BLOCK_BYTES = 16 * 1024 * 1024  # of one request
_ASKED_TOGETHER = 32  # each answer takes tens of milliseconds
_TIMES = ("LastModified", "Last-Modified", "last_modified", "updated", "mtime", "created")  # by the kind of storage
_TAGS = ("ETag", "etag", "md5Hash")
_WITHOUT_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
)
_MOST_REASON = 200  # characters


def filesystem(address: str) -> Any:
    """The fsspec file system of an address. Raises ConfigurationError if its package is not installed."""
    scheme = address.partition("://")[0]
    try:
        import fsspec

        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise ConfigurationError(
            f"{scheme}:// needs the package {SCHEMES[scheme]}: pip install "
            + ("'msnet-features[s3]'" if SCHEMES[scheme] == "s3fs" else SCHEMES[scheme])
        ) from error


def measure(address: str) -> tuple[int, int]:
    """(size_bytes, stamp) of an object. Raises OSError.

    stamp: nanoseconds of its last modification, of which the fraction of a second is made from its ETag if it has one:
    listings and single answers round the time differently, and an object may be replaced twice within a second.
    """
    found = filesystem(address)
    with _reaching(address):
        return _measured(address, found.info(address))


def measure_all(addresses: Iterable[str]) -> dict[str, tuple[int, int] | None]:
    """`measure` for many addresses at a time; None for an object that is missing or cannot be reached.

    Raises ConfigurationError if a package or credentials are missing: then no object can be reached.
    """
    wanted = list(addresses)
    for scheme in {address.partition("://")[0] for address in wanted}:
        filesystem(f"{scheme}://")
    with ThreadPoolExecutor(_ASKED_TOGETHER, "msnet-objects") as asking:
        return dict(zip(wanted, asking.map(_measure_or_none, wanted), strict=True))


def _measure_or_none(address: str) -> tuple[int, int] | None:
    try:
        return measure(address)
    except NoCredentialsError as error:
        raise ConfigurationError(
            f"expected credentials for the table's addresses; {error.strerror}. Give them by the environment "
            "(AWS_PROFILE, AWS_ACCESS_KEY_ID, a role of the node); FSSPEC_S3_ANON=true reads a public bucket"
        ) from error
    except OSError:
        return None


class NoCredentialsError(PermissionError):
    """Nothing says who is asking."""


def is_prefix(address: str) -> bool:
    """Whether objects lie below an address, or else it is an object. Raises OSError: FileNotFoundError if neither."""
    found = filesystem(address)
    with _reaching(address):
        return bool(found.info(address)["type"] == "directory")


def below(prefix: str) -> Iterator[tuple[str, tuple[int, int] | None]]:
    """(address, `measure`) of every object below a prefix, by address. Raises OSError.

    None instead of a measure if the listing does not state the size.
    """
    scheme = prefix.partition("://")[0]
    found = filesystem(prefix)
    with _reaching(prefix):
        entries = sorted(found.find(prefix, detail=True).items())
    for name, info in entries:
        if info.get("type") != "file" or name.endswith("/"):
            continue  # S3 marks folders by empty objects
        address = f"{scheme}://{name.lstrip('/')}"
        try:
            yield address, _measured(address, info)
        except OSError:
            yield address, None


def blocks(address: str, most_bytes: int) -> Iterator[bytes]:
    """The content of an object, at most so many bytes of it. Raises OSError."""
    source = filesystem(address)
    options = {"block_size": 0} if address.startswith("http") else {"cache_type": "none"}  # 0: one stream, no ranges
    with _reaching(address):
        file = source.open(address, "rb", **options)
    with file:
        while most_bytes > 0:
            with _reaching(address):
                block = file.read(min(_BLOCK_BYTES, most_bytes))
            if not block:
                return
            most_bytes -= len(block)
            yield block


@contextmanager
def _reaching(address: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "there is no such object", address) from error
    except PermissionError as error:
        raise PermissionError(errno.EACCES, f"access is denied: {_reason(error)}", address) from error
    except Exception as error:  # each library, and those that it uses, has exceptions of its own
        if type(error).__name__ in _WITHOUT_CREDENTIALS:
            scheme = address.partition("://")[0]
            raise NoCredentialsError(errno.EACCES, f"no credentials for {scheme}:// were found", address) from error
        raise OSError(errno.EIO, _reason(error), address) from error


def _reason(error: Exception) -> str:
    """The first line of an error's text, without users, passwords and queries of the addresses in it."""
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return re.sub(r"//[^/@\s]*@", "//", re.sub(r"\?[^\s\"']*", "", line))[:_MOST_REASON]


def _measured(address: str, info: dict[str, Any]) -> tuple[int, int]:
    size = info.get("size")
    if info.get("type") == "directory":
        raise FileNotFoundError(errno.ENOENT, "there is no such object", address)
    if size is None:
        raise OSError(errno.EIO, "its size is not stated", address)
    time_ns = _time_ns(next((info[name] for name in _TIMES if info.get(name)), 0))
    tag = next((str(info[name]) for name in _TAGS if info.get(name)), None)
    if tag is None:
        return int(size), time_ns
    fraction = int.from_bytes(hashlib.sha256(tag.encode()).digest()[:8]) % 10**9
    return int(size), time_ns // 10**9 * 10**9 + fraction


def _time_ns(value: Any) -> int:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            try:
                value = parsedate_to_datetime(value)
            except ValueError:
                return 0
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        whole = int(aware.timestamp() // 1)
        return whole * 10**9 + aware.microsecond * 1000
    microseconds: int = round(value * 10**6)  # a float has no more digits
    return microseconds * 1000
