"""A server of one file on this machine, which behaves as badly as it is told to."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from extractor.models.public.catalogue import PublicWeights

NAME = "imagenet_test_v1"


def content_of(size_bytes: int, seed: int = 0) -> bytes:
    """Bytes that do not repeat."""
    blocks = (hashlib.sha256(f"{seed} {i}".encode()).digest() for i in range(size_bytes // 32 + 1))
    return b"".join(blocks)[:size_bytes]


def weights_of(content: bytes, url: str = "https://example.invalid/net-abc.pth") -> PublicWeights:
    """An entry of the catalogue for a content."""
    sha256 = hashlib.sha256(content).hexdigest()
    return PublicWeights(NAME, url, sha256, len(content), "tsn_resnet18", "a test")


@dataclass
class FileServer:
    """cuts: after how many bytes of the body each of the next answers ends. statuses: of the next answers. length:
    whether it says how long the body is. drip_seconds: between single bytes. requests: (path, Range) of each so far.
    """

    content: bytes
    etag: str | None = '"one"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    redirect: str | None = None
    length: int | bool = True
    drip_seconds: float = 0.0
    address: str = ""
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.requests.append((handler.path, asked))
        if self.redirect is not None:
            handler.send_response(302)
            handler.send_header("Location", self.redirect)
            handler.end_headers()
            return
        if self.statuses:
            handler.send_error(self.statuses.pop(0))
            return
        start, status = 0, 200
        same = handler.headers.get("If-Range") == self.etag
        if self.ranges and asked and same and (found := re.fullmatch(r"bytes=(\d+)-", asked)):
            start, status = int(found[1]), 206
        if status == 206 and start >= len(self.content):
            handler.send_error(416)
            return
        self._send(handler, start, status)

    def _send(self, handler: BaseHTTPRequestHandler, start: int, status: int) -> None:
        handler.send_response(status)
        if self.etag is not None:
            handler.send_header("ETag", self.etag)
        body = self.content[start:]
        if status == 206:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.length is not False:
            handler.send_header("Content-Length", str(len(body) if self.length is True else self.length))
        handler.end_headers()
        if self.cuts:
            body = body[: self.cuts.pop(0)]
        if self.drip_seconds:
            for byte in body:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                time.sleep(self.drip_seconds)
        else:
            handler.wfile.write(body)


@contextmanager
def serving(server: FileServer) -> Iterator[FileServer]:
    """Serve at `server.address` for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                server.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.address = f"http://127.0.0.1:{listening.server_port}/net-abc.pth"
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
