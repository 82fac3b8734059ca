from __future__ import annotations

import errno
import os

import pytest

from extractor.store.disk import append_only
from extractor.store.disk.append_only import AppendOnlyFile, decode_line, encode_line, is_damaged, line_at, lines
from schemas.errors import StoreError

CONTENTS = [{"a": 1}, {"text": "line\nbreak \0 é 💥 \u2028"}, {"numbers": list(range(100)), "nothing": None}]


def test_lines_come_back_and_are_found_by_their_offsets(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"".join(map(encode_line, CONTENTS)))
    assert [decode_line(line) for _, line in lines(path)] == CONTENTS
    assert [decode_line(line_at(path, offset)) for offset, _ in lines(path)] == CONTENTS


def test_one_flipped_bit_costs_one_line(tmp_path):
    path = tmp_path / "x"
    data = b"".join(map(encode_line, CONTENTS))
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        damaged = [is_damaged(line) for _, line in lines(path)]
        assert any(damaged), bit
        sound = []
        for _, line in lines(path):
            try:
                sound.append(decode_line(line))
            except ValueError:
                continue
        assert len(sound) == 2 and all(content in CONTENTS for content in sound), bit


def test_line_longer_than_any_of_ours_ends_the_file_and_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(append_only, "_MAX_LINE_BYTES", 2000)
    path = tmp_path / "x"
    path.write_bytes(encode_line({"a": "x" * 1800}))
    sound = path.read_bytes()
    path.write_bytes(sound + b"y" * 1999 + b"\n" + sound)
    os.truncate(path, 2**40)
    assert len(list(lines(path))) == 1
    path.write_bytes(sound + b"y" * 1998 + b"\n" + sound)
    assert [len(line) for _, line in lines(path)] == [len(sound) - 1, 1999, len(sound) - 1]
    with pytest.raises(StoreError, match="expected a record of at most 2,000 bytes; got 2,"):
        encode_line({"a": "x" * 2000})


def test_pieces_follow_one_another(tmp_path):
    file = AppendOnlyFile(tmp_path / "x")
    assert [file.append([memoryview(b"ab"), memoryview(b""), memoryview(b"c")]), file.append([memoryview(b"d")])] == [
        0,
        3,
    ]
    assert (tmp_path / "x").read_bytes() == b"abcd"
    file.sync()
    file.close()
    file.close()
    with pytest.raises(FileExistsError):
        AppendOnlyFile(tmp_path / "x")


def test_existing_file_is_continued_behind_what_is_kept(tmp_path):
    (tmp_path / "x").write_bytes(b"whole torn")
    file = AppendOnlyFile(tmp_path / "x", kept=6)
    assert file.append([memoryview(b"again")]) == 6
    file.close()
    assert (tmp_path / "x").read_bytes() == b"whole again"
    with pytest.raises(FileNotFoundError):
        AppendOnlyFile(tmp_path / "y", kept=0)


def test_failed_write_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = AppendOnlyFile(tmp_path / "x")
    file.append([memoryview(b"before")])
    pwrite = os.pwrite

    def half(handle, data, offset):
        if offset > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(handle, data[:2], offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", half)
        with pytest.raises(OSError, match="No space"):
            file.append([memoryview(b"much too long")])
        assert (tmp_path / "x").read_bytes() == b"before"
    assert file.append([memoryview(b" after")]) == 6
    assert (tmp_path / "x").read_bytes() == b"before after"


def test_file_that_was_removed_is_told(tmp_path):
    file = AppendOnlyFile(tmp_path / "x")
    file.append([memoryview(b"x")])
    (tmp_path / "x").unlink()
    with pytest.raises(FileNotFoundError):
        file.sync()
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(FileNotFoundError):
        file.sync()
