"""The decoders that only sleep, by which many of them at one film are measured."""

from __future__ import annotations

import pytest

from benchmarks.decoding.long_film import busy_share
from tests.jobs.workers.conftest import local_ray as local_ray, starting as starting

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("local_ray")]


def test_the_busy_share_of_decoders_at_one_film_is_a_share() -> None:
    assert 0.1 < busy_share(2, seconds=0.05, stretches=10) < 1.0
