from __future__ import annotations

import io
import re
import signal
import sys
from pathlib import Path

import pytest

from extractor.pipeline.messages import ItemDone
from extractor.store import FeatureStore, commit_shard, new_attempt, write_inventory, write_manifest_cache, write_run
from extractor.store.commits.run import Run
from extractor.store.tables import read_inventory
from jobs.cli.display import TerminalWatcher
from jobs.cli.results.summaries import print_outcome
from jobs.cluster.devices import Workers
from jobs.cluster.placement import Placement
from jobs.run.outcome import Outcome
from jobs.stores.standing import Standing, of_part, standing
from jobs.workers.events import ShardProgress
from schemas.errors import FailureClass
from schemas.layout import StorePaths, shard_name
from schemas.records import Failure
from tests.extractor.store.making import fail, make_inventory, make_run, stage
from tests.jobs.conftest import Call
from tests.jobs.running import SMALL, Running, msnet
from tests.videos import write_video

SHARDS = (("a.mp4", "bad.mp4"), ("c.mp4", "d.mp4", "bad2.mp4", "e.mp4"), ("f.mp4",))
WORKERS = Placement((Workers(1, 2, 1, 0, 16),))


@pytest.fixture
def interrupted(tmp_path: Path) -> tuple[StorePaths, Run]:
    """One shard committed, one with two videos staged and one failed, one not begun."""
    paths = StorePaths(tmp_path / "store")
    paths.root.mkdir()
    run = write_run(paths, make_run())
    write_inventory(paths, make_inventory(SHARDS))
    first = new_attempt(paths, run, shard_name(0), "token")
    stage(first, "a.mp4")
    fail(first, "bad.mp4")
    commit_shard(first, SHARDS[0])
    write_manifest_cache(paths)
    second = new_attempt(paths, run, shard_name(1), "token")
    stage(second, "c.mp4", clips=3)
    stage(second, "d.mp4")
    fail(second, "bad2.mp4", FailureClass.TRUNCATED)
    return paths, run


def test_every_video_stands_in_one_place(interrupted: tuple[StorePaths, Run]) -> None:
    found = standing(*interrupted)
    assert (found.done, found.left, found.staged) == (1, 2, {"c.mp4", "d.mp4"})
    assert found.failed == {
        "bad.mp4": ("corrupt", "bad.mp4 is broken"),
        "bad2.mp4": ("truncated", "bad2.mp4 is broken"),
    }
    assert (found.videos, found.settled, found.clips, found.shards_left) == (7, 5, 2, 2)
    assert str(found) == "1 done, 2 failed, 2 staged, 2 left, of 7 videos"


def test_parts_stand_apart_and_add_up(interrupted: tuple[StorePaths, Run]) -> None:
    paths, run = interrupted
    whole, inventory = standing(paths, run), read_inventory(paths)
    parts = [standing(paths, run, of_part(inventory, (part, 2))) for part in range(2)]
    assert [part.videos for part in parts] == [3, 4]
    assert sum(part.clips for part in parts) == whole.clips
    assert parts[0].failed | parts[1].failed == whole.failed
    empty = standing(paths, run, of_part(inventory, (4, 5)))
    assert (empty.videos, empty.shards_left) == (0, 0)


