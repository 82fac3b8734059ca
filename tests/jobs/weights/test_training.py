"""Training in several processes: as one would, and whatever is killed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.kills.training import Training, killed, losses, write_videos


@pytest.mark.ray
@pytest.mark.slow
def test_workers_have_the_losses_of_one_and_a_kill_changes_none(tmp_path: Path) -> None:
    write_videos(tmp_path)
    for name, workers in (("one", 1), ("alone", 2)):
        training = Training(tmp_path, name, workers)
        assert training.wait() == 0, training.log()
    for one, two in zip(losses(tmp_path / "one"), losses(tmp_path / "alone"), strict=True):
        assert one == pytest.approx(two, rel=1e-5)
    assert not [path.name for path in (tmp_path / "alone").iterdir() if path.name.startswith(".")]
    draw = random.Random(0)
    assert killed(tmp_path, "worker", 2, "worker", 4, draw) < 1e-5
    assert killed(tmp_path, "command", 2, "command", 6, draw) < 1e-5
