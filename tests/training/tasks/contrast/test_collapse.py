"""A collapse is told once, after so many steps in a row."""

from __future__ import annotations

import math

from training.tasks.contrast.collapse import CollapseWatch, LossAtChance

FINE = {"clip": LossAtChance(1.0, math.log(65))}
IDLE = {"clip": LossAtChance(math.log(65), math.log(65))}


def test_embeddings_that_are_alike_are_told_once() -> None:
    watch = CollapseWatch(3)
    told = [watch.see({"clip": 0.001}, FINE) for _ in range(9)]
    assert [sentence is not None for sentence in told] == [False, False, True] + [False] * 6
    assert told[2] is not None and "collapsed" in told[2] and "spread 0.001" in told[2] and told[2] == watch.told


def test_a_loss_at_chance_is_told() -> None:
    watch = CollapseWatch(2)
    assert watch.see({"clip": 0.5}, IDLE) is None
    sentence = watch.see({"clip": 0.5}, IDLE)
    assert sentence is not None and "the loss clip has been that of guessing for 2 steps (4.174 of 4.174)" in sentence


def test_a_good_step_between_begins_the_count_anew() -> None:
    watch = CollapseWatch(3)
    for spread in (0.001, 0.001, 0.5, 0.001, 0.001):
        assert watch.see({"clip": spread}, FINE) is None
    assert watch.see({"clip": 0.001}, FINE) is not None


def test_the_count_survives_a_resume() -> None:
    watch, other = CollapseWatch(2), CollapseWatch(2)
    watch.see({"clip": 0.001}, FINE)
    other.load_state_dict(watch.state_dict())
    assert other.see({"clip": 0.001}, FINE) is not None
    third = CollapseWatch(2)
    third.load_state_dict(other.state_dict())
    assert third.see({"clip": 0.001}, FINE) is None and third.told == other.told
