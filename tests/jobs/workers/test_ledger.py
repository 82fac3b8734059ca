from __future__ import annotations

from pathlib import Path

import pytest

from jobs.workers.ledger import Ledger
from schemas.errors import FailureClass
from schemas.layout import StorePaths

SHARD = "shard-00000"
CRASH = (FailureClass.EXTRACTOR_CRASHED, "the process died")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(StorePaths(tmp_path))


def crash(ledger: Ledger, *at_hand: str | None) -> None:
    for path in at_hand:
        ledger.crashed(SHARD, path, *CRASH)


def test_shard_without_a_crash_has_a_clean_history(ledger: Ledger) -> None:
    history = ledger.history(SHARD)
    assert (history.crashes, history.one_by_one, history.hopeless, history.poisonous()) == (0, False, False, ())


def test_files_are_not_suspected_before_they_run_one_by_one(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        history = ledger.crashed(SHARD, "/a.mp4", *CRASH)
        assert (history.crashes, history.suspects) == (number, [])
        assert history.one_by_one is (number == 3)


def test_file_that_was_alone_at_hand_twice_is_poisonous(ledger: Ledger) -> None:
    crash(ledger, None, None, "/innocent.mp4", "/poison.mp4", "/unlucky.mp4")
    assert ledger.history(SHARD).poisonous() == ()
    history = ledger.crashed(SHARD, "/poison.mp4", FailureClass.OUT_OF_MEMORY, "too much")
    ((path, error),) = history.poisonous()
    assert (path, error.failure, error.message) == ("/poison.mp4", FailureClass.OUT_OF_MEMORY, "too much")


def test_shard_that_crashes_without_a_culprit_is_given_up_in_the_end(ledger: Ledger) -> None:
    histories = [ledger.crashed(SHARD, None, *CRASH) for _ in range(10)]
    assert [history.hopeless for history in histories] == [False] * 9 + [True]


def test_shard_with_a_new_suspect_each_time_is_given_up_too(ledger: Ledger) -> None:
    """As when the device is broken, not a file."""
    histories = [ledger.crashed(SHARD, f"/{number}.mp4", *CRASH) for number in range(10)]
    assert [history.hopeless for history in histories] == [False] * 9 + [True]
    assert histories[-1].poisonous() == ()


def test_shard_of_many_poisonous_files_is_not_given_up(ledger: Ledger) -> None:
    crash(ledger, None, None, None, *(f"/{number // 2}.mp4" for number in range(30)))
    assert len(ledger.history(SHARD).poisonous()) == 15
    assert not ledger.history(SHARD).hopeless


def test_history_survives_the_run_and_shards_do_not_mix(ledger: Ledger, tmp_path: Path) -> None:
    crash(ledger, None, None, None, "/é 💥.mp4", "/é 💥.mp4")
    again = Ledger(StorePaths(tmp_path))
    assert again.history(SHARD) == ledger.history(SHARD)
    assert again.history(SHARD).poisonous()[0][0] == "/é 💥.mp4"
    assert again.history("shard-00001").crashes == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"crashes": "many"}', b"\xff\xfe"])
def test_unreadable_history_counts_as_none(content: bytes, ledger: Ledger, tmp_path: Path) -> None:
    ledger.crashed("shard-00000", None, *CRASH)
    next((tmp_path / "ledger").iterdir()).write_bytes(content)
    assert ledger.history("shard-00000").crashes == 0
    assert ledger.crashed("shard-00000", None, *CRASH).crashes == 1
