"""What is read of an object's description, and what errors say."""

from __future__ import annotations

import functools
import http.server
import threading
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from extractor.video.objects import remote
from extractor.video.objects.remote import blocks, measure, measure_all
from schemas.errors import ConfigurationError

TIME = datetime(2026, 5, 17, 1, 2, 3, tzinfo=UTC)


def stamp(**info: object) -> int:
    return remote._measured("s3://videos/a.mp4", {"size": 3, "type": "file", **info})[1]


def test_stamp_is_the_same_where_a_listing_states_milliseconds() -> None:
    assert stamp(LastModified=TIME, ETag='"a"') == stamp(LastModified=TIME.replace(microsecond=750_000), ETag='"a"')


def test_stamp_differs_by_tag_and_by_second() -> None:
    stamps = {stamp(LastModified=time, ETag=tag) for time in (TIME, TIME.replace(second=4)) for tag in "ab"}
    assert len(stamps) == 4
    assert {stamp // 10**9 for stamp in stamps} == {int(TIME.timestamp()), int(TIME.timestamp()) + 1}


@pytest.mark.parametrize(
    "info",
    [
        {"LastModified": TIME},
        {"Last-Modified": "Sun, 17 May 2026 01:02:03 GMT"},
        {"updated": "2026-05-17T01:02:03Z"},
        {"mtime": TIME.timestamp()},
    ],
)
def test_time_is_read_as_each_kind_of_storage_states_it(info: dict[str, object]) -> None:
    assert stamp(**info) == int(TIME.timestamp()) * 10**9


def test_size_that_is_not_stated_is_an_error() -> None:
    with pytest.raises(OSError, match="size is not stated"):
        stamp(size=None)


def test_errors_of_libraries_hold_no_secret() -> None:
    secret = 'Could not connect to "http://user:hidden@host/a.mp4?X-Amz-Signature=hidden"\nhidden'
    with pytest.raises(OSError, match="Could not connect") as raised, remote._reaching("s3://videos/a.mp4"):
        raise RuntimeError(secret)
    assert "hidden" not in str(raised.value)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", without)
    with pytest.raises(ConfigurationError, match=r"pip install 'msnet-features\[s3\]'"):
        measure_all(["s3://videos/a.mp4"])


def test_missing_credentials_end_a_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCredentialsError(Exception):
        pass

    def without(address: str) -> None:
        with remote._reaching(address):
            raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(remote, "measure", without)
    with pytest.raises(ConfigurationError, match="no credentials for memory://"):
        measure_all(["memory://videos/a.mp4"])


def test_file_of_a_web_server_without_ranges_is_read_in_one_stream(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    content = bytes(range(256)) * 80_000
    (tmp_path / "a.mp4").write_bytes(content)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/a.mp4"
        assert measure(address) == (len(content), int((tmp_path / "a.mp4").stat().st_mtime) * 10**9)
        assert b"".join(blocks(address, len(content) + 1)) == content
        with pytest.raises(FileNotFoundError):
            measure(address.replace("a.mp4", "b.mp4"))
    finally:
        server.shutdown()
        server.server_close()
