"""How frames meet their neighbours in time: within whole clips, or along a stream that comes in pieces.

A network is written once, against the two methods of `Timeline`. Every other layer treats frames separately, so these
two decide everything about time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from extractor.models.backbones.temporal_shift import future_slice, past_slice, temporal_shift
from extractor.models.motion_squeeze import MotionFeatures, MotionSqueeze
from schemas.config import Edges


class Timeline(Protocol):
    """How the temporal layers of a network get the frames before and after."""

    def shift(self, block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames (N, C, h, w) that `block` can compute now, and the same frames shifted for its branch."""

    def squeeze(self, module: MotionSqueeze, x: Tensor) -> tuple[Tensor, MotionFeatures]:
        """Return the frames (N, C, h, w) whose motion features are known now, with these and the completed pairs."""


class ClipTimeline:
    """Frames are B whole clips of T = `num_segments` frames, folded to (B*T, C, h, w), each a sequence of its own."""

    def __init__(self, num_segments: int, edges: Edges) -> None:
        self.num_segments = num_segments
        self.edges = edges

    def shift(self, block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """All frames, and all of them shifted."""
        return x, temporal_shift(x, self.num_segments, self.edges)

    def squeeze(self, module: MotionSqueeze, x: Tensor) -> tuple[Tensor, MotionFeatures]:
        """All frames with their motion features."""
        return x, module(x, self.num_segments)


@dataclass(slots=True)
class _HeldFrame:
    """What a shifted block keeps: the frame that waits for its successor, and the predecessor's past slice."""

    frame: Tensor  # (1, C, h, w)
    before: Tensor | None  # (1, C // 8, h, w); None at the start of the stream


@dataclass(slots=True)
class _HeldMotion:
    """What the MS module keeps: the frame that waits for its pair, also embedded, and the last pair's features."""

    frame: Tensor  # (1, C, h, w)
    embedded: Tensor  # (1, 64, h, w)
    motion: Tensor | None  # (1, C, h, w); None before the first pair


class StreamTimeline:
    """Frames are consecutive pieces of one sequence; what cannot be computed yet is held back, nothing is recomputed.

    Set `ended` before the last call of the network (which may bring no frames): everything held back then comes out
    as at the end of a clip. The state is kept here, by module, and never on the modules, so any number of streams can
    run through one network.
    """

    def __init__(self, edges: Edges) -> None:
        self.edges = edges
        self.ended = False
        self._shifted: dict[nn.Module, _HeldFrame] = {}
        self._squeezed: dict[nn.Module, _HeldMotion] = {}

    def shift(self, block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """The frames whose successor is known, and the same frames shifted."""
        held = self._shifted.get(block)
        frames = x if held is None else torch.cat((held.frame, x))
        before = None if held is None else held.before
        if self.ended:
            ready, after = frames, None
        else:
            if len(frames) == 0:
                return frames, frames
            ready, after = frames[:-1], future_slice(frames[-1:])
            last = past_slice(ready[-1:]).clone() if len(ready) else before
            self._shifted[block] = _HeldFrame(frames[-1:].clone(), last)
        return ready, temporal_shift(ready, len(ready), self.edges, before=before, after=after)

    def squeeze(self, module: MotionSqueeze, x: Tensor) -> tuple[Tensor, MotionFeatures]:
        """The frames whose pair is complete; at the end, also the last frame with the last pair's features."""
        held = self._squeezed.get(module)
        embedded = module.embed(x)
        frames, motion = x, None
        if held is not None:
            frames, embedded = torch.cat((held.frame, x)), torch.cat((held.embedded, embedded))
            motion = held.motion
        displacement, confidence, tied = module.match(embedded[:-1], embedded[1:])
        features = module.transform(displacement, confidence, x.dtype)
        if len(features):
            motion = features[-1:].clone()
        if self.ended:
            ready = frames
            features = features if motion is None else torch.cat((features, motion))
        else:
            ready = frames[:-1]
            if len(frames):
                self._squeezed[module] = _HeldMotion(frames[-1:].clone(), embedded[-1:].clone(), motion)
        return ready, MotionFeatures(features, displacement, confidence, tied)
