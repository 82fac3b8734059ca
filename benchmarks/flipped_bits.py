"""One flipped bit at random places of every kind of file of a store: how readers, `verify` and `resume` react.

    python -m benchmarks.flipped_bits [--count 2000] [--seed 0]

Stores of all three compressions have committed, failed, staged, retired and crashed videos. After each flip, all that
commands read of a store must be as before, or end in one of our errors. `verify --deep` must name the file. Then
the store is repaired as `resume` does before it extracts: all must read as before, except for videos of shards that
were taken out and wait to be extracted again. Exit code 1 if any of that fails. Logs are left out: nothing reads them.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from extractor.store import FeatureStore, Lease, StagingLog, read_inventory, read_run, write_manifest_cache
from extractor.store.commits.commit import retire
from extractor.store.commits.lease import holders
from extractor.store.commits.staged_rows import DamagedItemError
from extractor.store.commits.staging import new_attempt, staged_items
from extractor.store.disk.sealed import mend
from jobs.stores.status import store_status
from jobs.stores.verify import verify_store
from jobs.workers.ledger import Ledger
from schemas.errors import FailureClass, MSNetError
from schemas.layout import StorePaths
from schemas.records import Failure
from tests.extractor.store.making import item_arrays, item_clips, make_store, staged_rows

__all__ = ["KINDS", "main", "make", "try_flip"]

KINDS = {
    "run": "run.json",
    "inventory": "inventory.parquet",
    "manifest": "manifest.parquet",
    "failures": "failures.parquet",
    "index": "clips.index",
    "records' cache": "commits.parquet",
    "copies": "copies/*",
    "commit records": "commits/*.json",
    "fragments": "shards/*.parquet",
    "shards": "shards/*.h5",
    "staged records": "staging/*/*/*.items",
    "staged rows": "staging/*/*/*.rows",
    "crashes": "ledger/*.json",
    "leases": "leases/*.json",
    "retired": "retired/*.json",
}
SHARDS = (("a.mp4", "b.mp4", "bad.mp4"), ("c/d.mp4", "e.mp4"), ("f.mp4",))
UNFINISHED = ("g.mp4", "bad-h.mp4", "i.mp4")
FAULTS = ("wrong value", "traceback", "not named", "not repaired")


def make(root: Path, compression: str) -> StorePaths:
    """An interrupted store that holds every kind of file."""
    paths = make_store(root, (*SHARDS, UNFINISHED), compression=compression)
    run = read_run(paths)
    retire(paths, "shard-00003")
    for path in paths.shards.glob("shard-00003.*"):
        path.unlink()
    attempt = new_attempt(paths, run, "shard-00003", "token")
    with StagingLog(attempt) as log:
        with log.item("g.mp4") as writer:
            writer.append(item_arrays(run, 2, 0))
            writer.finish(item_clips(run, 2))
        log.fail(Failure("bad-h.mp4", FailureClass.CORRUPT, "bad-h.mp4 is broken"))
    Ledger(paths).crashed("shard-00003", None, FailureClass.EXTRACTOR_CRASHED, "the extractor's process died")
    write_manifest_cache(paths)
    Lease(paths).__enter__()  # a run that was killed leaves its lease
    return paths


def _readings(paths: StorePaths) -> dict[str, Callable[[], Any]]:
    """Readers of everything that commands read of a store."""

    def staged() -> dict[str, Any]:
        found: dict[str, Any] = {}
        run = read_run(paths)
        for video_id, item in staged_items(paths, run, "shard-00003").items():
            found[video_id] = item.failure
            if item.failure is None:
                try:
                    rows, columns = staged_rows(run, item)
                    found[video_id] = {path: array.tobytes() for path, array in rows.items()}, columns
                except DamagedItemError:
                    del found[video_id]  # set aside by the commit that finds it
        return found

    def tensors(video_id: str) -> Any:
        with closing(FeatureStore(paths.root)) as store:
            return {name: rows.tobytes() for name, rows in store.video(video_id).items()}

    readings: dict[str, Callable[[], Any]] = {
        "run": lambda: read_run(paths),
        "inventory": lambda: read_inventory(paths).to_json(),
        "manifest": lambda: _table(paths, "manifest"),
        "failures": lambda: _table(paths, "failures"),
        "crashes": lambda: Ledger(paths).history("shard-00003"),
        "staged": staged,
        "holders": lambda: [holder.token for holder in holders(paths)],
        "status": lambda: {**_fields_of(store_status(paths.root)), "at_work": None},
    }
    for video_id in (video_id for shard in SHARDS for video_id in shard if "bad" not in video_id):
        readings[video_id] = lambda video_id=video_id: tensors(video_id)
    return readings


def _table(paths: StorePaths, name: str) -> str:
    return str(getattr(FeatureStore(paths.root), name).to_json())


def _fields_of(value: Any) -> dict[str, Any]:
    """Fields of a dataclass with slots."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _read(paths: StorePaths) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, read in _readings(paths).items():
        try:
            found[name] = read()
        except MSNetError as error:
            found[name] = error
        except Exception:
            found[name] = traceback.format_exc()
    return found


