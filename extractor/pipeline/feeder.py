"""Frames of many sequences in, batches to the device, rows out: the loop that keeps a device busy.

Frames wait where their decoder put them until a batch is full. Then each is copied once, into a buffer from which it is
uploaded, beside frames of whatever other sequences wait. A batch is launched while the one before is computed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from extractor.models.loading import normalize
from extractor.models.msnet import MSNet, MSNetEnsemble
from extractor.models.pieces import BatchPlan, Piece
from extractor.models.streaming import Left, SequenceStreams
from extractor.pipeline.devices import Device, Ticket, is_out_of_memory
from extractor.pipeline.messages import ROW_KINDS, BatchRows, Rows
from extractor.pipeline.rows import RowMaker, blank_rows
from schemas.config import ExtractionConfig
from schemas.errors import ResourceError
from schemas.layout import DatasetSpec
from schemas.records import Int64Array

Frames = npt.NDArray[np.uint8]

_TRIES_OF_ONE_FRAME = 5
_RETRY_SECONDS = 0.2
_IN_FLIGHT = 2  # batches on the device: one that is computed, one behind it


@dataclass(eq=False, slots=True)
class FrameSequence:
    """Frames that follow one another, through one member of the network; `Feeder.open` makes it.

    item, place: whose it is, and which of the item's sequences. ranges: its clips (see `Piece`).
    """

    number: int
    member: int
    item: int
    place: int
    ranges: Int64Array
    waiting: deque[Frames] = field(default_factory=deque)
    frames: int = 0  # that wait
    ended: bool = False

    def take(self, most: int) -> list[Frames]:
        """Take up to `most` of the frames that wait."""
        taken: list[Frames] = []
        while self.waiting and most:
            block = self.waiting.popleft()
            if len(block) > most:
                self.waiting.appendleft(block[most:])
                block = block[:most]
            taken.append(block)
            most -= len(block)
            self.frames -= len(block)
        return taken


@dataclass(slots=True)
class _Launched:
    ticket: Ticket
    spans: Int64Array
    buffer: Tensor


class Feeder:
    """Feeds a network on a device; `deliver` receives the rows of every batch, in the order of the batches.

    batch_frames: frames in a batch; None leaves it to the device. After a batch that did not fit into the device's
    memory they are fewer. Not thread-safe.
    """

    def __init__(
        self,
        network: MSNet | MSNetEnsemble,
        config: ExtractionConfig,
        datasets: Sequence[DatasetSpec],
        device: Device,
        deliver: Callable[[BatchRows], None],
        *,
        batch_frames: int | None = None,
    ) -> None:
        self.batch_frames = batch_frames or device.batch_frames(config.size)
        self._device = device
        self._deliver = deliver
        self._datasets = datasets
        self._members = [_Member(member, RowMaker(config)) for member in network.members]
        self._size = config.size
        self._buffers: list[Tensor] = []
        self._filled: Tensor | None = None  # the buffer of the batch that is being launched, perhaps in parts
        self._launched: deque[_Launched] = deque()
        self._opened = 0

    @property
    def idle(self) -> bool:
        """Whether the device has nothing left to compute."""
        return all(batch.ticket.done() for batch in self._launched)

    def open(self, item: int, place: int, member: int, ranges: Int64Array) -> FrameSequence:
        """Begin a sequence."""
        self._opened += 1
        return FrameSequence(self._opened, member, item, place, ranges)

    def push(self, sequence: FrameSequence, blocks: Sequence[Frames], *, last: bool) -> None:
        """Queue the sequence's next frames, blocks (n, size, size, 3), at least one frame.

        They must stay as they are until they are computed. last: no more follow.
        """
        count = sum(map(len, blocks))
        sequence.waiting.extend(blocks)
        sequence.frames += count
        sequence.ended = last
        member = self._members[sequence.member]
        member.waiting[sequence.number] = sequence
        member.frames += count
        while member.frames >= self.batch_frames:
            self._launch(member)

    def drop(self, sequence: FrameSequence) -> None:
        """Forget a sequence. Rows of it that are computed already may still be delivered."""
        member = self._members[sequence.member]
        if member.waiting.pop(sequence.number, None) is not None:
            member.frames -= sequence.frames
        member.streams.open.drop(sequence.number)

    def poll(self) -> None:
        """Deliver the batches that are done."""
        while self._launched and self._launched[0].ticket.done():
            self._collect()

    def flush(self) -> None:
        """Compute all frames that wait for a full batch, and deliver everything."""
        for member in self._members:
            while member.waiting:
                self._launch(member)
        while self._launched:
            self._collect()

    def _launch(self, member: _Member) -> None:
        """Launch one batch of the frames that wait, those of the sequences that have waited longest first."""
        taken = []
        room = self.batch_frames
        for sequence in list(member.waiting.values()):
            if not room:
                break
            blocks = sequence.take(room)
            count = sum(map(len, blocks))
            room -= count
            member.frames -= count
            ends = sequence.ended and not sequence.frames
            if not sequence.frames:
                del member.waiting[sequence.number]
            taken.append((sequence, blocks, ends))
        while len(self._launched) >= _IN_FLIGHT:
            self._collect()
        self._filled = buffer = self._free_buffer()
        filled, row = buffer.numpy(), 0
        for _, blocks, _ in taken:
            for block in blocks:
                filled[row : row + len(block)] = block
                row += len(block)
        self._run(member, [(sequence, sum(map(len, blocks)), ends) for sequence, blocks, ends in taken], buffer, 0)
        self._filled = None

    def _run(
        self,
        member: _Member,
        pieces: list[tuple[FrameSequence, int, bool]],
        buffer: Tensor,
        start: int,
        tries: int = _TRIES_OF_ONE_FRAME,
    ) -> None:
        """Launch pieces whose frames begin at row `start` of a buffer; in halves if they do not fit in memory."""
        frames = sum(count for _, count, _ in pieces)
        plan = member.streams.open.plan([Piece(s.number, count, ends, s.ranges) for s, count, ends in pieces])
        ticket = self._try(_Batch(member, plan, buffer[start : start + frames], self._datasets))
        if not isinstance(ticket, str):
            spans = np.array([[s.item, s.place] for s, _, _ in pieces], np.int64)
            counts = np.stack([getattr(plan, kind) for kind in ROW_KINDS], 1)
            self._launched.append(_Launched(ticket, np.concatenate([spans, counts], 1), buffer))
            return
        reason = ticket
        while self._launched:  # their memory is free then
            self._collect()
        self._device.release()
        if frames == 1:
            if tries > 1:  # it may be short because of another program, and for a moment
                time.sleep(_RETRY_SECONDS)
                self._run(member, pieces, buffer, start, tries - 1)
                return
            raise ResourceError(
                f"expected memory on the device for one frame of {self._size} px; got {reason!r}. "
                "Is another program using it? Give a smaller --size or --model, or another --dtype"
            )
        half = frames // 2
        self.batch_frames = max(1, min(self.batch_frames, half))
        first, second = _split(pieces, half)
        self._run(member, first, buffer, start)
        self._run(member, second, buffer, start + half)

    def _try(self, work: _Batch) -> Ticket | str:
        """Launch a batch and keep what it leaves; what the device says if it has no memory for it.

        The error ends here, and with it the frames of the failed try, whose tensors would lack in the next.
        """
        try:
            ticket = self._device.launch(work)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return str(error).partition("\n")[0]
        work.keep()
        return ticket

    def _collect(self) -> None:
        batch = self._launched.popleft()
        rows = batch.ticket.rows()
        in_use = [self._filled, *(other.buffer for other in self._launched)]
        if not any(buffer is batch.buffer for buffer in in_use) and len(batch.buffer) >= self.batch_frames:
            self._buffers.append(batch.buffer)
        self._deliver(BatchRows(rows, batch.spans))

    def _free_buffer(self) -> Tensor:
        return self._buffers.pop() if self._buffers else self._device.buffer(self.batch_frames, self._size)


@dataclass(slots=True)
class _Member:
    """One network, what its layers hold back of the open sequences, and the sequences with frames that wait."""

    network: MSNet
    make_rows: RowMaker
    streams: SequenceStreams = field(init=False)
    waiting: dict[int, FrameSequence] = field(default_factory=dict)
    frames: int = 0

    def __post_init__(self) -> None:
        self.streams = SequenceStreams(self.network, self.make_rows.stages)


@dataclass(slots=True)
class _Batch:
    """A `Work`: planned pieces whose frames are in `buffer`. left: what the layers hold back once it ran."""

    member: _Member
    plan: BatchPlan
    buffer: Tensor
    datasets: Sequence[DatasetSpec]
    left: Left | None = field(default=None, init=False)

    @property
    def frames(self) -> int:
        return len(self.buffer)

    def run(self) -> Mapping[str, Tensor]:
        frames = normalize(self.buffer.to(self.member.network.device, non_blocking=True))
        output, self.left = self.member.streams.compute(frames, self.plan)
        return self.member.make_rows(output)

    def pretend(self) -> Rows:
        return blank_rows(self.plan, self.datasets)

    def keep(self) -> None:
        """Take note that the batch was computed and its rows are on their way; before, it can be tried again."""
        self.member.streams.keep(self.plan, self.left)


def _split(pieces: list[tuple[FrameSequence, int, bool]], half: int) -> tuple[list[Any], list[Any]]:
    """The first `half` frames of the pieces, and the rest; a piece in the middle is cut in two."""
    first: list[tuple[FrameSequence, int, bool]] = []
    second: list[tuple[FrameSequence, int, bool]] = []
    for sequence, count, ends in pieces:
        early = min(count, half)
        half -= early
        if early:
            first.append((sequence, early, ends and early == count))
        if early < count:
            second.append((sequence, count - early, ends))
    return first, second
