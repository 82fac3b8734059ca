"""What embeds views: projection heads beside the network, and a second network of keys that follows the first."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from extractor.models.backbones.timeline import ClipTimeline
from extractor.models.loading import normalize
from extractor.models.motion_squeeze import MotionFeatures, MotionSqueeze
from extractor.models.msnet import MSNet
from schemas.config import Edges
from training.tasks.contrast.config import LossWeights
from training.tasks.contrast.losses import draw_orders
from training.tasks.contrast.views import Views

KINDS = ("frames", "clips")
"""Of features: those of single frames without the MS module, those of segments with it."""

_LEAST_SCALE = 1e-4


class FrameTimeline(ClipTimeline):
    """Frames on their own: the shift reads the frame itself, and the MS module is left out."""

    def __init__(self) -> None:
        super().__init__(1, Edges.REPEAT)

    def squeeze(self, module: MotionSqueeze, x: Tensor) -> tuple[Tensor, MotionFeatures]:
        """All frames, with motion features of zero."""
        nothing = x.new_zeros(1, 1, 1, 1)
        return x, MotionFeatures(nothing, nothing, nothing, nothing.bool())


def frame_features(network: MSNet, frames: Tensor) -> Tensor:
    """Features (N, D) float32 of single frames (N, 3, H, W), without the MS module."""
    features, _, _ = network.run(frames, FrameTimeline())
    return features


def segment_features(network: MSNet, clips: Tensor) -> Tensor:
    """Features (B, S, D) float32 of the segments of clips (B, S, T, 3, H, W), each a sequence of its own."""
    found: Tensor = network(clips.flatten(0, 1)).clip_features
    return torch.unflatten(found, 0, clips.shape[:2])


@contextmanager
def statistics_kept(network: nn.Module, kept: bool) -> Iterator[None]:
    """Within the block, norms in training leave their running statistics as they are, if `kept`."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats] if kept else []
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


class Projections(nn.Module):
    """A head of two layers for each loss, as in MoCo v2, and what says whether segments are in order.

    Embeddings are (N, width) float32 of length 1. Heads of losses that are switched off do not exist. Features are
    centred and scaled by what those of earlier steps were, of frames or of clips, of queries or of keys: mean features
    are far from 0, so that otherwise all embeddings would point to nearly one place at first, and short trainings would
    end there.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, losses: LossWeights, features: int, width: int, segments: int) -> None:
        super().__init__()
        names = [name for name in LossWeights.model_fields if getattr(losses, name)]
        self.heads = nn.ModuleDict({name: _head(features, width) for name in names})
        self.classifier = nn.Linear(segments * width, 2) if "order" in names else None
        self.register_buffer("centre", torch.zeros(len(KINDS), features))
        self.register_buffer("scale", torch.ones(len(KINDS)))

    def embed(self, name: str, features: Tensor) -> Tensor:
        """Embeddings (N, width) of features (N, D) for the loss `name`."""
        kind = KINDS.index("frames" if name in ("intra_frame", "inter_frame") else "clips")
        features = (features - self.centre[kind]) / self.scale[kind]
        return F.normalize(self.heads[name](features).float(), dim=1)

    @torch.no_grad()
    def settle(self, moments: Tensor, kept: float) -> None:
        """Move centre and scale towards the moments (kinds, 2, D) of a step's features: means, and of squares.

        kept: how much of the centre and of the scale stays. A kind without features has moments of 0, and stays.
        """
        for kind, (mean, square) in enumerate(moments.unbind(0)):
            deviation = (square - mean.square()).clamp_min(0).mean().sqrt()
            if bool(square.any()):
                self.centre[kind].lerp_(mean, 1 - kept)
                self.scale[kind].lerp_(deviation.clamp_min(_LEAST_SCALE), 1 - kept)

    def score_order(self, segments: Tensor) -> Tensor:
        """Scores (B, 2) float32 of segments (B, S, D) in some order: in time, shuffled."""
        assert self.classifier is not None
        embedded = torch.unflatten(self.embed("order", segments.flatten(0, 1)), 0, segments.shape[:2])
        scores: Tensor = self.classifier(embedded.flatten(1)).float()
        return scores


def _head(features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, width))


class KeyNetwork(nn.Module):
    """A copy of the network and its heads that follows them slowly, and is not trained.

    Its norms use the statistics of the share, as the first network's. So a positive might be known by what else was in
    its share, for which MoCo shuffles batches over GPUs. Shares, whose number of workers must not matter, cannot be
    shuffled; but other keys of the share have the same statistics, and are negatives too.
    """

    def __init__(self, network: MSNet, heads: Projections) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        self.heads = copy.deepcopy(heads)
        self.requires_grad_(False).train()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False

    @torch.no_grad()
    def follow(self, network: MSNet, heads: Projections, momentum: float) -> None:
        """Move towards the network; what is kept of the weights is `momentum`. Norms' statistics are not used."""
        for mine, other in ((self.network, network), (self.heads, heads)):
            for own, parameter in zip(mine.parameters(), other.parameters(), strict=True):
                own.lerp_(parameter, 1 - momentum)


