"""A page over HTTP, to this machine only."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    """Hands out the files of a page: no listings, nothing by another host's name, no log."""

    def send_head(self) -> Any:
        """Refuse requests that a foreign page makes by a name of its own that leads to this machine."""
        assert isinstance(self.server, ThreadingHTTPServer)
        if self.headers.get("Host") not in (
            f"{HOST}:{self.server.server_port}",
            f"localhost:{self.server.server_port}",
        ):
            self.send_error(403)
            return None
        if Path(self.translate_path(self.path)).is_symlink():
            self.send_error(404)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> BinaryIO | None:  # type: ignore[override]
        """Refuse to list a folder."""
        self.send_error(404)
        return None

    def end_headers(self) -> None:
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing."""


def page_server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of the files of a folder on the loopback, on a free port by default; `serve_forever` runs it."""
    server = ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder)))
    server.daemon_threads = True
    return server


def address(server: ThreadingHTTPServer) -> str:
    """The address to open."""
    return f"http://{HOST}:{server.server_port}/"
