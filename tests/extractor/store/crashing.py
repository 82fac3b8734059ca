"""Processes that are killed, race and run out of disk: `python -m tests.extractor.store.crashing MODE FOLDER [ROUNDS]`.

Runs in its own process, so that it can fork many children cheaply. Prints what it found as one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from extractor.store import (
    Lease,
    StagingLog,
    commit_shard,
    committed,
    new_attempt,
    read_run,
    staged_items,
    write_inventory,
    write_manifest_cache,
)
from extractor.store.disk.atomic import is_temporary, write_bytes
from schemas.errors import StorageError
from schemas.layout import StorePaths, shard_name
from schemas.tensors import NetworkShape
from tests.extractor.store.boundaries import answer, forked, kill_at_writes, race_staging, stage_in
from tests.extractor.store.making import (
    item_arrays,
    item_clips,
    make_inventory,
    make_run,
    make_store,
    stage,
    write_run,
)


def kill_writers(folder: Path, rounds: int = 25) -> dict[str, Any]:
    """Kill the writer of a file that is rewritten all the time, again and again: how often was it not whole?"""
    rng = random.Random(0)
    path = folder / "file"
    write_bytes(path, b"0" * 100_000)
    torn = strange = 0

    def rewrite() -> str:
        for k in range(10**9):
            write_bytes(path, str(k % 10).encode() * 100_000)
        return ""

    for _ in range(rounds):
        pid, reader = forked(rewrite)
        time.sleep(rng.uniform(0.001, 0.03))
        os.kill(pid, signal.SIGKILL)
        answer(pid, reader)
        data = path.read_bytes()
        torn += len(data) != 100_000 or len(set(data)) != 1
        strange += sum(1 for other in folder.iterdir() if other != path and not is_temporary(other))
    return {"torn": torn, "strange": strange}


def kill_attempts(folder: Path, rounds: int = 20) -> dict[str, Any]:
    """Kill attempts at some shards at random moments; each continues from what is there. Is anything lost?"""
    rng = random.Random(1)
    shards = [[f"{s}/{k}.mp4" for k in range(4)] + [f"{s}/bad.mp4"] for s in range(max(3, rounds // 8))]
    paths = StorePaths(folder / "killed")
    paths.root.mkdir()
    run = write_run(paths, make_run())
    make_store(folder / "undisturbed", shards)

    def work() -> str:
        for index, video_ids in enumerate(shards):
            shard = shard_name(index)
            if shard in committed(paths):
                continue
            attempt = new_attempt(paths, run, shard, "token")
            there = staged_items(paths, run, shard)
            with StagingLog(attempt) as log:
                for video_id in video_ids:
                    if video_id not in there:
                        stage_in(log, run, video_id)
                commit_shard(attempt, video_ids)
        return "done"

    kept: set[str] = set()
    lost = 0
    for _ in range(rounds):
        pid, reader = forked(work)
        time.sleep(rng.uniform(0.0, 0.08))
        os.kill(pid, signal.SIGKILL)
        answer(pid, reader)
        done = {video_id for record in committed(paths).values() for video_id in record.video_ids}
        done |= {failure.video_id for record in committed(paths).values() for failure in record.failures}
        for index in range(len(shards)):
            done |= staged_items(paths, run, shard_name(index)).keys()
        lost += len(kept - done)
        kept = done
    said = answer(*forked(work))
    write_inventory(paths, make_inventory(shards))
    write_manifest_cache(paths)
    return {"lost": lost, "said": said}


def race_commits(folder: Path, rounds: int = 8) -> dict[str, Any]:
    """Three attempts commit one shard at once, from the same staging: who won, and what is left?"""
    outcomes: Counter[str] = Counter()
    leftovers = wrong = 0
    video_ids = ["a.mp4", "b.mp4"]
    for k in range(rounds):
        paths = StorePaths(folder / str(k))
        paths.root.mkdir()
        run = write_run(paths, make_run())
        shard = shard_name(0)
        first = new_attempt(paths, run, shard, "token")
        for video_id in video_ids:
            stage(first, video_id)
        attempts = [first, *(new_attempt(paths, run, shard, "token") for _ in range(2))]
        start = time.time() + 0.02

        def commit(attempt: Any, start: float = start) -> str:
            time.sleep(max(0.0, start - time.time()))
            return str(commit_shard(attempt, video_ids))

        children = [forked(lambda attempt=attempt: commit(attempt)) for attempt in attempts]
        answers = [answer(*child) for child in children]
        outcomes.update(answers)
        record = committed(paths)[shard]
        wrong += answers.count("won") != 1 or attempts[answers.index("won")].name != record.attempt
        leftovers += len(list(paths.shards.iterdir())) - 2 + len(list(paths.staging.rglob("*")))
    return {"outcomes": dict(outcomes), "wrong": wrong, "leftovers": leftovers}


def race_leases(folder: Path, rounds: int = 10, takers: int = 4) -> dict[str, Any]:
    """A holder is killed and several processes take over at once: how many hold the store at a time?"""
    counts: Counter[int] = Counter()
    errors: Counter[str] = Counter()
    paths = StorePaths(folder)
    rng = random.Random(2)
    for _ in range(rounds):
        release_reader, release_writer = os.pipe()
        start = time.time() + 0.02

        def take(delay: float, start: float = start) -> str:
            time.sleep(max(0.0, start - time.time()) + delay)
            try:
                Lease(paths).__enter__()
            except StorageError:
                return "refused"
            return "held"

        def wait(release: int = release_reader) -> None:
            os.read(release, 1)  # until all have tried; then the holder dies without releasing

        delays = [rng.uniform(0, 0.003) for _ in range(takers)]
        children = [forked(lambda delay=delay: take(delay), wait) for delay in delays]
        answers = [os.read(reader, 2000).decode() for _, reader in children]
        os.write(release_writer, b"x" * takers)
        for child in children:
            answer(*child)
        os.close(release_reader)
        os.close(release_writer)
        counts[answers.count("held")] += 1
        errors.update(said for said in answers if said not in ("held", "refused"))
    return {"held": {str(k): v for k, v in counts.items()}, "errors": dict(errors)}


def fill_disk(folder: Path) -> dict[str, Any]:
    """Files may not grow beyond a limit while an item is staged, and then while its shard is committed."""
    paths = StorePaths(folder / "store")
    paths.root.mkdir()
    run = write_run(paths, make_run())
    attempt = new_attempt(paths, run, shard_name(0), "token")
    said = []

    def limited(limit: int, work: Callable[[], object]) -> None:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            work()
            said.append("nothing")
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    limited(20_000, lambda: stage(attempt, "a.mp4", clips=40))
    left = [*staged_items(paths, run, shard_name(0))]
    left += [path.name for path in paths.staging.rglob("*") if path.is_file() and path.stat().st_size]
    stage(attempt, "a.mp4", clips=40)
    limited(20_000, lambda: commit_shard(attempt, ["a.mp4"]))
    left += [path.name for path in paths.shards.iterdir()]
    status = str(commit_shard(attempt, ["a.mp4"]))
    assert len(item_arrays(run, 40, 0)["frames/index"]) == committed(paths)[shard_name(0)].rows["frames"]
    return {"said": said, "left": left, "status": status, "digest": read_run(paths).digest == run.digest}


def long_item(folder: Path, rounds: int = 1) -> dict[str, Any]:
    """Peak memory, in bytes, of staging and committing one item of `rounds` times 16 MB."""
    paths = StorePaths(folder / "store")
    paths.root.mkdir()
    run = write_run(paths, make_run(sampling="dense", outputs=("frame",), shape=NetworkShape(4096, 4096, 0, (5, 11))))
    attempt = new_attempt(paths, run, shard_name(0), "token")
    frames = 256
    block = {spec.path: np.ones((frames, *spec.shape), spec.dtype) for spec in run.datasets}
    with StagingLog(attempt) as log, log.item("long.mp4") as writer:
        for _ in range(8 * rounds):
            writer.append(block)
        last = {"frame_stop": 8 * rounds * frames, "pair_stop": 8 * rounds * frames - 1}
        writer.finish([item_clips(run, 1)[0] | last])
    assert commit_shard(attempt, ["long.mp4"]) == "won"
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


if __name__ == "__main__":
    modes = (kill_writers, kill_attempts, kill_at_writes, race_commits, race_staging, race_leases, fill_disk, long_item)
    given = {"rounds": int(sys.argv[3])} if len(sys.argv) > 3 else {}
    found = {mode.__name__: mode for mode in modes}[sys.argv[1]](Path(sys.argv[2]), **given)
    sys.stdout.write(json.dumps(found) + "\n")
