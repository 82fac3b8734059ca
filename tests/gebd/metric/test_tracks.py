from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gebd import Track, load_tracks, write_tracks
from schemas.errors import UsageError


def test_tracks_come_back_from_their_file(tmp_path: Path) -> None:
    track = Track(np.array([0.0, 0.1, 0.25]), np.array([0.5, 0.123456, 1.0]))
    write_tracks({"a/b.mp4": track, "empty": Track(np.zeros(0), np.zeros(0))}, tmp_path / "scores.json")
    found = load_tracks(tmp_path / "scores.json")
    assert list(found) == ["a/b.mp4", "empty"]
    assert found["a/b.mp4"].time_seconds.tolist() == track.time_seconds.tolist()
    assert found["a/b.mp4"].scores.tolist() == track.scores.tolist()
    assert len(found["empty"].scores) == 0


@pytest.mark.parametrize(
    "entry",
    [
        {"time_seconds": [0, 1], "scores": [0.5]},
        {"time_seconds": [1, 0], "scores": [0.5, 0.5]},
        {"time_seconds": "soon", "scores": []},
        {"scores": [1.0]},
        [1, 2],
    ],
)
def test_tracks_that_are_none_are_refused_by_name(entry: object, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(json.dumps({"the video": entry}))
    with pytest.raises(UsageError, match="the video"):
        load_tracks(tmp_path / "scores.json")
