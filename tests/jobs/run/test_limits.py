"""Advice for more speed, case by case: the stage that the numbers point at, and what helps that stage there."""

from __future__ import annotations

import pytest

from jobs.cluster.devices import Workers
from jobs.cluster.placement import Placement
from jobs.run.limits import limit_of_plan, limit_of_run
from jobs.run.outcome import Outcome
from jobs.workers.events import StageSeconds as Seconds

CPU, GPU = (Placement((Workers(1, 2, 1, gpus),)) for gpus in (0, 1))
ONE_CORE = Placement((Workers(1, 1, 1, 0, cores=1),))
TWO_CORES = Placement((Workers(1, 1, 2, 0, cores=2),))  # as `place` makes them: decoders share the cores
FIXED = Placement((Workers(1, 2, 1, 0, decoders_fixed=True),))
FIXED_ROOMY = Placement((Workers(1, 2, 1, 1, decoders_fixed=True, cores=8),))
FIXED_FULL = Placement((Workers(1, 7, 1, 1, decoders_fixed=True, cores=8),))
EIGHT_GPUS = Placement((Workers(8, 14, 1, 1, cores=15),))


@pytest.mark.parametrize(
    ("workers", "seconds", "stage", "told", "not_told"),
    [
        # the network, 95 % of the devices' time
        (CPU, Seconds(decode=6, network=57), "network", "a GPU, more cores", "float16"),
        (GPU, Seconds(decode=6, network=57), "network", "--dtype float16", "a GPU,"),
        (ONE_CORE, Seconds(decode=3, network=57), "network", "a GPU, more cores", "decode"),
        (EIGHT_GPUS, Seconds(decode=900, network=8 * 57, waiting=8), "network", "more GPUs", "sparse"),
        # decoding: devices wait, and decoders do not
        (CPU, Seconds(decode=90, transform=10, network=30, write=1, waiting=25), "decode", "more cores", "GPU"),
        (CPU, Seconds(decode=10, transform=90, network=30, write=1, waiting=25), "transform", "more cores", "sparse"),
        (GPU, Seconds(decode=114, network=6, waiting=50), "decode", "--decoder sparse", "GPU"),
        (EIGHT_GPUS, Seconds(decode=6000, network=100, waiting=300), "decode", "more cores", "--decoders"),
        (FIXED, Seconds(decode=90, transform=10, network=30, waiting=25), "decode", "--decoders 2", "more cores"),
        (FIXED_ROOMY, Seconds(decode=110, network=6, waiting=50), "decode", "--decoders 2", "more cores"),
        (FIXED_FULL, Seconds(decode=400, network=6, waiting=50), "decode", "more cores", "--decoders"),
        # decoding on cores that the network shares: devices wait little, yet a GPU would gain little
        (TWO_CORES, Seconds(decode=57, network=20, waiting=10), "decode", "--decoder sparse", "GPU"),
        (ONE_CORE, Seconds(decode=57, network=20, waiting=10), "decode", "more cores", "GPU"),
        (TWO_CORES, Seconds(decode=30, network=50, waiting=5), "network", "a GPU", "sparse"),
        # devices of their own: what decoding takes is no matter while they do not wait
        (CPU, Seconds(decode=90, network=50, write=1, waiting=8), "network", "a GPU", "sparse"),
        (GPU, Seconds(decode=90, network=55, write=10, waiting=4), "network", "--dtype float16", "sparse"),
        # writing
        (GPU, Seconds(network=20, write=55, waiting=1), "write", "--outputs", "GPU"),
        (CPU, Seconds(decode=10, network=20, write=57, waiting=1), "write", "faster storage", "cores"),
        # waiting, and nobody at work
        (CPU, Seconds(decode=2, network=5, write=1, waiting=50), "waiting", "faster storage", "GPU"),
        (GPU, Seconds(decode=3, network=1, waiting=55), "waiting", "faster storage", "cores"),
        (GPU, Seconds(decode=58, network=4, waiting=50), "decode", "more cores", "storage"),  # one long video
        # waiting for the first frames of a short run
        (GPU, Seconds(decode=20, network=30, waiting=20), "network", "--dtype float16", "sparse"),
    ],
)
def test_the_advice_of_a_run_fits_its_numbers(
    workers: Placement, seconds: Seconds, stage: str, told: str, not_told: str
) -> None:
    found = Outcome(workers, done=1, seconds=seconds, wall_seconds=60.0, decoders=workers.decoders).bottleneck()
    assert found is not None and found == limit_of_run(
        seconds, 60.0, 60.0 * workers.extractors, workers.decoders, workers
    )
    assert found.stage == stage
    assert told in found.advice and not_told not in found.advice


@pytest.mark.parametrize(
    ("workers", "decode", "network", "stage", "told"),
    [
        (TWO_CORES, 950.0, 50.0, "decode", "more cores"),
        (TWO_CORES, 950.0, 500.0, "network", "a GPU"),  # two cores of the network's for one of decoding
        (ONE_CORE, 950.0, 500.0, "decode", "--decoder sparse"),
        (ONE_CORE, 50.0, 950.0, "network", "a GPU"),
        (GPU, 950.0, 500.0, "network", "--dtype float16"),  # by two decoders in 475 s
        (GPU, 1100.0, 500.0, "decode", "more cores"),
        (EIGHT_GPUS, 950.0, 50.0, "decode", "more cores"),
        (EIGHT_GPUS, 950.0, 950.0, "network", "more GPUs"),
        (FIXED_ROOMY, 950.0, 50.0, "decode", "--decoders 2"),
    ],
)
def test_the_advice_of_a_plan_fits_its_numbers(
    workers: Placement, decode: float, network: float, stage: str, told: str
) -> None:
    found = limit_of_plan(decode, network, workers)
    assert found.stage == stage and told in found.advice
