"""Fetching from a server on this machine that cuts, lies, redirects and drips."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import threading
from email.message import Message
from pathlib import Path
from urllib.request import Request

import pytest

from extractor.models.public.answers import _KeepsEncryption
from extractor.models.public.cache import weights_folder
from extractor.models.public.fetching import fetch_weights
from schemas.errors import StorageError, WeightsError
from tests.extractor.models.public.server import FileServer, content_of, serving, weights_of


def fetch(server: FileServer, content: bytes | None = None, **options: object) -> Path:
    return fetch_weights(weights_of(content or server.content), url=server.address, **options)  # type: ignore[arg-type]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def refused(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert text.startswith("expected ") and "; " in text and len(text.splitlines()) == 1
    return text


def test_fetch_writes_the_file_reports_and_asks_nobody_the_second_time(server: FileServer, cache: Path) -> None:
    reports: list[tuple[int, int]] = []
    path = fetch(server, report=lambda done, total: reports.append((done, total)))
    assert path == cache / "net-abc.pth" and path.read_bytes() == server.content and left(cache) == ["net-abc.pth"]
    assert reports[-1] == (300_000, 300_000) and cache == weights_folder()
    assert fetch(server) == path and len(server.requests) == 1


def test_fetch_into_a_folder_leaves_the_cache_alone(server: FileServer, cache: Path, tmp_path: Path) -> None:
    assert fetch(server, into=tmp_path / "new" / "mine") == tmp_path / "new" / "mine" / "net-abc.pth"
    assert not cache.exists()


def test_fetch_continues_after_cuts(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.models.public.fetching._PROGRESS_BYTES", 50_000)
    server.cuts = [60_000] * 4  # more than the attempts that may bring nothing
    assert fetch(server).read_bytes() == server.content
    assert [asked for _, asked in server.requests] == [None, *(f"bytes={60_000 * i}-" for i in range(1, 5))]


def test_fetch_gives_up_keeps_what_came_and_continues_the_next_time(server: FileServer, cache: Path) -> None:
    server.cuts = [100_000, 10, 10, 10]
    with pytest.raises(WeightsError) as error:
        fetch(server)
    text = refused(error)
    assert (
        "the connection was cut after 100,020 of 300,000 bytes" in text and "100,020 bytes that came are kept" in text
    )
    assert str(cache / "net-abc.pth") in text and server.address in text
    assert left(cache) == [".net-abc.pth.part", ".net-abc.pth.part.of"]
    server.cuts = []
    assert fetch(server).read_bytes() == server.content and server.requests[-1][1] == "bytes=100020-"
    assert left(cache) == ["net-abc.pth"]


@pytest.mark.parametrize("change", ["no ranges", "no tag", "weak tag", "another file"])
def test_fetch_begins_anew_where_it_cannot_continue(server: FileServer, change: str) -> None:
    content = server.content
    if change in ("no tag", "weak tag"):
        server.etag = None if change == "no tag" else 'W/"one"'
    server.ranges = change != "no ranges"
    if change == "another file":
        server.content, server.etag = content_of(300_000, seed=1), '"before"'
    server.cuts = [100_000, 0, 0]
    with pytest.raises(WeightsError):
        fetch(server, content)
    if change == "another file":
        server.content, server.etag = content, '"after"'
    assert fetch(server, content).read_bytes() == content


@pytest.mark.parametrize("etag", [None, '"one"'])
def test_fetch_does_not_begin_anew_for_ever(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, etag: str | None
) -> None:
    monkeypatch.setattr("extractor.models.public.fetching._PROGRESS_BYTES", 50_000)
    server.etag, server.ranges, server.cuts = etag, False, [100_000, 10_000, 100_000, 20_000] * 9
    with pytest.raises(WeightsError, match="the connection was cut") as error:
        fetch(server)
    assert len(server.requests) <= 5 and ("are kept" in refused(error)) == (etag is not None)


def test_fetch_does_not_continue_from_another_address(server: FileServer) -> None:
    server.cuts = [100_000, 0, 0]
    with pytest.raises(WeightsError):
        fetch(server)
    server.address += "?mirror=1"
    assert fetch(server).read_bytes() == server.content and server.requests[-1][1] is None


def test_fetch_finishes_a_part_that_was_ended_after_its_last_byte(server: FileServer, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / ".net-abc.pth.part").write_bytes(server.content)
    assert fetch(server).read_bytes() == server.content and not server.requests


@pytest.mark.parametrize("junk", [b"x" * 299_999, b"x" * 400_000, b"x"])
def test_fetch_is_not_misled_by_a_part_of_something_else(server: FileServer, cache: Path, junk: bytes) -> None:
    cache.mkdir(parents=True)
    (cache / ".net-abc.pth.part").write_bytes(junk)
    (cache / ".net-abc.pth.part.of").write_text('{"address": [1], "version": "a\\r\\nX: y"}')
    assert fetch(server).read_bytes() == server.content


def test_fetch_refuses_another_content_and_leaves_nothing(server: FileServer, cache: Path) -> None:
    expected = content_of(300_000, seed=1)
    with pytest.raises(WeightsError) as error:
        fetch(server, expected)
    text = refused(error)
    assert weights_of(expected).sha256 in text and weights_of(server.content).sha256 in text and not left(cache)


@pytest.mark.parametrize("length", [True, False, 10**15])
def test_fetch_stops_at_a_file_that_is_too_large(server: FileServer, cache: Path, length: int | bool) -> None:
    server.content, server.length, expected = content_of(3_000_000), length, content_of(300_000)
    with pytest.raises(WeightsError) as error:
        fetch(server, expected)
    assert "it is another file" in refused(error) and not left(cache)


def test_fetch_takes_a_file_whose_length_is_not_stated(server: FileServer) -> None:
    server.length = False
    assert fetch(server).read_bytes() == server.content


def test_fetch_waits_out_states_that_pass(server: FileServer) -> None:
    server.statuses = [503, 429]
    assert fetch(server).read_bytes() == server.content
    server.statuses = [503] * 3
    with pytest.raises(WeightsError, match="the server answered 503 Service Unavailable"):
        fetch_weights(weights_of(content_of(10)), url=server.address)


@pytest.mark.parametrize("status", [404, 403, 401])
def test_fetch_gives_up_at_once_on_what_does_not_pass(server: FileServer, cache: Path, status: int) -> None:
    server.statuses = [status] * 9
    with pytest.raises(WeightsError) as error:
        fetch(server)
    assert f"the server answered {status}" in refused(error) and len(server.requests) == 1 and not left(cache)


def test_fetch_gives_up_on_a_server_that_drips(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.models.public.answers._WINDOW_SECONDS", 0.05)
    server.drip_seconds = 0.005
    with pytest.raises(WeightsError, match=r"only \d+ bytes came in 0 s\. The \d+ bytes that came are kept"):
        fetch(server)


def test_fetch_gives_up_on_a_server_that_is_silent(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.models.public.answers._SILENCE_SECONDS", 0.05)
    server.drip_seconds = 0.2
    with pytest.raises(WeightsError, match="timed out"):
        fetch(server)


def test_fetch_follows_a_redirection_but_not_away_from_https(server: FileServer) -> None:
    with serving(FileServer(b"", redirect=server.address)) as door:
        assert fetch_weights(weights_of(server.content), url=door.address).read_bytes() == server.content
    request, handler = Request("https://a.example/f?secret=1"), _KeepsEncryption()
    with pytest.raises(WeightsError) as error:
        handler.redirect_request(request, io.BytesIO(), 302, "", Message(), "http://b.example/f")
    assert "to stay with https; it redirects to http://b.example/f" in refused(error) and "secret" not in refused(error)


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://[", "data:,x"])
def test_fetch_follows_no_redirection_to_anything_else(cache: Path, place: str) -> None:
    with serving(FileServer(b"", redirect=place)) as door, pytest.raises(WeightsError) as error:
        fetch(door, b"content")
    assert refused(error) and not left(cache)


def test_fetch_ends_where_redirections_go_round(cache: Path) -> None:
    with serving(FileServer(b"", redirect="/net-abc.pth")) as door, pytest.raises(WeightsError, match="answered 302"):
        fetch(door, b"content")


@pytest.mark.parametrize(
    "address",
    ["ftp://a/b", "file:///etc/passwd", "a/b", "https://", "http://[::1", "https://a/\x1b[2J", "https://ä/b", ""],
)
def test_fetch_refuses_addresses_that_are_none(address: str) -> None:
    with pytest.raises(WeightsError, match="expected an address, https://HOST/FILE") as error:
        fetch_weights(weights_of(b"x"), url=address)
    assert "\x1b" not in refused(error)


def test_fetch_tells_no_password() -> None:
    with pytest.raises(WeightsError, match="without a user and password") as error:
        fetch_weights(weights_of(b"x"), url="https://user:secret@a.example/b")
    assert "secret" not in str(error.value)


def test_fetch_offline_says_from_where_and_to_where(server: FileServer, cache: Path) -> None:
    with pytest.raises(WeightsError) as error:
        fetch_weights(weights_of(server.content))  # .invalid never resolves
    text = refused(error)
    assert "https://example.invalid/net-abc.pth" in text and str(cache / "net-abc.pth") in text and not left(cache)


def test_fetch_honours_proxies(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    host = server.address.removesuffix("/net-abc.pth")
    monkeypatch.setenv("http_proxy", host)
    weights = weights_of(server.content)
    assert fetch_weights(weights, url="http://elsewhere.invalid/net-abc.pth").read_bytes() == server.content
    assert server.requests[0][0] == "http://elsewhere.invalid/net-abc.pth"


def test_fetch_says_that_the_disk_is_full_and_leaves_it_room(
    server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("extractor.models.public.partial.os.pwrite", full)
        with pytest.raises(StorageError) as error:
            fetch(server)
    assert "No space left on device): free some space" in refused(error) and not left(cache)
    monkeypatch.setattr("shutil.disk_usage", lambda path: os.terminal_size((0, 0)) and type("U", (), {"free": 299_999}))
    asked = len(server.requests)
    with pytest.raises(StorageError, match="free some space"):
        fetch(server)
    assert len(server.requests) == asked and not left(cache)


@pytest.mark.parametrize("obstacle", ["a file", "a link to nowhere", "a pipe", "a linked part"])
def test_fetch_says_where_the_folder_is_unusable(server: FileServer, cache: Path, obstacle: str) -> None:
    cache.parent.mkdir()
    if obstacle == "a file":
        cache.write_text("")
    elif obstacle == "a link to nowhere":
        cache.symlink_to("nowhere")
    elif obstacle == "a pipe":
        cache.mkdir()
        os.mkfifo(cache / ".net-abc.pth.part")
    else:
        cache.mkdir()
        (cache.parent / "victim").write_text("safe")
        (cache / ".net-abc.pth.part").symlink_to(cache.parent / "victim")
    with pytest.raises(StorageError) as error:
        fetch(server)
    assert "choose another folder with --into or MSNET_CACHE" in refused(error)
    assert obstacle != "a linked part" or (cache.parent / "victim").read_text() == "safe"


def test_fetch_does_not_write_through_a_linked_note(server: FileServer, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache.parent / "victim").write_text("safe")
    (cache / ".net-abc.pth.part.of").symlink_to(cache.parent / "victim")
    fetch(server)
    assert (cache.parent / "victim").read_text() == "safe"


def test_fetch_works_in_a_linked_folder_with_an_odd_name(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "grüße \n").mkdir()
    (tmp_path / "link").symlink_to("grüße \n")
    assert fetch(server, into=tmp_path / "link").read_bytes() == server.content


def test_fetch_replaces_a_damaged_file_in_the_cache_only(server: FileServer, cache: Path, tmp_path: Path) -> None:
    for folder in (cache, tmp_path):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "net-abc.pth").write_bytes(b"damaged")
    assert fetch(server).read_bytes() == server.content
    with pytest.raises(WeightsError) as error:
        fetch(server, into=tmp_path)
    assert "Move it away" in refused(error) and (tmp_path / "net-abc.pth").read_bytes() == b"damaged"


def test_fetch_twice_at_once_downloads_once(server: FileServer, cache: Path) -> None:
    server.content = content_of(3000)
    server.drip_seconds = 0.0001
    said: list[str] = []
    threads = [threading.Thread(target=fetch, args=(server,), kwargs={"tell": said.append}) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 1 and left(cache) == ["net-abc.pth"] and len(said) == 2
    assert "waiting for it" in said[0]


def test_fetch_goes_on_where_a_killed_process_left_off(server: FileServer, cache: Path) -> None:
    server.content, server.drip_seconds = content_of(3000), 0.001
    code = """
import sys
from extractor.models.public.fetching import fetch_weights
from tests.extractor.models.public.server import content_of, weights_of
print("begins", flush=True)
fetch_weights(weights_of(content_of(3000)), url=sys.argv[1], report=lambda done, total: print(done, flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", code, server.address], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        while (line := other.stdout.readline()) in ("begins\n",) or int(line) < 100:
            pass
        other.kill()
    assert left(cache) == [".net-abc.pth.part", ".net-abc.pth.part.of"]
    server.drip_seconds = 0.0
    assert fetch(server).read_bytes() == server.content
    asked = server.requests[-1][1]
    assert asked is not None and int(asked[6:-1]) >= 100
