"""The log of a planning: torn, damaged, continued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from extractor.store import read_inventory, write_inventory, write_run
from extractor.store.check import check_store_files
from extractor.store.disk.append_only import encode_line
from extractor.store.planning import Decided, InventoryRows, PlanningLog, damaged_lines, read_log, remove_log
from extractor.store.tables import read_planned, read_table_columns
from schemas.errors import StorageError, StoreError
from schemas.layout import StorePaths
from schemas.manifest import INVENTORY_COLUMNS
from tests.extractor.store.making import make_run

DECIDED = Decided(1000, 2.5)


def shard(number: int, count: int = 2) -> dict[str, list[Any]]:
    names = [f"{number}/ü{k}.mp4" for k in range(count)]
    unknown = [None, 1.5] * count
    numbers = {"bytes": [-1] * count, "mtime_ns": [2**60] * count, "num_frames": [7] * count}
    return {
        "video_id": names,
        "path": names,
        **numbers,
        **dict.fromkeys(("fps", "duration_seconds", "start_seconds", "end_seconds"), unknown[:count]),
        "estimated_bytes": [9] * count,
        "shard": [f"shard-{number:05d}"] * count,
    }


@pytest.fixture
def paths(tmp_path: Path) -> StorePaths:
    found = StorePaths(tmp_path)
    write_run(found, make_run())
    return found


def logged(paths: StorePaths, *shards: int, kept: int | None = None, decided: bool = True) -> None:
    log = PlanningLog(paths, make_run().digest, kept)
    if decided:
        log.decide(DECIDED, 100)
    for number in shards:
        log.shard(shard(number), 98 - 2 * number)
    log.sync(now=True)
    log.close()


def test_rows_come_back_with_the_inventorys_columns_and_types(paths: StorePaths) -> None:
    logged(paths, 0, 1)
    found = read_log(paths)
    assert found is not None and (found.decided, found.left) == (DECIDED, 96)
    expected = InventoryRows()
    for number in (0, 1):
        expected.add(shard(number))
    pd.testing.assert_frame_equal(found.rows.frame(), expected.frame())
    assert {name: str(dtype) for name, dtype in found.rows.frame().dtypes.items()} == dict(INVENTORY_COLUMNS)
    assert found.rows.frame()["fps"].fillna(-1.0).tolist() == [-1.0, 1.5] * 2
    pd.testing.assert_frame_equal(read_inventory(paths), expected.frame())
    assert read_planned(paths)[1] == 96 and not len(read_table_columns(paths).columns)


def test_rows_of_many_shards_are_packed_and_stay_in_order() -> None:
    rows = InventoryRows()
    for number in range(3000):
        rows.add(shard(number))
    assert rows.frame()["video_id"].tolist() == [name for number in range(3000) for name in shard(number)["video_id"]]
    rows.add(shard(3000))
    assert rows.count == len(rows.frame()) == 6002


def test_log_that_is_cut_anywhere_keeps_its_whole_lines_and_goes_on(paths: StorePaths) -> None:
    logged(paths, 0, 1, 2)
    data = paths.planning.read_bytes()
    for length in range(len(data) + 1):
        paths.planning.write_bytes(data[:length])
        found = read_log(paths)
        assert found is not None
        whole = data[:length].count(b'"left"') - (data[:length].rfind(b"\n") < data[:length].rfind(b'"left"'))
        assert found.rows.count == 2 * max(0, whole - 1)
        assert not list(damaged_lines(paths))
        if length % 97 and length < len(data):
            continue
        shards = found.rows.frame()["shard"].unique().tolist()
        logged(paths, 3, kept=found.end, decided=found.decided is None)
        again = read_log(paths)
        assert again is not None and again.decided == DECIDED
        assert again.rows.frame()["shard"].unique().tolist() == [*shards, "shard-00003"]


def test_line_with_a_changed_bit_is_told_and_left_out(paths: StorePaths) -> None:
    logged(paths, 0, 1)
    data = bytearray(paths.planning.read_bytes())
    data[data.index(b"shard-00000")] ^= 1
    paths.planning.write_bytes(data)
    assert read_inventory(paths)["shard"].unique().tolist() == ["shard-00001"]
    (damage,) = check_store_files(paths, make_run(), deep=False)
    assert (damage.file, damage.shard) == ("inventory.log", "") and "is not as it was written" in damage.message


def test_log_of_another_run_is_left_out(paths: StorePaths) -> None:
    logged(paths, 0)
    found = read_log(paths, "0" * 64)
    assert found is not None and (found.rows.count, found.decided) == (0, None)


@pytest.mark.parametrize(
    "change",
    [
        {"left": -1},
        {"left": True},
        {"columns": {**shard(0), "bytes": [2**63, 1]}},
        {"columns": {**shard(0), "path": ["only one"]}},
        {"columns": {**shard(0), "video_id": ["a", None]}},
        {"columns": {name: values for name, values in shard(0).items() if name != "shard"}},
        {"columns": []},
        {"columns": None, "decided": {"shard_bytes": 1, "bytes_a_second": 0.0}},
        {"columns": None, "decided": {"shard_bytes": "many"}},
        {"digest": 5},
    ],
)
def test_foreign_line_is_left_out(change: dict[str, Any], paths: StorePaths) -> None:
    logged(paths, 1)
    sound = {"digest": make_run().digest, "columns": shard(0), "left": 1}
    with paths.planning.open("ab") as file:
        file.write(encode_line(sound | change))
    found = read_log(paths)
    assert found is not None and found.rows.frame()["shard"].unique().tolist() == ["shard-00001"]
    assert (found.decided, found.left) == (DECIDED, 96)


def test_log_that_is_removed_meanwhile_is_told(paths: StorePaths) -> None:
    log = PlanningLog(paths, make_run().digest, None)
    paths.planning.unlink()
    with pytest.raises(StorageError, match=r"inventory\.log until planning is through; it was removed"):
        log.sync()
    log.close()


def test_inventory_takes_the_place_of_the_log(paths: StorePaths) -> None:
    with pytest.raises(StoreError, match="stopped before planning"):
        read_inventory(paths)
    assert read_log(paths) is None
    logged(paths, 0)
    rows = InventoryRows()
    rows.add(shard(7))
    write_inventory(paths, rows.frame())
    assert read_inventory(paths)["shard"].unique().tolist() == ["shard-00007"] and read_planned(paths)[1] == 0
    remove_log(paths)
    assert read_log(paths) is None
