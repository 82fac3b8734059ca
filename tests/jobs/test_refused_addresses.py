"""What no address may be: every command says so in a sentence, and shows no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.conftest import Call, refused

STORE = "s3://key:hidden@bucket/store"


@pytest.mark.parametrize(
    "command",
    [
        ("extract", "VIDEOS", "--out", STORE),
        ("extract", "VIDEOS", "--out", STORE, "--dry-run"),
        ("resume", STORE),
        ("status", STORE),
        ("show", STORE, "a.mp4"),
        ("report", STORE),
        ("verify", STORE),
        ("compare", STORE, STORE),
        ("export", STORE, "--out", "VIDEOS/out"),
        ("gebd", "detect", STORE, "--out", "VIDEOS/out.json"),
        ("gebd", "train", STORE, "VIDEOS/a.mp4", "--out", "VIDEOS/out"),
    ],
    ids=lambda command: "-".join(word for word in command if word.isalpha()),
)
def test_store_at_an_address_is_refused(
    command: tuple[str, ...], call: Call, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(videos.parent)
    line = refused(call, videos.parent, *(word.replace("VIDEOS", str(videos)) for word in command))
    assert "got an address (s3://)" in line and "hard links" in line and "hidden" not in line


def test_export_to_an_address_is_refused(call: Call, store: object, tmp_path: Path) -> None:
    line = refused(call, tmp_path, "export", tmp_path / "store", "--out", "s3://bucket/out")
    assert "got an address (s3://)" in line


@pytest.mark.parametrize("command", [("extract", "--out", "store"), ("plan",)])
@pytest.mark.parametrize("source", ["s3://key:hidden@bucket/a", "https://host/a.mp4?sig=hidden", "ftp://host/hidden"])
def test_videos_at_an_address_with_a_secret_are_refused(
    command: tuple[str, ...], source: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "hidden" not in refused(call, tmp_path, command[0], source, *command[1:])
