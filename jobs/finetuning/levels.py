"""From what a network returns to what a head takes: the tensors of a store, with gradients."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from extractor.models.loading import normalize
from extractor.models.msnet import MSNet, MSNetOutput
from extractor.models.pieces import WHOLE, Piece
from extractor.models.streaming import BatchOutput, SequenceStreams
from jobs.finetuning.sources import LabelledClip
from schemas.tensors import STAGES, output_choices
from training.config import TrainingPrecision
from training.precision import autocast

_FRAMES_AT_A_TIME = 32
_PAIRS = ("displacement", "confidence")


def stages_of(tensors: Collection[str]) -> tuple[str, ...]:
    """The stages of a network that tensors of a store are made from."""
    attributes = {output_choices()[name].attribute for name in tensors}
    return tuple(stage for stage in STAGES if stage in attributes)


def rows_of(output: MSNetOutput | BatchOutput, tensors: Sequence[str]) -> dict[str, Tensor]:
    """Tensors of a store by name, a row for each frame or pair; leading axes as in the output.

    Maps are averaged as the name says; "motion" is its mean over the map, as heads take it.
    """
    return {name: _averaged(output, name) for name in tensors}


def _averaged(output: MSNetOutput | BatchOutput, name: str) -> Tensor:
    stored = output_choices()[name]
    rows: Tensor = getattr(output, str(stored.attribute))
    grid = () if name == "motion" else stored.grid
    if grid is None:
        return rows
    if not grid:
        return rows.mean((-2, -1))
    side = (grid[0], grid[1])
    return torch.unflatten(F.adaptive_avg_pool2d(rows.flatten(0, -4), side), 0, rows.shape[:-3])


def clip_rows(
    network: MSNet, clips: Sequence[LabelledClip], tensors: Sequence[str], precision: TrainingPrecision
) -> dict[str, Tensor]:
    """What a head takes of the samples of clips: by name (B, T, *row), padded with zeros to the longest.

    Clips of one length go through the network together; each is a sequence of its own.
    """
    by_length: dict[int, list[int]] = {}
    for place, clip in enumerate(clips):
        by_length.setdefault(len(clip.frames), []).append(place)
    found: dict[str, list[Tensor]] = {name: [torch.empty(0)] * len(clips) for name in tensors}
    for places in by_length.values():
        frames = torch.stack([clips[place].frames for place in places])
        with autocast(precision, network.device):
            output = network(normalize(frames.to(network.device, non_blocking=True)), stages=stages_of(tensors))
        for name, rows in rows_of(output, tensors).items():
            for place, of_clip in zip(places, rows.float(), strict=True):
                found[name][place] = _sampled(clips[place], name, of_clip)
    return {name: pad_sequence(parts, batch_first=True) for name, parts in found.items()}


def _sampled(clip: LabelledClip, name: str, rows: Tensor) -> Tensor:
    """The rows (T, ...) of the samples of a clip; a sample without a pair has zeros, as in a dataset."""
    if name not in _PAIRS:
        return rows[clip.frame_row.to(rows.device)]
    pairs = clip.pair_row.to(rows.device)
    there = (pairs >= 0).view(-1, *(1,) * (rows.ndim - 1))
    return rows[pairs.clamp_min(0)] * there


@torch.no_grad()
def video_rows(
    network: MSNet, frames: Tensor, tensors: Sequence[str], precision: TrainingPrecision
) -> Mapping[str, Tensor]:
    """Tensors of all frames (n, S, S, 3) uint8 of a video, float32 on the CPU, rounded as a store keeps them.

    The network, which must be in evaluation mode, sees them as a dense extraction does: one sequence in pieces.
    """
    streams = SequenceStreams(network, stages_of(tensors))
    parts: dict[str, list[Tensor]] = {name: [] for name in tensors}
    for start in range(0, len(frames), _FRAMES_AT_A_TIME):
        piece = frames[start : start + _FRAMES_AT_A_TIME].to(network.device)
        plan = streams.open.plan([Piece(0, len(piece), start + len(piece) == len(frames), WHOLE)])
        with autocast(precision, network.device):
            output = streams.run(normalize(piece), plan)
        for name, rows in rows_of(output, tensors).items():
            parts[name].append(rows.to(torch.float16).float().cpu())
    return {name: torch.cat(found) for name, found in parts.items()}