def _wrong(kind: str, expected: dict[str, Any], found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Faults in what was read after a flip. Losing an unfinished run's file is none: fewer staged items, no history."""
    for name, value in found.items():
        if isinstance(value, str) and value.startswith("Traceback"):
            yield "traceback", f"{name}: {value}"
        elif isinstance(value, MSNetError) or value == expected[name] or _is_less(kind, name, value, expected):
            continue
        else:
            yield "wrong value", f"{name}: {str(value)[:200]}"


def _is_less(kind: str, name: str, value: Any, expected: dict[str, Any]) -> bool:
    """Whether a damaged file of an unfinished run is treated as a missing one."""
    if kind in ("staged records", "staged rows"):
        if name == "staged":
            return all(value[video_id] == expected[name][video_id] for video_id in value)
        return name == "status" and value["standing"].settled == expected[name]["standing"].settled - 1
    return (kind == "crashes" and name == "crashes" and value.crashes == 0) or (kind == "leases" and name == "holders")


def try_flip(paths: StorePaths, kind: str, path: Path, bit: int, expected: dict[str, Any]) -> list[tuple[str, str]]:
    """Flip one bit of a file; returns faults as (one of FAULTS, text). The store cannot be used afterwards."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    name = path.relative_to(paths.root).as_posix()
    faults = list(_wrong(kind, expected, _read(paths)))
    try:
        report = verify_store(paths.root, deep=True, retire_damaged=False)
        if {damage.file for damage in report.damages} != {name}:
            faults.append(("not named", f"{name}: {[damage.file for damage in report.damages]}"))
        faults += _mended(paths, kind, expected)
    except Exception:
        faults.append(("traceback", traceback.format_exc()))
    return faults


def _mended(paths: StorePaths, kind: str, expected: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Faults that remain after `verify` and after what `resume` does before and after its extraction."""
    for path in paths.leases.glob("*.json"):  # the killed run's, or one that nobody can read
        path.unlink()
    retired = verify_store(paths.root, deep=True, retire_damaged=True).retired
    mend(paths)
    write_manifest_cache(paths)
    report = verify_store(paths.root, deep=True)
    left = {damage.file.split("/")[0] for damage in report.damages} - {"staging", "ledger", "retired"}
    if left or bool(retired) is not (kind in ("shards", "fragments", "commit records")):
        yield "not repaired", f"{left}, taken out: {retired}"
    gone = {video_id for shard in retired for video_id in SHARDS[int(shard.split("-")[1])]}
    for name, value in _read(paths).items():
        if name in gone or (retired and name in ("manifest", "failures", "status")) or name == "holders":
            continue
        if value != expected[name] and not _is_less(kind, name, value, expected):
            yield "not repaired", f"{name}: {str(value)[:300]}"


def main() -> None:
    """Flip bits and print the faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    tried: Counter[str] = Counter()
    faults: defaultdict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as folder:
        stores = {}
        for compression in ("none", "gzip", "zstd"):
            paths = make(Path(folder) / compression, compression)
            stores[compression] = (paths, _read(paths))
        for number in range(options.count):
            kind = tuple(KINDS)[number % len(KINDS)]
            sound, expected = stores[rng.choice(tuple(stores))]
            paths = StorePaths(Path(folder) / "flipped")
            shutil.copytree(sound.root, paths.root)
            path = rng.choice(sorted(paths.root.glob(KINDS[kind])))
            bit = rng.randrange(8 * path.stat().st_size)
            tried[kind] += 1
            for fault, text in try_flip(paths, kind, path, bit, expected):
                faults[kind][fault] += 1
                print(f"{number}: {kind}, {path.name}, bit {bit}: {fault}: {text}", file=sys.stderr)
            shutil.rmtree(paths.root)
    print(f"{'kind':<16} {'flips':>6} " + " ".join(f"{fault:>12}" for fault in FAULTS))
    for kind, count in tried.items():
        print(f"{kind:<16} {count:>6} " + " ".join(f"{faults[kind][fault]:>12}" for fault in FAULTS))
    print(f"{'all':<16} {tried.total():>6} " + " ".join(f"{sum(f[x] for f in faults.values()):>12}" for x in FAULTS))
    sys.exit(1 if any(found.total() for found in faults.values()) else 0)


if __name__ == "__main__":
    main()
