"""One file that several decoders decode: who decodes which stretch, and all frames in order, of bounded memory.

Pure bookkeeping, without processes: whoever runs the decoders asks what they shall do, and tells what came.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from schemas.records import Ask, Decoded, FrameChunk, Header, ItemPlan

_MOST_AHEAD = 3  # stretches for each decoder: asked for, or decoded and not yet due
_HELD_BYTES = 16 * 1024 * 1024  # decoded and not yet due, for each decoder
_LEAST_LEFT = 4  # stretches for each decoder, without which another would not be worth its start


class SharedFile:
    """A file of several stretches, each decoded by one of its decoders.

    void: what is under way counts no more, and the decoders have only to end. decoders: that have not ended.
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self.void = False
        self.decoders = 1
        self._due = np.unique(np.concatenate([plan.index for plan in header.plans if isinstance(plan, ItemPlan)]))
        self._frames = 0  # that were due
        self._asked = 0  # stretches
        self._told = 0  # stretches that were due to their ends
        self._proof_asked = False
        self._held: dict[int, FrameChunk] = {}  # chunks that are not yet due, by their first frame
        self._held_bytes = 0
        self._ends: list[Decoded] = []

    @property
    def left(self) -> int:
        """Stretches that no decoder was asked for."""
        return 0 if self.void else self.header.stretches - self._asked

    @property
    def wants_decoders(self) -> bool:
        """Whether another decoder would help."""
        return self.left >= (self.decoders + 1) * _LEAST_LEFT

    def ask(self, *, began: bool, leaves: bool = False) -> Ask | None:
        """What one of the decoders shall do next; None if it has to wait for others.

        began: it began the file, and stays to the end. leaves: it has better things to do. The oldest stretch that is
        not due yet is always being decoded, so waiting comes to an end.
        """
        if not self.left or (leaves and not began):
            return Ask(None)
        ahead = self._asked - self._told
        full = ahead >= _MOST_AHEAD * self.decoders or self._held_bytes >= _HELD_BYTES * self.decoders
        if full and ahead >= self.decoders:
            return None
        proves = not began and not self._proof_asked
        self._proof_asked |= proves
        self._asked += 1
        return Ask(self._asked - 1, proves)

    def add(self, chunk: FrameChunk) -> Iterator[FrameChunk]:
        """Take a chunk of any stretch; yields those that are due now."""
        self._held[int(chunk.index[0])] = chunk
        self._held_bytes += chunk.frames.nbytes
        while self._frames < len(self._due) and (first := int(self._due[self._frames])) in self._held:
            due = self._held.pop(first)
            self._held_bytes -= due.frames.nbytes
            self._frames += len(due.index)
            self._told += due.last
            yield due

    def end(self, decoded: Decoded) -> Decoded | None:
        """Take the end of one decoder's part; returns that of the file once all have ended."""
        self.decoders -= 1
        self._ends.append(decoded)
        if self.decoders:
            return None
        of_file = self.header.info.flags
        found = {flag for end in self._ends for flag in end.flags}
        return Decoded(
            decoder=decoded.decoder,
            decoder_version=decoded.decoder_version,
            bad_packets=max(end.bad_packets for end in self._ends),
            bad_frames=sum(end.bad_frames for end in self._ends),
            decode_seconds=sum(end.decode_seconds for end in self._ends),
            transform_seconds=sum(end.transform_seconds for end in self._ends),
            flags=(*of_file, *sorted(found - set(of_file))),
        )
