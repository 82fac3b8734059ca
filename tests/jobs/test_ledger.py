from __future__ import annotations

from pathlib import Path

import pytest

from jobs.ledger import CRASHES_BEFORE_ONE_BY_ONE, Ledger
from schemas.errors import FailureClass
from schemas.layout import StorePaths

CRASH = (FailureClass.EXTRACTOR_CRASHED, "the process died")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(StorePaths(tmp_path))


def test_shard_without_a_crash_has_a_clean_history(ledger: Ledger) -> None:
    history = ledger.history("shard-00000")
    assert (history.crashes, history.one_by_one, history.hopeless, history.errors()) == (0, False, False, ())


def test_files_are_not_suspected_before_they_run_one_by_one(ledger: Ledger) -> None:
    for crash in range(1, CRASHES_BEFORE_ONE_BY_ONE + 1):
        history = ledger.crashed("shard-00000", "/a.mp4", *CRASH)
        assert (history.crashes, history.poisonous) == (crash, [])
        assert history.one_by_one is (crash == 3)


def test_file_that_was_alone_at_hand_is_poisonous(ledger: Ledger) -> None:
    for _ in range(CRASHES_BEFORE_ONE_BY_ONE):
        ledger.crashed("shard-00000", "/innocent.mp4", *CRASH)
    history = ledger.crashed("shard-00000", "/poison.mp4", FailureClass.OUT_OF_MEMORY, "too much")
    assert history.crashes == CRASHES_BEFORE_ONE_BY_ONE
    ((path, error),) = history.errors()
    assert (path, error.failure, error.message) == ("/poison.mp4", FailureClass.OUT_OF_MEMORY, "too much")


def test_shard_that_crashes_without_a_suspect_is_given_up_in_the_end(ledger: Ledger) -> None:
    histories = [ledger.crashed("shard-00000", None, *CRASH) for _ in range(10)]
    assert [history.hopeless for history in histories] == [False] * 9 + [True]


def test_history_survives_the_run_and_shards_do_not_mix(ledger: Ledger, tmp_path: Path) -> None:
    for _ in range(4):
        written = ledger.crashed("shard-00001", "/é 💥.mp4", *CRASH)
    again = Ledger(StorePaths(tmp_path))
    assert again.history("shard-00001") == written
    assert again.history("shard-00001").errors()[0][0] == "/é 💥.mp4"
    assert again.history("shard-00000").crashes == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"crashes": "many"}', b"\xff\xfe"])
def test_unreadable_history_counts_as_none(content: bytes, ledger: Ledger, tmp_path: Path) -> None:
    ledger.crashed("shard-00000", None, *CRASH)
    next((tmp_path / "ledger").iterdir()).write_bytes(content)
    assert ledger.history("shard-00000").crashes == 0
    assert ledger.crashed("shard-00000", None, *CRASH).crashes == 1
