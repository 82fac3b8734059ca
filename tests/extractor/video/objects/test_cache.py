"""The folder of fetched objects: what is fetched, what is evicted, and what kills leave behind."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from extractor.video.fingerprints import fingerprint
from extractor.video.objects import cache as module
from extractor.video.objects.cache import ObjectCache
from schemas.errors import FailureClass, StorageError, VideoError
from schemas.records import FileJob, Item

SIZE = 1000


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """An empty memory file system; the addresses whose content was asked for, in order."""
    fsspec.filesystem("memory").store.clear()
    asked: list[str] = []
    whole = module.blocks

    def counted(address: str, most_bytes: int) -> Iterator[bytes]:
        asked.append(address)
        return whole(address, most_bytes)

    monkeypatch.setattr(module, "blocks", counted)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.001)
    yield asked
    fsspec.filesystem("memory").store.clear()


def put(name: str, content: bytes | None = None) -> FileJob:
    """Write an object; its job, as a listing has it."""
    address = f"memory://videos/{name}"
    fsspec.filesystem("memory").pipe_file(address, name[:1].encode() * SIZE if content is None else content)
    return listed(address)


def listed(address: str) -> FileJob:
    return FileJob(address, (Item("a"),), *(fingerprint(address) or (None, None)))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in next(folder.iterdir()).iterdir() if path.name != "lock")


def read(cache: ObjectCache, job: FileJob) -> bytes:
    with cache.local(job) as local:
        return Path(local.path).read_bytes()


def failure(cache: ObjectCache, job: FileJob) -> VideoError:
    with pytest.raises(VideoError) as raised, cache.local(job):
        pass
    return raised.value


def test_object_is_fetched_once_and_keeps_its_suffix(tmp_path: Path, fetched: list[str]) -> None:
    cache, job = ObjectCache(str(tmp_path), SIZE), put("a.MKV")
    assert read(cache, job) == read(cache, job) == b"a" * SIZE
    assert fetched == [job.path]
    assert [path.suffix for path in files(tmp_path)] == [".MKV"]


def test_decoders_that_want_one_object_at_once_fetch_it_once(
    tmp_path: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, job = ObjectCache(str(tmp_path), SIZE), put("a.mp4")
    others, fetch = threading.Event(), module._fetch

    def slow(job: FileJob, handle: int) -> None:
        others.wait(10)  # until the others have met the lock of the first
        fetch(job, handle)

    def look(seconds: float) -> None:
        others.set()
        real(0.001)

    real = time.sleep
    monkeypatch.setattr(module, "_fetch", slow)
    monkeypatch.setattr(module.time, "sleep", look)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: read(cache, job), range(4))) == [b"a" * SIZE] * 4
    assert others.is_set() and fetched == [job.path]


def test_object_that_was_used_longest_ago_is_evicted(tmp_path: Path, fetched: list[str]) -> None:
    cache = ObjectCache(str(tmp_path), 3 * SIZE)
    a, b, c, d = (put(f"{name}.mp4") for name in "abcd")
    for job in (a, b, c, a, d, a, c, b):
        read(cache, job)
    assert [path[-5] for path in fetched] == [*"abcd", "b"]
    assert len(files(tmp_path)) == 3


def test_object_in_use_is_not_evicted_and_room_is_waited_for(tmp_path: Path, fetched: list[str]) -> None:
    cache = ObjectCache(str(tmp_path), SIZE)
    a, b = put("a.mp4"), put("b.mp4")
    with ThreadPoolExecutor(1) as threads:
        with cache.local(a) as local:
            other = threads.submit(read, cache, b)
            for _ in range(20):
                time.sleep(0.005)
                assert Path(local.path).read_bytes() == b"a" * SIZE
            assert not other.done()
        assert other.result(10) == b"b" * SIZE
    assert len(files(tmp_path)) == 1


def test_waiting_for_room_ends_in_a_sentence(
    tmp_path: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAIT_SECONDS", 0.01)
    cache = ObjectCache(str(tmp_path), SIZE)
    with cache.local(put("a.mp4")):
        error = failure(cache, put("b.mp4"))
    assert error.failure is FailureClass.CANNOT_OPEN and "1,000 bytes are in use" in error.message


def test_bound_holds_while_many_decoders_fetch(tmp_path: Path, fetched: list[str]) -> None:
    cache = ObjectCache(str(tmp_path), 3 * SIZE)
    jobs = [put(f"{name}.mp4") for name in "abcdefghijkl"]
    most = 0

    def use(job: FileJob) -> bytes:
        nonlocal most
        with cache.local(job) as local:
            with module._locked(Path(local.path).parent):
                most = max(most, sum(path.stat().st_size for path in files(tmp_path)))
            return Path(local.path).read_bytes()

    with ThreadPoolExecutor(4) as threads:
        contents = list(threads.map(use, jobs * 2))
    assert contents == [job.path[-5].encode() * SIZE for job in jobs * 2]
    assert most == 3 * SIZE


def test_object_larger_than_the_cache_is_too_large(tmp_path: Path, fetched: list[str]) -> None:
    error = failure(ObjectCache(str(tmp_path), SIZE - 1), put("a.mp4"))
    assert error.failure is FailureClass.TOO_LARGE and "--cache-bytes" in error.message
    assert fetched == []


def test_part_that_a_kill_left_is_fetched_anew(tmp_path: Path, fetched: list[str]) -> None:
    cache, job = ObjectCache(str(tmp_path), SIZE), put("a.mp4")
    part = cache.prepare() / f"{module._name(job)}.part"
    part.write_bytes(b"z" * SIZE)
    assert read(cache, job) == b"a" * SIZE
    assert not part.exists()


def test_part_that_a_kill_left_makes_room_first(tmp_path: Path, fetched: list[str]) -> None:
    cache = ObjectCache(str(tmp_path), 2 * SIZE)
    a, b, c = put("a.mp4"), put("b.mp4"), put("c.mp4")
    read(cache, a)
    (cache.prepare() / f"{module._name(b)}.part").write_bytes(b"z" * SIZE)
    read(cache, c)
    assert [path.name for path in files(tmp_path)] == sorted(module._name(job) for job in (a, c))


def test_part_that_is_being_fetched_counts_as_taken(tmp_path: Path, fetched: list[str]) -> None:
    cache, job = ObjectCache(str(tmp_path), SIZE), put("a.mp4")
    folder = cache.prepare()
    handle = cache._claimed(folder, folder / f"{module._name(job)}.part", SIZE)
    assert handle is not None
    assert cache._claimed(folder, folder / "other.part", 1) is None
    os.close(handle)
    assert cache._claimed(folder, folder / "other.part", 1) is not None


def test_file_cut_short_by_a_crash_is_fetched_anew(tmp_path: Path, fetched: list[str]) -> None:
    cache, job = ObjectCache(str(tmp_path), SIZE), put("a.mp4")
    (cache.prepare() / module._name(job)).write_bytes(b"z")
    assert read(cache, job) == b"a" * SIZE


def test_object_that_is_gone_is_missing(tmp_path: Path, fetched: list[str]) -> None:
    error = failure(ObjectCache(str(tmp_path)), listed("memory://videos/gone.mp4"))
    assert error.failure is FailureClass.MISSING and "memory://videos/gone.mp4" in error.message


def test_object_that_was_replaced_has_changed(tmp_path: Path, fetched: list[str]) -> None:
    cache, job = ObjectCache(str(tmp_path)), put("a.mp4")
    read(cache, job)
    put("a.mp4", b"x" * SIZE)
    assert failure(cache, job).failure is FailureClass.CHANGED
    assert read(cache, listed(job.path)) == b"x" * SIZE


def test_object_that_is_replaced_while_it_is_fetched_has_changed(
    tmp_path: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced(address: str, most_bytes: int) -> Iterator[bytes]:
        yield b"a" * (SIZE // 2)
        put("a.mp4", b"x" * SIZE)
        yield b"x" * (SIZE // 2)

    monkeypatch.setattr(module, "blocks", replaced)
    assert failure(ObjectCache(str(tmp_path)), put("a.mp4")).failure is FailureClass.CHANGED
    assert files(tmp_path) == []


@pytest.mark.parametrize("content", [SIZE - 1, SIZE + 1])
def test_other_number_of_bytes_than_listed_is_not_taken(
    content: int, tmp_path: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "blocks", lambda address, most_bytes: iter([b"a" * content]))
    error = failure(ObjectCache(str(tmp_path)), put("a.mp4"))
    assert error.failure is FailureClass.CANNOT_OPEN and f"{content:,} of its 1,000 bytes" in error.message
    assert files(tmp_path) == []


def test_error_of_the_network_is_tried_again_and_one_of_access_is_not(
    tmp_path: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[OSError] = [OSError(5, "reset"), OSError(5, "reset")]
    whole = module.blocks

    def flaky(address: str, most_bytes: int) -> Iterator[bytes]:
        if errors:
            raise errors.pop(0)
        yield from whole(address, most_bytes)

    monkeypatch.setattr(module, "blocks", flaky)
    assert read(ObjectCache(str(tmp_path)), put("a.mp4")) == b"a" * SIZE
    errors[:] = [PermissionError(13, "access is denied"), OSError(5, "not asked for")]
    assert "access is denied" in failure(ObjectCache(str(tmp_path)), put("b.mp4")).message
    assert len(errors) == 1


def test_full_disk_is_named_and_leaves_nothing(
    tmp_path: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(job: FileJob, handle: int) -> tuple[int, None]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_written", full)
    error = failure(ObjectCache(str(tmp_path)), put("a.mp4"))
    assert error.failure is FailureClass.CANNOT_OPEN
    assert f"cannot be kept in {tmp_path}" in error.message and "No space left" in error.message
    assert files(tmp_path) == []


def test_other_files_in_the_folder_stay(tmp_path: Path, fetched: list[str]) -> None:
    cache = ObjectCache(str(tmp_path), SIZE)
    (tmp_path / "theirs.mp4").write_bytes(b"z" * SIZE)
    (cache.prepare() / "theirs.mp4").write_bytes(b"z" * SIZE)
    read(cache, put("a.mp4"))
    assert (tmp_path / "theirs.mp4").exists() and (cache.prepare() / "theirs.mp4").exists()


def test_folder_of_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"msnet-objects-{os.geteuid()}").symlink_to(tmp_path)
    with pytest.raises(StorageError, match="--cache"):
        ObjectCache(str(tmp_path)).prepare()


def test_locks_end_with_their_handles(tmp_path: Path) -> None:
    """What the cache is built on: not given on some network file systems."""
    path = tmp_path / "a"
    path.touch()
    first = module._open(path, fcntl.LOCK_SH)
    assert first is not None and module._open(path, fcntl.LOCK_EX) is None
    os.close(first)
    second = module._open(path, fcntl.LOCK_EX)
    assert second is not None
    os.close(second)
