from __future__ import annotations

import threading
from functools import partial

import pytest

from jobs.run.planning import ShardSupply
from jobs.workers.driver import PlannedShard
from schemas.errors import StorageError


def maker(name: str) -> partial[PlannedShard]:
    return partial(PlannedShard, name, (), 1)


def taken(supply: ShardSupply) -> list[str]:
    found = []
    while (shard := supply.take()) is not None:
        found.append(shard.name)
    return found


def test_supply_hands_out_what_it_has_and_then_what_comes() -> None:
    supply = ShardSupply([maker("a"), maker("b")], open=True)
    assert taken(supply) == ["a", "b"]
    assert not supply.ended  # none yet, but more may come
    supply.put([maker("c")])
    supply.end()
    assert not supply.ended and len(supply) == 1
    assert taken(supply) == ["c"]
    assert supply.ended


def test_supply_that_is_closed_hands_out_nothing() -> None:
    supply = ShardSupply([maker("a")], open=True)
    supply.close()
    supply.put([maker("b")])
    assert supply.take() is None and supply.ended


def test_end_is_waited_for_no_longer_than_asked() -> None:
    supply = ShardSupply(open=True)
    assert not supply.wait_for_end(0.0)
    thread = threading.Thread(target=supply.end)
    thread.start()
    assert supply.wait_for_end(60.0)
    thread.join()
    assert ShardSupply().wait_for_end(0.0)


def test_error_of_planning_is_raised_to_whoever_asks() -> None:
    supply = ShardSupply([maker("a")], open=True)
    supply.end(StorageError("the disk is full"))
    for ask in (supply.take, lambda: supply.ended, lambda: supply.wait_for_end(1.0)):
        with pytest.raises(StorageError, match="the disk is full"):
            ask()
