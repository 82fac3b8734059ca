from __future__ import annotations

import io
import json
import struct
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.seals import is_sealed, sealed, sealed_content


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\0\0"))
    + chunk(b"IEND", b"")
)


def parquet() -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", None]}), data)
    return data.getvalue()


FILES = [parquet(), PNG, b"%PDF-1.4\n...\n%%EOF\n", b"<?xml version='1.0'?>\n<svg></svg>\n"]


def as_json(content: dict[str, object]) -> bytes:
    return json.dumps(sealed_content(content, "kind"), indent=2).encode()


@pytest.mark.parametrize("data", FILES)
def test_file_keeps_its_form_and_is_recognised(data: bytes) -> None:
    found = sealed(data, "kind")
    assert is_sealed(found, "kind") and not is_sealed(found, "other kind") and not is_sealed(data, "kind")
    assert found[:8] == data[:8] and len(found) > len(data)
    assert not is_sealed(sealed(found, "kind")[:-1], "kind")


def test_sealed_table_reads_as_it_was() -> None:
    found = sealed(parquet(), "kind")
    assert pq.read_table(io.BytesIO(found)) == pq.read_table(io.BytesIO(parquet()))


def test_chunks_of_a_sealed_png_are_whole() -> None:
    rest, names = sealed(PNG, "kind")[8:], []
    while rest:
        (size,) = struct.unpack(">I", rest[:4])
        assert rest[: size + 12] == chunk(rest[4:8], rest[8 : 8 + size])
        names.append(rest[4:8])
        rest = rest[size + 12 :]
    assert names == [b"IHDR", b"IDAT", b"tEXt", b"IEND"]


@pytest.mark.parametrize("data", [*(sealed(data, "kind") for data in FILES), as_json({"a": [1, 2.5], "b": "x"})])
def test_no_byte_of_a_sealed_file_can_change_unseen(data: bytes) -> None:
    assert is_sealed(data, "kind")
    seen = [is_sealed(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "kind") for at in range(len(data))]
    layout = [chr(byte).isspace() for byte in data]  # of JSON: no content
    assert not any(same for same, space in zip(seen, layout, strict=True) if not space)
    assert not is_sealed(data + b"more", "kind")


def test_json_is_recognised_however_it_is_laid_out() -> None:
    content = {"a": (1, 2), "numbers": {1: 0.1, 2: None}, "é": "ü"}
    assert is_sealed(as_json(content), "kind")
    assert is_sealed(json.dumps(json.loads(as_json(content)), ensure_ascii=False).encode(), "kind")
    assert not is_sealed(as_json(content).replace(b"0.1", b"0.2"), "kind")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"{}", b"[]", b"text", b"\xff\xfe", b"\x89PNG\r\n\x1a\n", b"PAR1", b"{" * 100_000]
)
def test_other_content_is_not_recognised(data: bytes) -> None:
    assert not is_sealed(data, "kind")


def test_other_forms_are_not_sealed() -> None:
    with pytest.raises(ValueError, match="PNG, PDF, SVG or Parquet"):
        sealed(b"GIF89a", "kind")
