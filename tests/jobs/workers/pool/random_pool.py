"""A pool whose decoders are objects of this process, stepped in an order that a seed draws; they die and doubt."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ray.exceptions import RayError

from jobs.workers.decoder import Decoder
from schemas.errors import FailureClass, VideoError
from schemas.records import (
    Ask,
    Decoded,
    DecodingEvent,
    FileJob,
    FrameChunk,
    Header,
    ItemPlan,
    PixelGrid,
    Restart,
    VideoInfo,
)

SAMPLED = 3  # frames of a stretch


def stretches_of(job: FileJob) -> int:
    """Stretches of "film20@7", which decoders may share, or chunks of another file."""
    kind = job.path.partition("@")[0]
    return int(kind.removeprefix("film")) if kind.startswith("film") else SAMPLED


def mark_of(job: FileJob) -> int:
    """The value of all pixels of a file."""
    return int(job.path.partition("@")[2])


@dataclass
class Answer:
    """Stands in for a reference."""

    value: Any = None
    is_ready: bool = False

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


@dataclass
class World:
    """Stands in for Ray. death, doubt: how likely at each answer."""

    draw: random.Random
    death: float
    doubt: float
    actors: list[Actor] = field(default_factory=list)

    def spawn(self, asks: bool) -> Actor:
        self.actors.append(Actor(self))
        return self.actors[-1]

    def kill(self, actor: Actor) -> None:
        actor.is_dead = True

    def get(self, answer: Answer, timeout: float | None = None) -> Any:
        for actor in self.actors:
            while any(waiting is answer for waiting, _ in actor.calls):
                actor.step()
        if isinstance(answer.value, RayError):
            raise answer.value
        return answer.value

    def wait(self, answers: list[Answer], **options: Any) -> tuple[list[Answer], list[Answer]]:
        return [one for one in answers if one.is_ready], [one for one in answers if not one.is_ready]


@dataclass
class Method:
    """A method of an actor that is called later."""

    actor: Actor
    function: Callable[..., Any]

    def remote(self, *arguments: Any) -> Answer:
        answer = Answer()
        self.actor.calls.append((answer, lambda: self.function(*arguments)))
        return answer


class Actor:
    """Stands in for the process of a decoder."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: deque[tuple[Answer, Callable[[], Any]]] = deque()
        self.is_dead = False
        decoder = RandomDecoder(world)
        self.process_id, self.next = Method(self, decoder.process_id), Method(self, decoder.next)

    def step(self) -> None:
        """Answer the first call."""
        answer, call = self.calls.popleft()
        self.is_dead |= self.world.draw.random() < self.world.death
        answer.value = RayError("died") if self.is_dead else call()
        answer.is_ready = True


class RandomDecoder(Decoder):
    """The real decoder, with made-up files."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._queue: deque[tuple[FileJob, str]] = deque()
        self._events: Iterator[DecodingEvent] | None = None
        self._shared = False
        self._ask = Ask(None)

    def _begin(self, job: FileJob, distrust: str, inspection: object) -> None:
        self._shared = False
        self._events = self._made(job)

    def _doubts(self, share: float = 1.0) -> bool:
        return self._world.draw.random() < share * self._world.doubt

    def _made(self, job: FileJob) -> Iterator[DecodingEvent]:
        count = stretches_of(job)
        is_shared = job.shared and job.path.startswith("film")
        index = np.arange(count * SAMPLED)
        plan = ItemPlan("x", index, index / 10.0, np.array([len(index)]), np.array([[0, len(index)]]))
        seconds = 10.0 if job.path.startswith("short") else 3600.0
        info = VideoInfo("h264", "mp4", 64, 64, 0, 25.0, len(index), 0.0, seconds, flags=("long",))
        yield Header(info, PixelGrid(1, 1, 0, 0), (plan,), count if is_shared else 1, "inspection")
        asked = iter(lambda: self._ask.stretch, None) if is_shared else range(count)
        for number in asked:
            if is_shared and self._doubts():
                yield Restart("a doubt")
                return
            if self._doubts(0.3):
                raise VideoError(FailureClass.CORRUPT, "damage")
            frames = index[number * SAMPLED : (number + 1) * SAMPLED]
            for part in (frames[:1], frames[1:]) if is_shared else (frames,):
                pixels = np.full((len(part), 1, 1, 3), mark_of(job), np.uint8)
                last = part is not frames[:1] and part[-1] == frames[-1] and (is_shared or number + 1 == count)
                yield FrameChunk(part, pixels, np.ones(len(part), np.bool_), last=bool(last))
        yield Decoded("fake", "1", flags=("long",))
