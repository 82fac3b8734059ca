"""Addresses as text: which are taken, without secrets, and relative to what."""

from __future__ import annotations

from pathlib import Path

import pytest

from extractor.video.listing import list_videos
from extractor.video.objects.addresses import is_there, joined, place, relative_to
from schemas.errors import InventoryError, StorageError
from schemas.layout import StorePaths


@pytest.mark.parametrize(
    "address",
    [
        "s3://key:hidden@bucket/a.mp4",
        "https://user:hidden@host/a.mp4",
        "https://host/a.mp4?token=hidden",
        "https://host/a.mp4#hidden",
        "s3://bucket/a.mp4?versionId=hidden",
        "s3://bucket/a.mp4?X-Amz-Signature=hidden",
        "ftp://host/hidden.mp4",
        "s3://",
        "s3:///",
    ],
)
def test_address_that_is_not_taken_is_refused_without_its_text(address: str) -> None:
    with pytest.raises(InventoryError, match=r"^expected .*; got .*\. ") as raised:
        place(address)
    assert "hidden" not in str(raised.value)


def test_address_stays_text_and_a_path_becomes_absolute() -> None:
    assert place("s3://bucket//odd key?/a b.mp4/") == "s3://bucket//odd key?/a b.mp4"
    assert place("videos") == Path("videos").absolute()


def test_address_in_a_path_is_refused() -> None:
    with pytest.raises(InventoryError, match="as text"):
        list_videos(Path("s3://bucket/videos"))


@pytest.mark.parametrize(
    ("path", "root", "kept"),
    [
        ("s3://bucket/p/d/a.mp4", "s3://bucket/p", "d/a.mp4"),
        ("s3://bucket/other/a.mp4", "s3://bucket/p", "s3://bucket/other/a.mp4"),
        ("s3://bucket/p/a.mp4", Path("/data"), "s3://bucket/p/a.mp4"),
        ("/data/d/a.mp4", Path("/data"), "d/a.mp4"),
        ("/else/a.mp4", Path("/data"), "/else/a.mp4"),
    ],
)
def test_path_in_the_inventory_is_found_again(path: str, root: Path | str, kept: str) -> None:
    assert relative_to(path, root) == kept
    assert joined(root, kept) == path


def test_dataset_that_is_gone_is_not_there(tmp_path: Path) -> None:
    assert not is_there("memory://nothing/here") and not is_there(tmp_path / "gone") and is_there(tmp_path)


@pytest.mark.parametrize("store", ["s3://bucket/store", Path("s3://bucket/store"), Path("s3://bucket/s").absolute()])
def test_store_at_an_address_is_refused_with_the_reason(store: str | Path) -> None:
    with pytest.raises(StorageError, match=r"got an address \(s3://\)\. .*rename, hard links and fsync"):
        StorePaths(Path(store))
