from __future__ import annotations

import math
import random

import pytest

from gebd import Annotations, Clock, VideoAnnotation, compare_with_baselines, evaluate, fit_clock
from gebd.metric.clock import _Block, _blocks, _f1
from gebd.metric.report import comparison_content, read_clock, write_report
from schemas.errors import UsageError


def marked(videos: int = 40, seed: int = 0, seconds: tuple[float, float] = (2.0, 10.0)) -> Annotations:
    """Raters who mark anything, in any order: one to four of them, some of whom mark nothing."""
    rng = random.Random(seed)
    found = []
    for n in range(videos):
        duration = rng.uniform(*seconds)
        raters = [[rng.uniform(0, duration) for _ in range(rng.randrange(6))] for _ in range(rng.randint(1, 4))]
        agreement = rng.choice([None, 0.2, 0.6])
        found.append(VideoAnnotation(f"v{n}", duration, tuple(map(tuple, raters)), consistency_average=agreement))
    return Annotations(found)


def at(phase: float, period: float, videos: int = 30, jitter: float = 0.05) -> Annotations:
    """Videos of 10 s, marked at the same times but for some jitter."""
    rng = random.Random(1)
    times = [phase + period * k for k in range(20) if phase + period * k < 10]
    return Annotations(
        VideoAnnotation(f"v{n}", 10.0, tuple(tuple(t + rng.uniform(-jitter, jitter) for t in times) for _ in range(3)))
        for n in range(videos)
    )


def test_clock_has_the_same_times_in_every_video() -> None:
    truth = Annotations([VideoAnnotation("a", 3.0, ((1.0,),)), VideoAnnotation("b", 0.4, ((0.1,),))])
    assert Clock(1.25, 0.5).boundaries(truth) == {"a": [0.5, 1.75, 3.0], "b": []}
    assert str(Clock(1.04, 0.8)) == "0.80 s, then every 1.04 s"


@pytest.mark.parametrize("absolute", [False, True])
def test_search_counts_as_the_metric_does(absolute: bool) -> None:
    rng = random.Random(5)
    for seed in range(6):
        truth = marked(seed=seed)
        videos = [v for v in truth.values() if v.consistency_average is None or v.consistency_average >= 0.3]
        for _ in range(10):
            clock = Clock(rng.uniform(0.3, 4), rng.uniform(0, 3))
            blocks = [_Block(block, 0.1, absolute) for block in _blocks(videos, 0.00001)]
            options = {"tolerances_seconds": [0.1]} if absolute else {"tolerances": [0.1]}
            assert len(blocks) > 5
            assert _f1(blocks, clock) == pytest.approx(evaluate(clock.boundaries(truth), truth, **options).f1[0.1])


def test_fitted_clock_finds_times_that_all_videos_share() -> None:
    clock = fit_clock(at(0.8, 2.6))
    assert clock.videos == 30
    assert abs(clock.period_seconds - 2.6) < 0.3 and abs(clock.phase_seconds - 0.8) < 0.55
    assert evaluate(clock.boundaries(at(0.8, 2.6)), at(0.8, 2.6)).f1[0.05] == 1.0


def test_fitted_clock_is_at_least_as_good_as_evenly_spaced_boundaries() -> None:
    training, test = marked(300, 1, (9.8, 10.0)), marked(300, 2, (9.8, 10.0))
    table = compare_with_baselines({"v0": [5.0]}, test, training=training).table
    rivals = [name for name in table.index if name.startswith(("uniform", "random"))]
    assert table.loc["clock", "f1@0.05"] > table.loc[rivals, "f1@0.05"].max() - 0.02
    assert fit_clock(training) == fit_clock(training)


def test_fit_sees_a_thousand_videos_and_needs_marks() -> None:
    assert fit_clock(at(1.0, 3.0, videos=1100)).videos == 1000
    silent = Annotations([VideoAnnotation("a", 4.0, ((), ()))])
    assert len(fit_clock(silent).boundaries(silent)["a"]) <= 2
    with pytest.raises(UsageError, match="to fit a clock to; got none for 1 of 1"):
        fit_clock({"a": {"duration_seconds": 4.0}})
    low = Annotations([VideoAnnotation("a", 4.0, ((1.0,),), consistency_average=0.1)])
    assert math.isfinite(fit_clock(low).period_seconds)


def test_clock_is_in_the_report_and_is_read_from_it(tmp_path) -> None:
    found = compare_with_baselines({"v0": [5.0]}, at(0.8, 2.6), training=at(0.8, 2.6))
    assert found.clock is not None and f"clock: {found.clock}" in str(found)
    write_report(found, tmp_path / "report.json")
    assert read_clock(tmp_path / "report.json") == found.clock
    assert comparison_content(found)["methods"]["clock"]["coverage"] == 1.0
    write_report(compare_with_baselines({"v0": [5.0]}, at(0.8, 2.6)), tmp_path / "without.json")
    assert read_clock(tmp_path / "without.json") is None is read_clock(tmp_path / "none.json")
    with pytest.raises(UsageError, match="name of a baseline"):
        compare_with_baselines({"v0": [5.0]}, at(0.8, 2.6), name="clock")
