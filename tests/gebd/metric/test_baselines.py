from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from gebd import (
    compare_with_baselines,
    evaluate,
    in_frames,
    leave_one_rater_out,
    random_boundaries,
    uniform,
    uniform_matched,
)
from schemas.errors import UsageError
from tests.gebd import made


def even(n: int, duration: float) -> list[float]:
    return [duration * k / (n + 1) for k in range(1, n + 1)]


def made_set(videos: int = 60, seed: int = 0) -> dict[str, Any]:
    """Three raters who see the same boundaries, each a little beside."""
    rng = random.Random(seed)
    truth = {}
    for n in range(videos):
        places = sorted(rng.uniform(1, 9) for _ in range(rng.randint(1, 6)))
        raters = [[place + rng.uniform(-0.2, 0.2) for place in places] for _ in range(3)]
        truth[f"v{n}"] = made.processed_entry(*raters, fps=30.0)
    return truth


def test_uniform_cuts_every_video_into_equal_parts() -> None:
    truth = {"a": made.processed_entry([1.0], duration=9.0), "b": made.processed_entry([1.0], duration=4.5)}
    assert uniform(truth, 8) == {"a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], "b": even(8, 4.5)}
    assert uniform(truth, 0) == {"a": [], "b": []}
    with pytest.raises(UsageError, match="expected 0 boundaries or more; got -1"):
        uniform(truth, -1)


def test_eight_evenly_spaced_are_perfect_where_boundaries_are() -> None:
    truth = {f"v{n}": made.processed_entry(even(8, 10.0), [5.0]) for n in range(5)}
    assert evaluate(uniform(truth, 8), truth).f1[0.05] == 1.0
    # Of five, the ones at 10/3 and 20/3 meet the first rater (F1 4/13), the middle one the second (F1 1/3: better).
    five = evaluate(uniform(truth, 5), truth, [0.05])
    assert (five.precision[0.05], five.recall[0.05]) == (1 / 5, 1.0)


def test_uniform_matched_counts_what_is_inside() -> None:
    truth = {"a": made.processed_entry([1.0]), "b": made.processed_entry([1.0]), "c": made.processed_entry([1.0])}
    found = uniform_matched({"a": [1.0, 2.0, 2.0, 11.0, -1.0], "b": [], "x": [1.0]}, truth)
    assert found == {"a": [2.5, 5.0, 7.5], "b": []}


def test_random_depends_on_seed_and_id_alone() -> None:
    truth = made_set(20)
    found = random_boundaries(truth, 8, seed=3)
    assert all(
        len(times) == 8 and times == sorted(times) and times[0] >= 0 and times[-1] <= 10 for times in found.values()
    )
    assert random_boundaries({"v7": truth["v7"]}, 8, seed=3) == {"v7": found["v7"]}
    assert random_boundaries(truth, 8, seed=4) != found and found["v1"] != found["v2"]
    matched = random_boundaries(truth, {"v1": [1.0, 2.0], "v2": [], "x": [1.0]})
    assert {key: len(times) for key, times in matched.items()} == {"v1": 2, "v2": 0}
    every = np.concatenate(list(random_boundaries(made_set(200), 50).values()))
    assert abs(np.histogram(every, 10, (0, 10))[0] - 1000).max() < 150
    with pytest.raises(UsageError, match="0 boundaries or more"):
        random_boundaries(truth, -1)


def test_leave_one_rater_out_judges_a_rater_by_the_others() -> None:
    truth = {
        "a": made.processed_entry([1.0], [2.0, 3.0], [4.0], f1_consis=[0.1, 0.2, 0.3]),
        "b": made.processed_entry([5.0]),
    }
    found = leave_one_rater_out(truth, rater=1)
    assert found.predictions == {"a": [2.0, 3.0]}
    rest = found.annotations["a"]
    assert rest.rater_seconds == ((1.0,), (4.0,)) and rest.consistency == (0.1, 0.3)
    assert rest.rater_frames == ((25.0,), (100.0,)) and rest.consistency_average == 0.5
    assert found.annotations.left_out == {"b": "marked by 1 raters, too few to leave one out"}
    assert leave_one_rater_out(truth, rater=3).predictions == {}


def test_leave_one_rater_out_draws_a_rater_for_every_video() -> None:
    truth = made_set(90)
    found = leave_one_rater_out(truth, seed=1)
    again, other = (leave_one_rater_out(truth, seed=seed).predictions for seed in (1, 2))
    assert found.predictions == again != other
    drawn = [truth[name]["substages_timestamps"].index(times) for name, times in found.predictions.items()]
    assert min(drawn.count(n) for n in range(3)) > 15
    assert evaluate(found.predictions, found.annotations).f1[0.05] > 0.9


def test_compare_puts_every_baseline_beside_the_method() -> None:
    truth = made_set()
    method = {video_id: entry["substages_timestamps"][1] for video_id, entry in truth.items()}
    table = compare_with_baselines(method, truth, name="ours").table
    assert table.index.tolist() == [
        "ours", "uniform-5", "uniform-8", "uniform-9", "uniform-matched", "random-8", "random-matched", "human",
    ]  # fmt: skip
    assert table.loc["ours", "f1@0.05"] == 1.0 and (table["coverage"] == 1.0).all()
    assert (table["f1@0.05_low"] <= table["f1@0.05"]).all() and (table["f1@0.05"] <= table["f1@0.05_high"]).all()
    assert (table["average_f1_low"] <= table["average_f1_high"]).all()
    rivals = table.drop(index=["ours", "human"])
    assert (rivals["gain@0.05"] == 1.0 - rivals["f1@0.05"]).all() and (rivals["gain@0.05_low"] > 0).all()
    assert table.loc[["ours", "human"], "gain@0.05"].isna().all()
    assert table.loc["uniform-8", "boundaries_per_video"] == 8.0
    marks = sum(len(entry["substages_timestamps"][0]) for entry in truth.values()) / len(truth)
    assert table["marks_per_video"].tolist() == pytest.approx([marks] * len(table))
    assert f"a rater marks {marks:.1f} per video" in str(compare_with_baselines(method, truth, resamples=2))
    counts = table.loc[["ours", "uniform-matched", "random-matched"], "boundaries_per_video"]
    assert counts.nunique() == 1
    assert table.loc["uniform-5", "f1@0.05"] == evaluate(uniform(truth, 5), truth).f1[0.05]


def test_compare_passes_options_on_and_names_the_coverage() -> None:
    truth = made_set(30)
    method = {f"v{n}": [5.0] for n in range(15)}
    found = compare_with_baselines(method, truth, missing="skip", matching="optimal", uniform_counts=[1], resamples=50)
    assert {one.definition.name for one in found.evaluations.values()} == {"missing videos skipped, optimal matching"}
    assert found.table.loc[["method", "uniform-matched", "uniform-1"], "coverage"].tolist() == [0.5, 0.5, 1.0]
    assert found.table.loc["method", "predicted"] == 15 and "coverage" in str(found)


def test_compare_in_frames_turns_the_baselines_into_frames() -> None:
    truth = made_set(20)
    method = {video_id: entry["substages_myframeidx"][1] for video_id, entry in truth.items()}
    found = compare_with_baselines(method, truth, unit="frames", uniform_counts=[4])
    assert found.evaluations["method"].f1[0.05] == 1.0
    assert found.evaluations["uniform-4"].f1 == evaluate(in_frames(uniform(truth, 4), truth), truth, unit="frames").f1
    assert (
        found.table.loc["method", "boundaries_per_video"] == found.table.loc["uniform-matched", "boundaries_per_video"]
    )
    assert found.evaluations["human"].f1[0.05] > 0.9


def test_compare_without_several_raters_has_no_human_and_refuses_a_name_twice() -> None:
    truth = {"a": made.instance_entry(50, 100)}
    assert "human" not in compare_with_baselines({"a": [2.0]}, truth).evaluations
    with pytest.raises(UsageError, match="name of a baseline"):
        compare_with_baselines({"a": [2.0]}, truth, name="uniform-5")
