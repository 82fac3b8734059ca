from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from gebd import TOLERANCES, Annotations, compare_with_baselines, evaluate, in_frames, load_annotations
from gebd.metric.matching import greedy_hits, optimal_hits
from gebd.metric.report import comparison_content
from schemas.errors import UsageError
from tests.gebd import brute_force, made

CASES = pytest.mark.parametrize("cases", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])


def place(rng: random.Random, duration: float) -> float:
    """Somewhere in a video, sometimes outside, often where several distances are equal or just at a limit."""
    return rng.choice(
        [rng.uniform(0, duration), rng.randrange(21) * duration / 20, rng.uniform(-1, duration + 1), 0.0, duration]
    )


def random_case(rng: random.Random) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Up to four videos with what the metric may meet, and predictions for some of them and for others."""
    truth: dict[str, Any] = {}
    predictions: dict[str, list[float]] = {}
    for n in range(rng.randint(1, 4)):
        duration = rng.choice([1.0, 8.0, 10.0, 10.0, rng.uniform(0.67, 10.15)])
        raters = [[place(rng, duration) for _ in range(rng.choice([0, 1, 2, 3, 5]))] for _ in range(rng.randint(1, 5))]
        if rng.random() < 0.3:
            raters = [sorted(rater) for rater in raters]
        fps = rng.choice([25.0, 29.97, 12.5])
        num_frames = max(1, round(duration * fps))
        frames = [[float(min(num_frames - 1, math.floor(time * fps))) for time in rater] for rater in raters]
        consistency = rng.choice([0.5, 0.5, 0.9, 0.3, 0.29, rng.random()])
        truth[f"v{n}"] = made.processed_entry(
            *raters, duration=duration, fps=fps, num_frames=num_frames, substages_myframeidx=frames,
            f1_consis_avg=consistency,
        )  # fmt: skip
        found = [place(rng, duration) for _ in range(rng.choice([0, 1, 2, 3, 4, 8]))]
        if rng.random() < 0.3:
            found += [rng.choice(found)] * 2 if found else [math.nan, math.inf]
        if rng.random() < 0.3:
            found += rng.choice(raters)
        if rng.random() < 0.85:
            predictions[f"v{n}"] = found
    if rng.random() < 0.1:
        predictions["not annotated"] = [1.0]
    return truth, predictions


@CASES
def test_metric_equals_brute_force_to_the_last_bit(cases: int) -> None:
    rng = random.Random(0)
    for n in range(cases):
        truth, predictions = random_case(rng)
        tolerances = TOLERANCES if n % 50 == 0 else rng.sample(TOLERANCES, 2)
        result = evaluate(predictions, truth, tolerances)
        for tolerance in tolerances:
            precision, recall, f1 = brute_force.score(truth, predictions, tolerance)
            assert result.precision[tolerance] == precision
            assert result.recall[tolerance] == recall
            assert result.f1[tolerance] == f1
        assert result.average_f1 == float(np.mean([result.f1[tolerance] for tolerance in sorted(tolerances)]))


@CASES
def test_variants_equal_brute_force_to_the_last_bit(cases: int) -> None:
    rng = random.Random(1)
    for _ in range(cases // 3):
        truth, predictions = random_case(rng)
        skip, frames, optimal, seconds = (rng.random() < 0.5 for _ in range(4))
        least = rng.choice([0.3, 0.0, 0.6])
        if frames:
            predictions = {key: [round(t * 25) if math.isfinite(t) else t for t in v] for key, v in predictions.items()}
        tolerances = rng.sample((0.05, 0.1, 0.2, 0.5, 1.0, 0.0), 2)
        result = evaluate(
            predictions,
            truth,
            tolerances,
            tolerances_seconds=tolerances if seconds else None,
            missing="skip" if skip else "penalise",
            unit="frames" if frames else "seconds",
            matching="optimal" if optimal else "greedy",
            min_consistency=least,
        )
        for tolerance in tolerances:
            expected = brute_force.score(
                truth, predictions, tolerance, skip=skip, frames=frames, optimal=optimal, seconds=seconds, least=least
            )
            assert (result.precision[tolerance], result.recall[tolerance], result.f1[tolerance]) == expected


def test_matching_on_random_places() -> None:
    rng = random.Random(2)
    limits = [0.0, 0.5, 1.0, 2.0]
    fewer = 0
    for _ in range(2000):
        left, right = ([place(rng, 10.0) for _ in range(rng.randrange(7))] for _ in range(2))
        greedy, optimal = greedy_hits(left, right, limits), optimal_hits(left, right, limits)
        assert greedy == [brute_force.walk(left, right, limit) for limit in limits]
        assert optimal == [brute_force.most(left, right, limit) for limit in limits]
        assert all(a <= b for a, b in zip(greedy, optimal, strict=True))
        fewer += greedy != optimal
    assert fewer > 20, "greedy is not optimal"


def test_greedy_takes_the_nearest_first_and_may_lose_a_pair() -> None:
    assert greedy_hits([1.0, 0.0], [0.6, 1.7], [0.8]) == [1]
    assert optimal_hits([1.0, 0.0], [0.6, 1.7], [0.8]) == [2]
    assert greedy_hits([1.0, 2.0], [1.5, 0.5], [0.5]) == [1]  # a tie goes to the first, which the second had needed
    assert optimal_hits([1.0, 2.0], [1.5, 0.5], [0.5]) == [2]


def test_tolerances_are_the_literals_whatever_sum_made_them() -> None:
    assert TOLERANCES == (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
    truth = {"a": made.processed_entry([1.5]), "b": made.processed_entry([1.5])}
    result = evaluate({"a": [3.0], "b": [3.0]}, truth, np.linspace(0.05, 0.5, 10))
    assert result.f1[0.15] == 1.0 and result.f1[0.1] == 0.0 and list(result.f1) == list(TOLERANCES)
    assert 0.05 * 3 != 0.15 and result.f1[0.05 * 3] == 1.0 and result.f1_interval[np.float64(0.05 * 3)].low == 1.0
    with pytest.raises(KeyError):
        result.f1[0.17]


def test_missing_empty_outside_and_low_consistency() -> None:
    truth = {
        "scored": made.processed_entry([1.0, 2.0]),
        "outside": made.processed_entry([1.0], [2.0, 3.0]),
        "missing": made.processed_entry([1.0, 2.0, 3.0], []),
        "low": made.processed_entry([1.0], f1_consis_avg=0.29),
        "nothing to find": made.processed_entry([], [5.0]),
    }
    predictions = {"scored": [1.0, 11.0], "outside": [-0.1, 10.1], "low": [1.0], "other": [1.0], "nothing to find": []}
    result = evaluate(predictions, truth)
    assert result.recall[0.05] == 1 / (2 + 1 + 3 + 0) and result.precision[0.05] == 1.0
    assert (result.num_predicted, result.num_annotated, result.coverage) == (3, 4, 0.75)
    assert result.unknown == ("other",)
    assert result.per_video["status"].to_dict() == {
        "scored": "scored", "outside": "empty", "missing": "missing", "low": "low_consistency",
        "nothing to find": "empty",
    }  # fmt: skip
    assert "3 of 4 annotated videos predicted, coverage 0.750" in str(result) and "(official)" in str(result)
    skipped = evaluate(predictions, truth, missing="skip")
    assert skipped.recall[0.05] == 1 / 3 and skipped.coverage == 0.75
    assert skipped.per_video.loc["missing", "status"] == "skipped"
    assert "(missing videos skipped)" in str(skipped)


def test_no_consistency_means_that_no_video_is_left_out() -> None:
    truth = {"a": made.instance_entry(50, 100)}
    assert evaluate({"a": [2.0, 4.0]}, truth, min_consistency=1.0).f1[0.05] == 1.0


def test_nothing_predicted_and_nothing_annotated() -> None:
    truth = {"a": made.processed_entry([1.0])}
    result = evaluate({}, truth)
    assert (result.precision[0.05], result.recall[0.05], result.average_f1, result.coverage) == (0.0, 0.0, 0.0, 0.0)
    result = evaluate({}, Annotations([]))
    assert (result.precision[0.05], result.recall[0.05], result.f1[0.05]) == (0.0, 1.0, 0.0)
    assert math.isnan(result.coverage) and math.isnan(result.average_f1_interval.low) and len(result.per_video) == 0


def test_per_video_table_states_the_best_rater() -> None:
    truth = {"a": made.processed_entry([1.0, 2.0, 3.0], [5.0, 6.0], [6.0, 5.0]), "b": made.processed_entry([1.0])}
    table = evaluate({"a": [5.0, 6.0, 99.0]}, truth, [0.05, 0.5]).per_video
    row = table.loc["a"]
    assert (row["predicted"], row["detected"]) == (3, 2)
    assert (row["rater@0.05"], row["hits@0.05"], row["positives@0.05"], row["f1@0.05"]) == (1, 2, 2, 1.0)
    assert (table.loc["b", "rater@0.5"], table.loc["b", "positives@0.5"], table.loc["b", "f1@0.5"]) == (-1, 1, 0.0)


def test_frames_compare_numbers_and_seconds_tolerances_are_the_same_everywhere() -> None:
    truth = {"a": made.processed_entry([2.0], duration=10.0, fps=10.0), "b": made.processed_entry([2.0], duration=4.0)}
    assert in_frames({"a": [2.05, 10.0, 11.0, -1.0], "x": [1.0]}, truth) == {"a": [20.0, 99.0, -1.0, -1.0]}
    assert evaluate({"a": [20], "b": [50]}, truth, [0.0], unit="frames").f1[0.0] == 1.0
    result = evaluate({"a": [2.5], "b": [2.5]}, truth, tolerances_seconds=[0.4, 0.5])
    assert result.f1 == {0.4: 0.0, 0.5: 1.0} and "tolerances in seconds" in result.definition.name
    relative = evaluate({"a": [2.5], "b": [2.5]}, truth, [0.05])
    assert relative.f1[0.05] == 0.5
    with pytest.raises(UsageError, match="annotation of a: expected fps"):
        evaluate({"a": [1]}, {"a": {"duration_seconds": 5, "boundaries_seconds": [[1]]}}, unit="frames")


def made_set(videos: int, seed: int) -> tuple[dict[str, Any], dict[str, list[float]]]:
    rng = random.Random(seed)
    truth, predictions = {}, {}
    for n in range(videos):
        truth[f"v{n}"] = made.processed_entry(*([rng.uniform(0, 10) for _ in range(4)] for _ in range(3)))
        predictions[f"v{n}"] = [rng.uniform(0, 10) for _ in range(5)]
    return truth, predictions


def test_intervals_are_seeded_hold_the_score_and_shrink_with_videos() -> None:
    truth, predictions = made_set(400, 0)
    result = evaluate(predictions, truth)
    low, high = result.f1_interval[0.05].low, result.f1_interval[0.05].high
    assert low < result.f1[0.05] < high and result.average_f1_interval.low < result.average_f1
    assert evaluate(predictions, truth).f1_interval == result.f1_interval
    assert evaluate(predictions, truth, seed=1).f1_interval != result.f1_interval
    few = evaluate(predictions, dict(list(truth.items())[:25])).f1_interval[0.05]
    assert 2.5 < (few.high - few.low) / (high - low) < 6.5  # sqrt(400 / 25) = 4
    narrow = evaluate(predictions, truth, confidence=0.5).f1_interval[0.05]
    assert low < narrow.low < narrow.high < high


def test_intervals_are_those_of_videos_drawn_one_by_one() -> None:
    truth, predictions = made_set(12, 1)
    predictions.pop("v3")
    result = evaluate(predictions, truth, [0.05, 0.2], resamples=20, seed=5)
    rng = np.random.default_rng(5)
    for n in range(20):
        drawn = rng.integers(0, 12, 12)
        again = {f"{k}": truth[f"v{m}"] for k, m in enumerate(drawn)}
        found = {f"{k}": predictions[f"v{m}"] for k, m in enumerate(drawn) if m != 3}
        assert result.resampled.f1[n, 1] == brute_force.score(again, found, 0.2)[2]
        assert result.resampled.recall[n, 0] == brute_force.score(again, found, 0.05)[1]


def test_one_video_alone_has_no_interval() -> None:
    result = evaluate({"a": [1.0, 5.0]}, {"a": made.processed_entry([1.0], [2.0, 3.0, 4.0])})
    assert not result.f1_interval[0.05].exists and str(result.average_f1_interval) == ""
    assert result.table[["f1_low", "f1_high"]].isna().all().all()
    assert str(result).startswith("F1@0.05 0.667, average 0.787 (official); 1 of 1 annotated videos")
    assert str(result).endswith("2.0 boundaries a video, a rater marks 2.0")
    comparison = compare_with_baselines({"a": [1.0, 5.0]}, {"a": made.processed_entry([1.0])})
    assert comparison.table.filter(regex="_(low|high)$").isna().all().all()
    assert comparison_content(comparison)["methods"]["method"]["average_f1_interval"] == [None, None]


def test_table_has_a_row_a_tolerance_and_never_goes_without_coverage() -> None:
    truth, predictions = made_set(30, 2)
    table = evaluate(predictions, truth).table
    assert table.index.tolist() == list(TOLERANCES) and (table["coverage"] == 1.0).all()
    assert (table["f1_low"] <= table["f1"]).all() and (table["f1"] <= table["f1_high"]).all()
    assert set(table.columns) >= {"precision", "precision_low", "recall", "recall_high"}


def test_annotations_and_arrays_are_taken_as_they_come() -> None:
    truth, predictions = made_set(10, 3)
    expected = evaluate(predictions, truth).f1
    arrays = {key: np.array(value) for key, value in predictions.items()}
    assert evaluate(arrays, load_annotations(truth)).f1 == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": "ignore"}, "missing: expected one of penalise, skip; got 'ignore'"),
        ({"unit": "minutes"}, "unit: expected one of seconds, frames"),
        ({"matching": "best"}, "matching: expected one of greedy, optimal"),
        ({"tolerances": []}, "tolerances: expected one or more"),
        ({"tolerances": [-0.1]}, "tolerances: expected"),
        ({"tolerances_seconds": [math.inf]}, "tolerances: expected"),
        ({"resamples": 0}, "resamples of 1 or more"),
        ({"confidence": 95}, "confidence between 0 and 1"),
    ],
)
def test_evaluate_refuses_options_that_mean_nothing(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate({}, {"a": made.processed_entry([1.0])}, **options)


def test_evaluate_refuses_predictions_that_are_no_numbers() -> None:
    with pytest.raises(UsageError, match=r"the predictions: a: expected a number; got '1\.0'"):
        evaluate({"a": ["1.0"]}, {"a": made.processed_entry([1.0])})  # type: ignore[list-item]
