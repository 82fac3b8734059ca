from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extractor.models.public.server import FileServer, content_of, serving


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of fetched weights, empty; no proxies, no pauses."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("MSNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("extractor.models.public.fetching._PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("extractor.models.public.fetching._LOOK_SECONDS", 0.01)
    return tmp_path / "cache" / "weights"


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A server of 300 kB."""
    with serving(FileServer(content_of(300_000))) as server:
        yield server
