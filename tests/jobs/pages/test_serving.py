from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from jobs.pages.serving import address, page_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    (tmp_path / "page" / "data").mkdir(parents=True)
    (tmp_path / "page" / "index.html").write_text("<p>page</p>")
    (tmp_path / "page" / "data" / "main.js").write_text("1")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "page" / "link.txt").symlink_to(tmp_path / "secret.txt")
    with page_server(tmp_path / "page") as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(server: ThreadingHTTPServer, path: str, host: str | None = None, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_only_files_of_the_folder_are_served(server: ThreadingHTTPServer) -> None:
    assert address(server) == f"http://127.0.0.1:{server.server_port}/"
    assert ask(server, "/") == (200, b"<p>page</p>")
    assert ask(server, "/data/main.js") == (200, b"1")
    for path in ("/data/", "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/link.txt", "//etc/passwd"):
        code, body = ask(server, path)
        assert code == 404 and b"secret" not in body
    assert ask(server, "/", method="POST")[0] == 501


def test_foreign_names_of_this_machine_are_refused(server: ThreadingHTTPServer) -> None:
    assert ask(server, "/", host=f"localhost:{server.server_port}")[0] == 200
    assert ask(server, "/", host=f"evil.example:{server.server_port}")[0] == 403
