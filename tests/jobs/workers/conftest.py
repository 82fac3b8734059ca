from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import ray

from jobs.cluster.start import init, prepare_environment


@pytest.fixture(scope="package")
def starting() -> Iterator[Callable[[], None]]:
    """Starts a small Ray of this machine where none runs; it serves the modules of this package one after another."""
    prepare_environment(local=True)  # Ray keeps the first token that a process has: all its Rays need the same

    def start() -> None:
        if not ray.is_initialized():
            memory = 96 * 1024 * 1024
            init(address="local", num_cpus=1, num_gpus=0, object_store_memory=memory, include_dashboard=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_usage_stats_enabled", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_enable_worker_prestart", "0")  # processes that wait for tasks, of which there are none
        patch.setenv("RAY_prestart_worker_first_driver", "0")
        yield start
    ray.shutdown()


@pytest.fixture(scope="module")
def local_ray(starting: Callable[[], None]) -> None:
    """A small Ray, shared with the neighbours; actors ask it for no cores."""
    starting()


@pytest.fixture(scope="module")
def no_ray() -> None:
    """For tests that start a Ray of their own in this process, or a process that is to look for none."""
    ray.shutdown()


@pytest.fixture(scope="module")
def fakes_by_value(request: pytest.FixtureRequest) -> Iterator[None]:
    """The module's fakes are sent to their processes as they stand there, so that these need not import it and torch.

    So are the classes of other modules that it lists in BY_VALUE.
    """
    modules = [request.module, *getattr(request.module, "BY_VALUE", ())]
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    yield
    for module in modules:
        ray.cloudpickle.unregister_pickle_by_value(module)
