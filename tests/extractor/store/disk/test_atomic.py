from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from extractor.store import probe_storage
from extractor.store.disk.atomic import is_temporary, publish, read_bounded, replacing, storage_errors, write_bytes
from extractor.store.disk.probe import require_space
from schemas.errors import StorageError, StoreError


def test_write_bytes_replaces_and_leaves_no_temporary(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_write_bytes_survives_kills_at_random_moments(crashing):
    assert crashing("kill_writers") == {"torn": 0, "strange": 0}


def test_replacing_keeps_the_old_file_and_no_temporary_on_error(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        assert is_temporary(temporary)
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_publish_is_won_once(tmp_path):
    path = tmp_path / "record"
    assert publish(path, b"first")
    assert not publish(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_publish_recognises_its_own_success_that_a_network_file_system_reports_as_failure(tmp_path, monkeypatch):
    link = os.link

    def link_that_answers_twice(source, target, **options):
        link(source, target, **options)
        raise FileExistsError(errno.EEXIST, "File exists", str(target))

    monkeypatch.setattr(os, "link", link_that_answers_twice)
    assert publish(tmp_path / "record", b"attempt 1")


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permissions"),
        (errno.EFBIG, "size"),
    ],
)
def test_what_a_storage_refuses_is_one_sentence(tmp_path, monkeypatch, code, word):
    def refuse(path, *args, **kwargs):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(StorageError, match=word) as caught:
        write_bytes(tmp_path / "file", b"data")
    assert "\n" not in str(caught.value)
    with pytest.raises(StorageError, match=word):
        probe_storage(tmp_path)


def test_errors_of_hdf5_are_recognised_by_their_text(tmp_path):
    with pytest.raises(StorageError, match="is full"), storage_errors(tmp_path):
        raise OSError("Can't write data (file write failed, errno = 28, error message = 'No space left on device')")


def test_other_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path):
        (tmp_path / "missing").read_bytes()


def test_read_bounded_refuses_a_larger_file(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert read_bounded(tmp_path / "file", 100) == b"x" * 100
    with pytest.raises(StoreError, match="99 bytes"):
        read_bounded(tmp_path / "file", 99)


def test_probe_makes_the_folder_and_leaves_nothing(tmp_path):
    probe_storage(tmp_path / "new" / "store")
    assert list((tmp_path / "new" / "store").iterdir()) == []


@pytest.mark.parametrize("lacking", ["fsync", "link"])
def test_probe_refuses_a_file_system_without(tmp_path, monkeypatch, lacking):
    def refuse(*args, **kwargs):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, lacking, refuse)
    with pytest.raises(StorageError, match=lacking):
        probe_storage(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_probe_refuses_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        probe_storage(tmp_path / "file")
    with pytest.raises(StorageError):
        probe_storage(tmp_path / "file" / "store")


def test_require_space_says_how_much_is_missing(tmp_path):
    require_space(tmp_path, 1)
    with pytest.raises(StorageError, match=r"expected [\d,]+ bytes left in .*; got [\d,]+\. Free"):
        require_space(tmp_path, 10**18)
