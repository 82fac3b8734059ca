"""Several decoders at one file, without processes: every stretch once, frames in order, memory bounded."""

from __future__ import annotations

import random
from collections import deque

import numpy as np
import pytest

from jobs.workers.pool.sharing import SharedFile
from schemas.records import Ask, Decoded, FrameChunk, Header, Item, PixelGrid
from tests.extractor.pipeline.truth import make_config, make_info, make_plan

STRETCHES, SAMPLED = 60, 7
CONFIG = make_config(sampling="dense", size=32)


def header(stretches: int = STRETCHES, **info: object) -> Header:
    count = stretches * SAMPLED
    plan = make_plan(count, CONFIG, Item("film"))
    return Header(make_info(count, **info), PixelGrid(1, 1, 0, 0), (plan,), stretches)


def chunks(stretch: int, side: int = 2) -> list[FrameChunk]:
    """The frames of a stretch, in chunks of three."""
    found = []
    for first in range(0, SAMPLED, 3):
        index = np.arange(first, min(first + 3, SAMPLED)) + stretch * SAMPLED
        frames = np.full((len(index), side, side, 3), stretch, np.uint8)
        found.append(FrameChunk(index, frames, np.ones(len(index), bool), last=first + 3 >= SAMPLED))
    return found


class Decoder:
    """What a decoder was asked for and has not answered."""

    def __init__(self, began: bool) -> None:
        self.began = began
        self.asks: deque[Ask] = deque()
        self.done: list[int] = []

    @property
    def ended(self) -> bool:
        return bool(self.asks) and self.asks[-1].stretch is None


@pytest.mark.parametrize("seed", range(40))
def test_all_frames_come_in_order_whatever_the_decoders_do(seed: int) -> None:
    """They come, go, are fast and slow; what is not yet due stays within bounds."""
    chance = random.Random(seed)
    shared = SharedFile(header())
    decoders = [Decoder(began=True)]
    asked: list[Ask] = []
    due: list[FrameChunk] = []
    end: Decoded | None = None
    most = chance.randint(1, 9)
    slow = chance.random()
    helped = False
    while end is None:
        if len(decoders) < most and shared.wants_decoders and chance.random() < 0.3:
            decoders.append(Decoder(began=False))
            shared.decoders += 1
        for one in decoders:
            if len(one.asks) < 2 and not one.ended:
                leaves = not one.began and chance.random() < 0.05
                if (ask := shared.ask(began=one.began, leaves=leaves)) is not None:
                    one.asks.append(ask)
                    asked.append(ask)
                    helped |= not one.began and ask.stretch is not None
        ready = [one for one in decoders if one.asks]
        assert ready, "somebody always has something to do"
        one = ready[0] if chance.random() < slow else chance.choice(ready)
        ask = one.asks.popleft()
        if ask.stretch is None:
            end = shared.end(Decoded("av", "18", decode_seconds=1.0))
            decoders.remove(one)
            continue
        one.done.append(ask.stretch)
        for chunk in chunks(ask.stretch):
            due += shared.add(chunk)
        waiting = len({stretch for other in decoders for stretch in other.done}) * SAMPLED - sum(
            len(chunk.index) for chunk in due
        )
        assert waiting <= 3 * most * SAMPLED
    assert not decoders
    assert [ask.stretch for ask in asked if ask.stretch is not None] == list(range(STRETCHES))
    assert np.concatenate([chunk.index for chunk in due]).tolist() == list(range(STRETCHES * SAMPLED))
    assert sum(ask.proves for ask in asked) == helped
    assert end.decode_seconds == sum(ask.stretch is None for ask in asked)


def test_a_decoder_alone_is_asked_for_all_stretches_and_proves_nothing() -> None:
    shared = SharedFile(header(9))
    asks = []
    for stretch in range(9):
        asks.append(shared.ask(began=True))
        assert [chunk.last for part in chunks(stretch) for chunk in shared.add(part)] == [False, False, True]
    assert asks == [Ask(stretch) for stretch in range(9)]
    assert shared.ask(began=True) == Ask(None)


def test_the_first_helper_proves_and_no_other() -> None:
    shared = SharedFile(header())
    shared.decoders = 3
    asks = [shared.ask(began=began) for began in (True, False, False, True)]
    assert asks == [Ask(0), Ask(1, proves=True), Ask(2), Ask(3)]


def test_decoders_far_ahead_wait_for_the_one_at_the_oldest_stretch() -> None:
    shared = SharedFile(header())
    shared.decoders = 2
    asks = [shared.ask(began=False) for _ in range(7)]
    assert asks[6] is None, "three for each"
    for stretch in range(1, 6):
        assert not [due for chunk in chunks(stretch) for due in shared.add(chunk)]
    assert shared.ask(began=False) is None
    assert len([due for chunk in chunks(0) for due in shared.add(chunk)]) == 6 * 3
    assert shared.ask(began=False) == Ask(6)


def test_large_frames_are_held_for_fewer_stretches() -> None:
    shared = SharedFile(header())
    shared.decoders = 2
    assert [shared.ask(began=True), shared.ask(began=False)] == [Ask(0), Ask(1, proves=True)]
    for chunk in chunks(1, side=1300):  # 35 MB
        assert not list(shared.add(chunk))
    assert shared.ask(began=False) is None


def test_more_decoders_help_as_long_as_enough_is_left() -> None:
    shared = SharedFile(header(10))
    assert shared.wants_decoders
    for _ in range(3):
        shared.ask(began=True)
    assert not shared.wants_decoders, "seven are left for two"
    long = SharedFile(header(64))
    long.decoders = 15
    assert long.wants_decoders
    long.decoders = 16
    assert not long.wants_decoders


def test_a_helper_leaves_when_told_and_the_one_that_began_stays() -> None:
    shared = SharedFile(header())
    shared.decoders = 2
    assert shared.ask(began=True, leaves=True) == Ask(0)
    assert shared.ask(began=False, leaves=True) == Ask(None)
    assert shared.end(Decoded("av", "18")) is None
    assert shared.ask(began=True) == Ask(1)


def test_once_void_every_decoder_is_asked_to_end() -> None:
    shared = SharedFile(header())
    shared.decoders = 2
    shared.void = True
    assert [shared.ask(began=began) for began in (True, False)] == [Ask(None)] * 2
    assert not shared.wants_decoders


def test_the_end_tells_what_all_decoders_found() -> None:
    shared = SharedFile(header(flags=("long",)))
    shared.decoders = 2
    one = Decoded("av", "18", "", 0, 0, 1.5, 0.5, ("long", "orientation_changes", "jumps"))
    other = Decoded("av", "18", "", 0, 0, 2.0, 0.25, ("long", "jumps"))
    assert shared.end(other) is None
    assert shared.end(one) == Decoded("av", "18", "", 0, 0, 3.5, 0.75, ("long", "jumps", "orientation_changes"))
