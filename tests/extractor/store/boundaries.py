"""Attempts that are killed at every call that changes a file, and attempts that stage while another one commits.

Modes of `tests.extractor.store.crashing`, which runs them in its own process.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from extractor.store import (
    FeatureStore,
    StagingLog,
    commit_shard,
    committed,
    new_attempt,
    staged_items,
    sweep,
    write_inventory,
)
from extractor.store.commits.run import Run
from extractor.store.commits.staging import Attempt
from schemas.errors import FailureClass
from schemas.layout import StorePaths, shard_name
from schemas.records import Failure
from tests.extractor.store.making import item_arrays, item_clips, make_inventory, make_run, make_store, write_run

CALLS = ("open", "pwrite", "ftruncate", "fsync", "mkdir", "link", "rename", "replace", "unlink", "rmdir")
VIDEO_IDS = ("a.mp4", "bad.mp4", "b.mp4")


def forked(work: Callable[[], str], then: Callable[[], object] = lambda: None) -> tuple[int, int]:
    """Fork a child; returns (pid, read end of a pipe for its answer). The child calls `then` after it has answered."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            os.write(writer, work().encode())
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode()[:2000])
        then()
        os._exit(0)
    os.close(writer)
    return pid, reader


def answer(pid: int, reader: int) -> str:
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(pid, 0)
    return said


def stage_in(log: StagingLog, run: Run, video_id: str) -> None:
    """Stage an item of seeded numbers, or the failure of a bad one."""
    if "bad" in video_id:
        log.fail(Failure(video_id, FailureClass.CORRUPT, f"{video_id} is broken", 2, 0.5))
        return
    with log.item(video_id) as writer:
        writer.append(item_arrays(run, 2, sum(video_id.encode())))
        writer.finish(item_clips(run, 2))


def finish(attempt: Attempt, video_ids: Sequence[str], tell: int | None = None) -> str:
    """Stage what is missing and commit; writes a line to `tell` for all that is durable."""
    there = staged_items(attempt.paths, attempt.run, attempt.shard)
    with StagingLog(attempt) as log:
        for video_id in video_ids:
            if video_id not in there:
                stage_in(log, attempt.run, video_id)
                log.sync()
                if tell is not None:
                    os.write(tell, f"{video_id}\n".encode())
        return str(commit_shard(attempt, video_ids))


def die_at(number: int) -> None:
    """Kill this process at its call with this number, from 0; a write is done by half."""
    calls = iter(range(number))

    def deadly(name: str, real: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if next(calls, None) is None:
                if name == "pwrite":
                    real(args[0], args[1][: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)

        return call

    for name in CALLS:
        setattr(os, name, deadly(name, getattr(os, name)))


def told_before_death(attempt: Attempt, number: int) -> list[str]:
    """What an attempt told of itself until it was killed at a call; "won" at the end if it was not."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        die_at(number)
        said = finish(attempt, VIDEO_IDS, writer)
        os.write(writer, f"{said}\n".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read().splitlines()
    os.waitpid(pid, 0)
    return told


def kill_at_writes(folder: Path, rounds: int = 1) -> dict[str, Any]:
    """Kill an attempt at every `rounds`-th call that changes a file: is what it told there, and can another go on?"""
    wanted = content(make_store(folder / "wanted", [VIDEO_IDS]))
    lost = unequal = leftovers = kills = 0
    for number in range(0, 10**6, rounds):
        paths = StorePaths(folder / str(number))
        paths.root.mkdir()
        run = write_run(paths, make_run())
        write_inventory(paths, make_inventory([VIDEO_IDS]))
        told = told_before_death(new_attempt(paths, run, shard_name(0), "token"), number)
        if told[-1:] == ["won"]:
            break
        kills += 1
        records = committed(paths).values()
        done = {video_id for record in records for video_id in record.video_ids}
        done |= {failure.video_id for record in records for failure in record.failures}
        lost += len(set(told) - done - staged_items(paths, run, shard_name(0)).keys())
        if not done:
            finish(new_attempt(paths, run, shard_name(0), "token"), VIDEO_IDS)
        unequal += content(paths) != wanted
        sweep(paths, "token")
        leftovers += len(list(paths.shards.iterdir())) - 2 + len(list(paths.staging.rglob("*")))
    return {"lost": lost, "unequal": unequal, "leftovers": leftovers, "enough": kills * rounds > 60}


def content(paths: StorePaths) -> Any:
    with closing(FeatureStore(paths.root)) as store:
        rows = {v: {name: rows.tobytes() for name, rows in store.video(v).items()} for v in store.video_ids}
        return rows, store.failures.drop(columns="shard").to_dict("records")


def race_staging(folder: Path, rounds: int = 8) -> dict[str, Any]:
    """Two attempts stage and commit one shard, one of them later: does the later one end well, and is nothing left?"""
    rng = random.Random(3)
    unequal = leftovers = 0
    outcomes = set()
    wanted = content(make_store(folder / "wanted", [VIDEO_IDS]))
    for k in range(rounds):
        paths = StorePaths(folder / str(k))
        paths.root.mkdir()
        run = write_run(paths, make_run())
        write_inventory(paths, make_inventory([VIDEO_IDS]))
        told = []
        for delay in (0.0, rng.uniform(0.0, 0.05)):
            attempt = new_attempt(paths, run, shard_name(0), "token")
            told.append(forked(lambda attempt=attempt, delay=delay: late(attempt, delay)))
        said = [answer(*child) for child in told]
        outcomes.add(" ".join(sorted(said)))
        unequal += content(paths) != wanted
        sweep(paths, "token")
        leftovers += len(list(paths.shards.iterdir())) - 2 + len(list(paths.staging.rglob("*")))
    return {"outcomes": sorted(outcomes), "unequal": unequal, "leftovers": leftovers}


def late(attempt: Attempt, delay: float) -> str:
    """Stage all items, a moment apart, and commit."""
    with StagingLog(attempt) as log:
        time.sleep(delay)
        for video_id in VIDEO_IDS:
            stage_in(log, attempt.run, video_id)
            log.sync()
            time.sleep(0.005)
        return str(commit_shard(attempt, VIDEO_IDS))