def numbers(text: str) -> dict[str, int]:
    """What a command says of done, failed, staged and left: "videos done  3", or "3 done"."""
    found = {}
    for name in ("done", "failed", "staged", "left"):
        match = re.search(rf"videos {name} +(\d+)", text) or re.search(rf"(\d+) {name}", text)
        found[name] = int(match[1]) if match else 0
    return found


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_table_status_and_report_tell_the_same_numbers(
    interrupted: tuple[StorePaths, Run],
    call: Call,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a run that did all of the interrupted store but its first shard, of another that has nothing to do."""
    paths, run = interrupted
    before = standing(paths, run, read_inventory(paths).iloc[:2])
    everything = standing(paths, run)
    outcome = Outcome(WORKERS, Standing(before.done, before.failed, left=everything.left + len(everything.staged) + 1))
    terminal = Terminal()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal)
        patched.setenv("COLUMNS", "100")
        watcher = TerminalWatcher()
        watcher.begin(outcome)
        done = (ItemDone("c.mp4", 3, 12), ItemDone("d.mp4", 2, 8), Failure("bad2.mp4", FailureClass.TRUNCATED, ""))
        for result in (*done, done[0]):  # made anew, as what was staged first was damaged
            outcome.add(ShardProgress("shard-00001", "x", finished=(result,)))
            watcher.update(outcome)
        watcher._bar.refresh()
        watcher.end()
    outcome.end(everything)
    outcome.interrupted = True
    last = [line for line in terminal.getvalue().split("\r") if "extracting" in line][-1]
    assert "extracting 5/7 |" in last and "failed=2" in last
    print_outcome(outcome, paths.root)
    said = capsys.readouterr().out
    assert "this run: 3 extracted, 1 failed; " in said
    assert not re.search(r"\d done", said), "`done` is what readers see"
    assert "resume" not in said, "the end of the command names the one way to continue"
    told = numbers(said)
    assert told == {"done": 1, "failed": 2, "staged": 2, "left": 2}
    for command in ("status", "report"):
        code, out, _ = call(command, paths.root)
        assert (code, numbers(out)) == (0, told), out
    again = Outcome(WORKERS, everything)
    assert (again.settled, again.failed_so_far, again.exit_code) == (5, 2, 1)
    TerminalWatcher().begin(again)
    assert numbers(capsys.readouterr().err) == told


def test_report_names_failed_videos_of_shards_that_are_not_committed(
    interrupted: tuple[StorePaths, Run], call: Call
) -> None:
    _, out, _ = call("report", interrupted[0].root)
    lines = out.splitlines()
    assert "  bad.mp4: bad.mp4 is broken" in lines and "  bad2.mp4: bad2.mp4 is broken" in lines
    said = " ".join(out.split())
    assert (
        f"to continue: msnet resume {interrupted[0].root}; then, of those that failed: corrupt, truncated: the" in said
    )
    assert "try again" not in said


@pytest.mark.parametrize(
    ("failed", "offered"),
    [
        ({"a": "corrupt", "b": "too_short", "c": "no_video_stream"}, None),
        ({"a": "timed_out", "b": "missing"}, "them again: {} missing,timed_out"),
        ({"a": "corrupt", "b": "changed"}, "those that are changed again: {} changed"),
        ({"a": "of another version"}, "them again: {} of another version"),
        ({}, None),
    ],
)
def test_another_try_is_offered_where_it_may_end_otherwise(
    failed: dict[str, str], offered: str | None, store: StorePaths, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = Outcome(WORKERS, Standing(done=1, failed={name: (of, "") for name, of in failed.items()}))
    print_outcome(outcome, store.root)
    said = " ".join(capsys.readouterr().out.split())
    assert ("failed videos: msnet report" in said) == bool(failed)
    assert ("--retry-failed" in said) == (offered is not None)
    if offered is not None:
        assert said.endswith(f"to try {offered.format(f'msnet resume {store.root} --retry-failed')}")


def test_report_of_a_store_without_its_inventory(store: StorePaths, call: Call) -> None:
    store.inventory.unlink()
    code, out, _ = call("report", store.root)
    assert (code, out.splitlines()[0]) == (0, "4 done, 1 failed, of 5 videos; 8 clips")


@pytest.mark.parametrize("again_done", [True, False])
def test_a_video_of_two_shards_is_counted_once(store: StorePaths, again_done: bool) -> None:
    """A failed video was tried again in a new shard; its first shard was extracted again with it, or will be."""
    run = FeatureStore(store.root).run
    ids = ["a.mp4", "b.mp4", "bad.mp4"]
    write_inventory(store, make_inventory([ids, ["c/d.mp4", "e.mp4"], ["bad.mp4"]]), replace=True)
    retry = new_attempt(store, run, shard_name(2), "token")
    stage(retry, "bad.mp4", clips=5)
    commit_shard(retry, ["bad.mp4"])
    store.commit(shard_name(0)).unlink()
    if again_done:
        attempt = new_attempt(store, run, shard_name(0), "token")
        for video_id in ids:
            stage(attempt, video_id)
        commit_shard(attempt, ids)
    found = standing(store, run)
    write_manifest_cache(store)
    features = FeatureStore(store.root)
    assert found.clips == len(features.manifest) and found.done == len(features.video_ids)
    assert (found.done, found.left, found.videos) == ((5, 0, 5) if again_done else (3, 2, 5))
    assert not found.failed


@pytest.mark.ray
@pytest.mark.slow
def test_interrupted_extraction_is_told_alike_everywhere(tmp_path: Path, call: Call) -> None:
    """With shards that are committed, one that is half done, a video that failed in it, and others."""
    for number in range(16):
        write_video(tmp_path / "videos" / f"v{number:02d}.mp4", frames=100, size=(96, 128), seed=number)
        if number % 3 == 0:
            (tmp_path / "videos" / f"v{number:02d}x.mp4").write_text("not a video" * 100)
    store = tmp_path / "store"
    workers = ("--extractors", "1", "--decoders", "1", "--shard-bytes", "280kB")
    run = Running("extract", tmp_path / "videos", "--out", store, *SMALL, *workers)
    run.wait_for(lambda: list(store.glob("commits/*.json")) and any(store.glob("staging/*/*/*.items")))
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130, run.err
    assert len(re.findall("to continue", run.out + run.err)) == 1
    told = numbers(run.out)
    assert sum(told.values()) == 22 and told["done"] and told["left"], run.out
    for command in ("status", "report"):
        assert numbers(call(command, store)[1]) == told
    resumed = msnet("resume", store, "--device", "cpu")
    assert resumed.process.returncode == 2
    assert numbers(resumed.err) == told, resumed.err
    assert numbers(resumed.out) == {"done": 16, "failed": 6, "staged": 0, "left": 0}