def embed_queries(
    network: MSNet, heads: Projections, views: Views, losses: LossWeights
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """What the losses compare, by loss: embeddings (B, width) of the queries of B videos; scores (B, 2) for `order`.

    Also which clips had their segments shuffled, (B,) bool, drawn from torch's generator of the CPU; and the sums of
    features and of their squares, (kinds, 2, D), for `Projections.settle`.
    """
    found: dict[str, Tensor] = {}
    shuffled = torch.empty(0)
    sums = torch.zeros(len(KINDS), 2, heads.centre.shape[1], device=heads.centre.device)
    if views.query_frame is not None:
        # What is stored always has the module: statistics without it are not kept.
        with statistics_kept(network, losses.of_clips):
            features = frame_features(network, normalize(views.query_frame))
        sums[KINDS.index("frames")] = _sums(features)
        found |= {name: heads.embed(name, features) for name in ("intra_frame", "inter_frame") if name in heads.heads}
    if views.query_clip is not None:
        segments = segment_features(network, normalize(views.query_clip))  # (B, S, D)
        sums[KINDS.index("clips")] = _sums(segments.mean(1))
        if losses.clip:
            found["clip"] = heads.embed("clip", segments.mean(1))
        if losses.order:
            # A segment sees no other one: their features, shuffled, are the features of shuffled segments.
            order, shuffled = draw_orders(*segments.shape[:2])
            order, shuffled = order.to(segments.device), shuffled.to(segments.device)
            found["order"] = heads.score_order(segments.gather(1, order.unsqueeze(-1).expand_as(segments)))
    return found, shuffled, sums


def _sums(features: Tensor) -> Tensor:
    """Sums (2, D) of features (B, D) and of their squares."""
    features = features.detach().float()
    return torch.stack((features.sum(0), features.square().sum(0)))


@torch.no_grad()
def embed_keys(keys: KeyNetwork, views: Views) -> tuple[dict[str, Tensor], Tensor]:
    """Embeddings by the key network (B, keys of a video, width), by loss: of both frames, or of the clip.

    And the sums as from `embed_queries`, each a mean over the keys of a video.
    """
    found: dict[str, Tensor] = {}
    sums = torch.zeros(len(KINDS), 2, keys.heads.centre.shape[1], device=keys.heads.centre.device)
    if views.same_frame is not None and views.other_frame is not None:
        features = frame_features(keys.network, normalize(torch.cat((views.same_frame, views.other_frame))))
        sums[KINDS.index("frames")] = _sums(features) / 2
        for name in ("intra_frame", "inter_frame"):
            if name in keys.heads.heads:
                found[name] = torch.stack(keys.heads.embed(name, features).chunk(2), 1)
    if views.key_clip is not None and "clip" in keys.heads.heads:
        features = segment_features(keys.network, normalize(views.key_clip)).mean(1)
        sums[KINDS.index("clips")] = _sums(features)
        found["clip"] = keys.heads.embed("clip", features).unsqueeze(1)
    return found, sums
