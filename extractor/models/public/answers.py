"""One request for a file, whole or from a byte on, and the answer to it: its status, its sizes and its bytes.

By the standard library, which honours the usual environment variables for proxies and adds no dependency.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from schemas.errors import WeightsError
from schemas.escaping import escaped

_SILENCE_SECONDS = 30.0  # without a byte
_WINDOW_SECONDS = 30.0
_LEAST_BYTES = 32 * 1024  # in a window: a server may send a byte now and then, and never end
_BLOCK_BYTES = 1 << 20
_WORTH_A_TRY = {408, 425, 429, 500, 502, 503, 504}  # states that pass
_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)")
_VALIDATOR = re.compile(r"[\x20-\x7e]{1,200}")
_MOST_REASON = 200  # characters


class CutError(Exception):
    """The bytes ended too early, for a reason that may pass. `anew`: what was kept cannot be continued."""

    def __init__(self, reason: str, *, anew: bool = False) -> None:
        super().__init__(reason)
        self.anew = anew


@dataclass(frozen=True, slots=True)
class Answer:
    """start: the byte at which it begins. total: bytes of the whole file, where it says. validator: of this version."""

    start: int
    total: int | None
    validator: str | None
    body: http.client.HTTPResponse

    def blocks(self) -> Iterator[bytes]:
        """The bytes from `start` to the end. Raises CutError if they end early, stay away, or come too slowly."""
        at, since, window = self.start, time.monotonic(), 0
        while block := self._block():
            at += len(block)
            window += len(block)
            yield block
            if (took := time.monotonic() - since) >= _WINDOW_SECONDS:
                if window < _LEAST_BYTES:
                    raise CutError(f"only {window:,} bytes came in {took:.0f} s")
                since, window = time.monotonic(), 0
        if self.total is not None and at < self.total:
            raise CutError(f"the connection was cut after {at:,} of {self.total:,} bytes")

    def _block(self) -> bytes:
        try:
            return self.body.read1(_BLOCK_BYTES)
        except http.client.IncompleteRead as error:
            raise CutError("the connection was cut") from error
        except (OSError, http.client.HTTPException) as error:
            raise CutError(_reason(error)) from error


def checked_address(address: str) -> str:
    """An address that may be asked: http or https with a host and no password. Raises WeightsError."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not address.isascii() or re.search(r"[\x00-\x20\x7f]", address):
        raise WeightsError(
            f"expected an address, https://HOST/FILE, with special characters as %XX; got {shown(address)}. Correct"
            " --url"
        )
    if "@" in parts.netloc:
        raise WeightsError(
            f"expected an address without a user and password; got one for {parts.hostname}. Download the file by other"
            " means"
        )
    return address


def shown(address: str) -> str:
    """An address for a message: without user, password and query, which may be secret."""
    return escaped(re.sub(r"//[^/@\s]*@", "//", re.sub(r"[?#].*", "", address, flags=re.DOTALL)))[:_MOST_REASON]


@contextmanager
def asked(address: str, *, start: int = 0, validator: str | None = None) -> Iterator[Answer]:
    """Ask for a file from byte `start` on, if it is still the version of `validator`; else it begins at 0.

    Raises CutError for what may pass, WeightsError for what will not: an unknown file, a certificate that is not
    trusted, a redirection to an address without encryption.
    """
    request = Request(address, headers={"User-Agent": "msnet-features"})  # the default is refused by some servers
    if start and validator:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", validator)
    try:
        body = _opener().open(request, timeout=_SILENCE_SECONDS)
    except HTTPError as error:
        error.close()
        raise _refused(error, address) from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: for a redirection that is none
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise WeightsError(
                f"expected {shown(address)} to have a trusted certificate; got {_reason(reason)}. Name your proxy's"
                " certificates in SSL_CERT_FILE"
            ) from error
        raise CutError(_reason(reason)) from error
    assert isinstance(body, http.client.HTTPResponse)
    with body:
        yield _answer(body, start, address)


def _answer(body: http.client.HTTPResponse, start: int, address: str) -> Answer:
    tag = body.headers.get("ETag", "")
    validator = tag if tag and not tag.startswith("W/") else body.headers.get("Last-Modified", "")
    checked = validator if _VALIDATOR.fullmatch(validator) else None
    if body.status == http.client.OK:
        return Answer(0, body.length, checked, body)
    found = _RANGE.fullmatch(body.headers.get("Content-Range", ""))
    if body.status == http.client.PARTIAL_CONTENT and start and found and int(found[1]) == start:
        total = int(found[2]) + 1 if found[3] == "*" else int(found[3])
        return Answer(start, total, checked, body)
    if body.status == http.client.PARTIAL_CONTENT and start:
        raise CutError("the server sent another part than it was asked for", anew=True)
    raise WeightsError(f"expected {shown(address)} to be a file; got status {body.status}. Give a mirror with --url")


def _refused(error: HTTPError, address: str) -> Exception:
    said = f"{error.code} {_reason(error.reason)}"
    if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        return CutError(f"the server answered {said}", anew=True)
    if error.code in _WORTH_A_TRY:
        return CutError(f"the server answered {said}")
    return WeightsError(
        f"expected the file at {shown(address)}; the server answered {said}. Give a mirror with --url, or download it"
        " by other means"
    )


class _KeepsEncryption(HTTPRedirectHandler):
    def http_error_302(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message) -> Any:
        """The answer at the address of a redirection; its own body would be read to the end, however long that is."""
        fp.close()
        return super().http_error_302(req, fp, code, msg, headers)  # type: ignore[arg-type]

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        """The request that follows a redirection."""
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise WeightsError(
                f"expected {shown(req.full_url)} to stay with https; it redirects to {shown(newurl)}. Give a mirror"
                " with --url"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _opener() -> OpenerDirector:
    """Speaks http and https, and nothing else: the usual one would follow a redirection to ftp."""
    opener = OpenerDirector()
    handlers: tuple[Any, ...] = (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        _KeepsEncryption(),
        HTTPErrorProcessor(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _reason(error: object) -> str:
    """The first line of an error's text."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return escaped(text.splitlines()[0] if isinstance(text, str) and text else error)[:_MOST_REASON]
