"""The losses on held-out videos, by the networks of now: those of training also depend on how old the keys are.

Keys of earlier steps, made by a network that has changed since, are easy to tell from the positive. The faster a
network changes, the easier, so that the losses of training may rise while it learns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from extractor.models.msnet import MSNet
from training.clips.loader import TrainingClips
from training.clips.records import Example
from training.config import HELD_OUT_SEED
from training.evaluation.passes import evaluating
from training.group import Group
from training.precision import autocast
from training.tasks.contrast.config import ContrastConfig
from training.tasks.contrast.losses import losses_of
from training.tasks.contrast.networks import KeyNetwork, Projections, embed_keys, embed_queries, statistics_kept
from training.tasks.contrast.queue import among_one_another
from training.tasks.contrast.source import ViewSource
from training.tasks.contrast.views import parted


def held_out_losses(
    network: MSNet,
    heads: Projections,
    keys: KeyNetwork,
    examples: Sequence[Example],
    config: ContrastConfig,
    group: Group,
    workers: int,
) -> dict[str, float]:
    """The losses, unweighted and by name, whose negatives are the keys of all other videos among `examples`.

    Of the same views whenever it is called. A last part of a share that would not be full is left out.
    """
    size = min(config.clips_per_share, len(examples))
    settings = config.model_copy(update={"seed": HELD_OUT_SEED, "clips_per_step": size, "clips_per_share": size})
    found: dict[str, dict[str, Tensor]] = {}
    with TrainingClips(ViewSource(examples, settings), workers) as clips, torch.random.fork_rng(devices=[]):
        for part in range(group.rank, len(examples) // size, group.count):
            batch = clips.batch(part, 0)
            torch.manual_seed(HELD_OUT_SEED + part)  # of shuffled segments
            frames = batch.frames.to(network.device)
            views = parted(frames, config.views, of_frames=config.losses.of_frames, of_clips=config.losses.of_clips)
            with torch.no_grad(), _as_trained(network), autocast(config.precision, network.device):
                queries, shuffled, _ = embed_queries(network, heads, views, config.losses)
                positives, _ = embed_keys(keys, views)
            embedded = {f"query {name}": one for name, one in queries.items()}
            embedded |= {f"key {name}": one for name, one in positives.items()}
            embedded |= {"shuffled": shuffled, "videos": batch.examples}
            found[f"{part:09d}"] = {name: one.cpu() for name, one in embedded.items()}
    parts = [part for _, part in sorted(group.gather(found).items())]
    return _judged({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, config.temperature)


@contextmanager
def _as_trained(network: MSNet) -> Iterator[None]:
    """Within the block, norms use the statistics of what they see, as in training, and keep none."""
    with evaluating(network), statistics_kept(network, True):
        network.train()
        yield


def _judged(embedded: dict[str, Tensor], temperature: float) -> dict[str, float]:
    queries, keys = (
        {name.removeprefix(kind): one for name, one in embedded.items() if name.startswith(kind)}
        for kind in ("query ", "key ")
    )
    videos = embedded["videos"]
    negatives = {name: among_one_another(of, videos) for name, of in keys.items()}
    losses = losses_of(queries, keys, negatives, embedded["shuffled"], temperature)
    return {name: float(loss) for name, loss in losses.items()}
