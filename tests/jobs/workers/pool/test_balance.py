from __future__ import annotations

import pytest

from jobs.workers.pool.balance import Balance


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def run(waiting: float, ahead: float, seconds: float, decoders: int = 8) -> list[int]:
    """Changes over some seconds in which the device waits for a share of the time, and decoders are ahead."""
    clock = Clock()
    balance = Balance(clock)
    changes = []
    turns = round(seconds * 100)
    for turn in range(turns):
        clock.now = turn / 100
        balance.look(0.01 * waiting, turn % 100 < 100 * ahead)
        change, reason = balance.change(decoders)
        if change:
            assert reason
            changes.append(change)
            decoders += change
    return changes


def test_a_device_that_waits_gets_decoders() -> None:
    assert run(waiting=0.5, ahead=0.0, seconds=6.0) == [8]
    assert run(waiting=0.2, ahead=0.0, seconds=11.0) == [2, 3]
    assert run(waiting=0.2, ahead=0.0, seconds=6.0, decoders=1) == [1]
    assert run(waiting=0.99, ahead=0.0, seconds=11.0) == [8, 16], "no more than twice as many at a time"


@pytest.mark.parametrize(("needed", "seconds"), [(20, 15), (40, 25), (63, 25)])
def test_decoders_grow_until_the_device_no_longer_waits(needed: int, seconds: int) -> None:
    clock, decoders = Clock(), 16
    balance = Balance(clock)
    for turn in range(seconds * 100):
        clock.now = turn / 100
        balance.look(0.01 * max(0.0, 1 - decoders / needed), False)
        decoders += balance.change(decoders)[0]
    assert 0.9 * needed <= decoders <= 1.1 * needed + 1


def test_decoders_that_stay_ahead_are_given_up_slowly() -> None:
    assert run(waiting=0.0, ahead=1.0, seconds=12.0) == []
    assert run(waiting=0.0, ahead=1.0, seconds=16.0) == [-1]


@pytest.mark.parametrize(("waiting", "ahead"), [(0.0, 0.5), (0.05, 0.0), (0.09, 0.9)])
def test_what_is_balanced_is_left_alone(waiting: float, ahead: float) -> None:
    assert run(waiting, ahead, seconds=60.0) == []
