from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

# Before torch and numpy are imported, and for the processes that tests start: threads beyond the first wait for one
# another at full speed, which costs up to four times the processor time where two workers share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts Ray goes first: the longest files are at work while the many short ones fill the other worker."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """A small Ray of this machine for the tests of one module; actors ask it for no cores."""
    import ray

    from jobs.cluster.start import prepare_environment

    prepare_environment(local=True)  # Ray keeps the first token that a process has: all its Rays need the same
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_usage_stats_enabled", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(
            address="local",
            num_cpus=1,
            num_gpus=0,
            object_store_memory=96 * 1024 * 1024,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield
        ray.shutdown()
