"""Batches of pieces of many sequences against each sequence alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from extractor import MSNet
from extractor.models.pieces import BatchPlan, OpenSequences, Piece
from extractor.models.streaming import BatchOutput, SequenceStreams
from schemas.config import Edges
from schemas.tensors import STAGES
from tests.extractor.models.networks import random_network

NETWORKS = ("msnet_resnet18", "tsm_resnet50", "tsn_resnet18", "msnet_mobilenetv2")
SIZE = 32


def sequence(number: int, count: int) -> torch.Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(number))


def ranges_of(number: int, count: int) -> np.ndarray:
    """Clips of a sequence: one of all frames, overlapping windows, or windows with gaps."""
    width = min(4, count)
    step = (count, 1, 6)[number % 3]
    return np.array(
        [[start, start + (count if step == count else width)] for start in range(0, count - width + 1, step)]
    )


def split(output: BatchOutput, plan: BatchPlan) -> list[dict[str, torch.Tensor]]:
    """The rows of each piece."""
    counts = {
        "frame_features": plan.frames,
        "motion": plan.stage2,
        "stage2": plan.stage2,
        "stage3": plan.stage3,
        "stage4": plan.frames,
        "displacement": plan.pairs,
        "confidence": plan.pairs,
        "tied": plan.pairs,
        "clip_features": plan.clips,
    }
    parts: list[dict[str, torch.Tensor]] = [{} for _ in plan.pieces]
    for name, rows in counts.items():
        tensor = getattr(output, name)
        if tensor is not None:
            assert len(tensor) == rows.sum(), name
            for part, piece in zip(parts, tensor.split(rows.tolist()), strict=True):
                part[name] = piece
    return parts


def random_batches(lengths: list[int], rng: np.random.Generator) -> list[list[tuple[int, int, int]]]:
    """(sequence, start, stop) of every piece: sequences begin when they like, and go on in any company."""
    at = dict.fromkeys(range(len(lengths)), 0)
    batches = []
    while at:
        chosen = rng.permutation(list(at))[: rng.integers(1, len(at) + 1)]
        batch = []
        for number in chosen.tolist():
            stop = min(lengths[number], at[number] + int(rng.integers(1, 9)))
            batch.append((number, at[number], stop))
            at[number] = stop
            if stop == lengths[number]:
                del at[number]
        batches.append(batch)
    return batches


def run(
    network: MSNet, lengths: list[int], batches: list[list[tuple[int, int, int]]], dropped: dict[int, int] | None = None
) -> dict[int, dict[str, torch.Tensor]]:
    """All rows of each sequence. dropped: before which batch a sequence is dropped; its later pieces are left out."""
    streams = SequenceStreams(network, STAGES)
    frames = [sequence(number, count) for number, count in enumerate(lengths)]
    found: dict[int, list[dict[str, torch.Tensor]]] = {number: [] for number in range(len(lengths))}
    for turn, batch in enumerate(batches):
        for number, when in (dropped or {}).items():
            if when == turn:
                streams.open.drop(number)
        batch = [piece for piece in batch if turn < (dropped or {}).get(piece[0], len(batches))]
        if not batch:
            continue
        pieces = [Piece(n, stop - start, stop == lengths[n], ranges_of(n, lengths[n])) for n, start, stop in batch]
        plan = streams.open.plan(pieces)
        output = streams.run(torch.cat([frames[n][start:stop] for n, start, stop in batch]), plan)
        for (number, _, _), part in zip(batch, split(output, plan), strict=True):
            found[number].append(part)
    return {
        number: {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        for number, parts in found.items()
        if parts
    }


def alone(lengths: list[int], number: int) -> list[list[tuple[int, int, int]]]:
    return [[(number, 0, lengths[number])]]


@pytest.mark.parametrize("edges", Edges)
@pytest.mark.parametrize("name", NETWORKS)
def test_rows_do_not_depend_on_what_shares_the_batch(name: str, edges: Edges) -> None:
    network = random_network(name, **({} if name.startswith("tsn") else {"edges": edges}))
    rng = np.random.default_rng(3)
    lengths = [2, 3, 21, 9, 40, 2, 12]
    found = run(network, lengths, random_batches(lengths, rng))
    for number, count in enumerate(lengths):
        expected = run(network, lengths, alone(lengths, number))[number]
        assert found[number].keys() == expected.keys()
        assert len(found[number]["frame_features"]) == count
        assert len(found[number]["clip_features"]) == len(ranges_of(number, count))
        for part, rows in expected.items():
            assert torch.equal(found[number][part], rows), (number, part)


def test_a_sequence_equals_the_network_on_the_whole_clip() -> None:
    network = random_network("msnet_resnet18")
    lengths = [7, 16]
    found = run(network, lengths, [[(0, 0, 3), (1, 0, 9)], [(1, 9, 16), (0, 3, 7)]])
    for number, count in enumerate(lengths):
        expected = network(sequence(number, count).unsqueeze(0), stages=STAGES)
        for name in ("frame_features", "motion", "displacement", "confidence", "tied", *STAGES):
            assert torch.equal(found[number][name], getattr(expected, name)[0]), name
        whole = found[number]["frame_features"].double().mean(0, keepdim=True).float()
        torch.testing.assert_close(whole, expected.clip_features, rtol=1e-6, atol=1e-7)


def test_sequences_that_are_dropped_leave_no_trace() -> None:
    network = random_network("msnet_resnet18")
    lengths = [12, 21, 15, 30, 9]
    batches = random_batches(lengths, np.random.default_rng(8))
    whole = run(network, lengths, batches)
    middle = len(batches) // 2
    found = run(network, lengths, batches, {1: 1, 3: middle})
    for number in (0, 2, 4):
        for name, rows in whole[number].items():
            assert torch.equal(found[number][name], rows), (number, name)


def test_a_batch_that_fails_changes_nothing() -> None:
    network = random_network("msnet_resnet18")
    streams = SequenceStreams(network)
    frames = sequence(0, 12)
    streams.run(frames[:5], streams.open.plan([Piece(0, 5, False)]))
    with pytest.raises(RuntimeError):
        streams.run(frames[5:, :, :, :1], streams.open.plan([Piece(0, 7, True)]))
    outputs = [
        streams.run(piece, streams.open.plan([Piece(0, len(piece), ends)]))
        for piece, ends in ((frames[5:8], False), (frames[8:], True))
    ]
    expected = network(frames.unsqueeze(0)).frame_features[0]
    got = torch.cat([output.frame_features for output in outputs])
    assert torch.equal(got, expected[-len(got) :])


def test_layers_in_the_same_state_share_their_plan() -> None:
    """The rows are brought to the device once for all layers: at most a few tables in the middle of sequences."""
    streams = OpenSequences(((False,) * 4 + (True,), (False,) * 2, (False,) * 2))
    for _ in range(12):
        plan = streams.plan([Piece(number, 8, False) for number in range(5)])
        streams.advance(plan)
    assert len({id(layer) for layer in plan.layers}) == 2
    assert plan.frames.tolist() == plan.stage2.tolist() == plan.pairs.tolist() == [8] * 5
    assert plan.clips.tolist() == [0] * 5
