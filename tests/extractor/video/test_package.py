"""What importing the package loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

import extractor.video


def loaded_by(statement: str) -> set[str]:
    script = f"import sys; {statement}; print(*[n for n in ('av', 'decord', 'torch') if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_package_lists_and_samples_without_a_decoder() -> None:
    assert loaded_by("from extractor.video import list_videos, plan_item; import extractor.video.listing") == set()


def test_package_returns_every_name_that_it_lists() -> None:
    for name in extractor.video.__all__:
        assert getattr(extractor.video, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = extractor.video.nothing
