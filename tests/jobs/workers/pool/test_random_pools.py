"""Pools of random histories: every file ends once, with its own frames in order, whatever its decoders do."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest

from jobs.cluster.options import DecoderLimits
from jobs.workers.decoder_pool import DecoderPool, FileEvent
from schemas.errors import VideoError
from schemas.records import Decoded, FileJob, FrameChunk, Header, Item, Restart
from tests.jobs.workers.pool.random_pool import SAMPLED, World, mark_of, stretches_of

KINDS = ("film60", "film20", "film8", "short", "short", "long")


class Seen:
    """What came of a file."""

    def __init__(self, job: FileJob) -> None:
        self.job = job
        self.has_header = self.has_ended = False
        self.frames = 0

    def take(self, found: FileEvent) -> None:
        assert not self.has_ended and found.attempts <= 2
        match found.event:
            case Header():
                assert not self.has_header
                self.has_header = True
            case Restart():
                assert self.has_header
                self.has_header, self.frames = False, 0
            case FrameChunk(index=index, frames=frames):
                assert self.has_header and index[0] == self.frames
                assert (frames == mark_of(self.job)).all(), "frames of another file"
                self.frames += len(index)
            case Decoded():
                assert self.frames == SAMPLED * stretches_of(self.job)
                self.has_ended = True
            case VideoError():
                self.has_ended = True


@pytest.mark.parametrize("drained", [False, True])
@pytest.mark.parametrize("first_seed", range(0, 100, 20))
def test_every_file_ends_once_with_its_own_frames(
    first_seed: int, drained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.workers.decoder_pool._MOST_FAILED_STARTS", 10**9)
    monkeypatch.setattr("jobs.workers.pool.slots.private_memory_bytes", lambda process_id: 0)
    for seed in range(first_seed, first_seed + 20):
        draw = random.Random(seed)
        world = World(draw, draw.choice([0, 0, 0.003, 0.02]), draw.choice([0, 0, 0.005, 0.03]))
        monkeypatch.setattr("jobs.workers.decoder_pool.ray", world)
        play(world, draw, drained)


def play(world: World, draw: random.Random, drained: bool) -> None:
    most = draw.randint(1, 6)
    count = draw.randint(1, most)
    limits = DecoderLimits(files=draw.choice([1, 2, 5, 1000]))
    pool = DecoderPool(world.spawn, count, limits, draw.randint(1, count), most)
    jobs = [FileJob(f"{draw.choice(KINDS)}@{n}", (Item(str(n)),)) for n in range(draw.randint(1, 12))]
    later, seen = deque(jobs), {job: Seen(job) for job in jobs}
    ready: list[Any] = []
    drains_at = draw.randint(1, 100) if drained else None
    for step in range(20_000):
        if later and draw.random() < 0.5:
            pool.add([later.popleft()])
        if draw.random() < 0.02:
            pool.resize(draw.choice([-2, -1, 1, 2]))
        if step == drains_at:
            pool.drain()
            later.clear()
        for event in pool.poll(ready):
            seen[event.job].take(event)
        if not later and pool.idle:
            break
        for actor in world.actors:
            if actor.calls and draw.random() < 0.5:
                actor.step()
        ready = [answer for answer in pool.awaited() if answer.is_ready and draw.random() < 0.9]
    else:
        raise AssertionError("its decoders wait for one another")
    assert drained or all(one.has_ended for one in seen.values())
