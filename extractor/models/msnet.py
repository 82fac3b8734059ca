"""The networks of the family: a backbone in two halves, the MS module between them, a head."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from extractor.models.backbones.architecture import FEATURE_STRIDE_PX
from extractor.models.backbones.mobilenet import InvertedResidual, MobileNetV2
from extractor.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from extractor.models.backbones.timeline import ClipTimeline, Timeline
from extractor.models.motion_squeeze import MotionFeatures, MotionSqueeze, SoftArgmaxKind
from extractor.models.pieces import TemporalLayers
from extractor.models.precision import precision_of
from extractor.models.spec import NetworkSpec, describe_network
from schemas.errors import ConfigurationError
from schemas.tensors import STAGES

_SHIFTING = (BasicBlock, Bottleneck, InvertedResidual)


@dataclass(frozen=True, slots=True)
class MSNetOutput:
    """What a network returns for B clips of T frames. Every tensor is float32 but `tied`, which is bool.

    `clip_features` (B, D), the mean of `frame_features` (B, T, D); `logits` (B, classes), None without a classifier.
    None without an MS module: `motion` (B, T, C, h, w); `displacement` (B, T - 1, 2, h, w) in cells, x to the right
    then y down; `confidence` (B, T - 1, 1, h, w) in [0, 1]; `tied` (B, T - 1, h, w), where the two best non-adjacent
    candidates differ by less than 1e-5, so the displacement is a convention. None unless asked for: `stage2`, `stage3`
    and `stage4` (B, T, C, h, w), the maps of the backbone's stages at strides 8, 16 and 32; `stage2` without motion,
    as the MS module takes it.
    """

    clip_features: Tensor
    frame_features: Tensor
    motion: Tensor | None
    displacement: Tensor | None
    confidence: Tensor | None
    tied: Tensor | None
    logits: Tensor | None
    stage2: Tensor | None = None
    stage3: Tensor | None = None
    stage4: Tensor | None = None

    @property
    def displacement_px(self) -> Tensor | None:
        """Displacement in pixels of the network's input: cells times 8."""
        return None if self.displacement is None else self.displacement * FEATURE_STRIDE_PX


class MSNet(nn.Module):
    """A network of the family; TSN and TSM are the same without the MS module and without the shift.

    Called on (B, T, 3, H, W) float frames, RGB and ImageNet-normalised, with any T >= 2, it returns `MSNetOutput`.
    """

    def __init__(self, spec: NetworkSpec, *, soft_argmax: SoftArgmaxKind = "kernel", dropout: float = 0.0) -> None:
        super().__init__()
        self.spec = spec
        self.notes: tuple[str, ...] = ()
        if spec.backbone == "mobilenetv2":
            self.backbone: ResNet | MobileNetV2 = MobileNetV2(spec.shifted_blocks)
        else:
            self.backbone = ResNet(int(spec.backbone.removeprefix("resnet")), spec.shifted_blocks)
        self.motion_squeeze: MotionSqueeze | None = None
        if spec.has_motion:
            self.motion_squeeze = MotionSqueeze(self.backbone.motion_channels, soft_argmax=soft_argmax)
        self.dropout = nn.Dropout(dropout)
        self.classifier: nn.Linear | None = None
        if spec.num_classes is not None:
            self.classifier = nn.Linear(spec.feature_dim, spec.num_classes)
        self.compute_dtype = torch.float32  # frames are cast to it; `load_model` sets it to the weights' own

    @property
    def members(self) -> tuple[MSNet, ...]:
        """Itself alone, as an ensemble of one."""
        return (self,)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.buffers()).device

    def matching_modules(self) -> list[nn.Module]:
        """What displacement and confidence depend on: the lower half and the reduction; empty without an MS module."""
        if self.motion_squeeze is None:
            return []
        return [*self.backbone.parts()[0], self.motion_squeeze.reduction]

    def temporal_layers(self) -> TemporalLayers:
        """For each layer that joins frames, in the order in which frames meet them, whether it is the MS module.

        Those until stage 2 is complete, those of stage 3, those of stage 4.
        """
        stage2, stage3, stage4 = (
            (False,) * sum(block.shifted for part in parts for block in part.modules() if isinstance(block, _SHIFTING))
            for parts in self.backbone.parts()
        )
        squeeze = () if self.motion_squeeze is None else (True,)
        return (*stage2, *squeeze), stage3, stage4

    def forward(self, frames: Tensor, *, stages: Collection[str] = ()) -> MSNetOutput:
        """Features of B clips, (B, T, 3, H, W); see `MSNetOutput`. stages: those of `schemas.tensors.STAGES` wanted."""
        if frames.ndim != 5 or frames.shape[2] != 3 or frames.shape[1] < 2 or not frames.is_floating_point():
            raise ValueError(
                f"expected float frames (B, T, 3, H, W) with T >= 2; got {frames.dtype} {tuple(frames.shape)}"
            )
        clips = frames.shape[:1]
        if not set(stages) <= set(STAGES):
            raise ValueError(f"expected stages among {', '.join(STAGES)}; got {stages!r}")
        timeline = ClipTimeline(frames.shape[1], self.spec.edges)
        features, motion, maps = self.run(frames.flatten(0, 1), timeline, stages)
        features = torch.unflatten(features, 0, (*clips, -1))  # (B, T, D)
        clip_features = features.mean(1)
        logits = None
        if self.classifier is not None:  # the consensus of TSN: the mean of the frames' scores
            logits = self.classifier(self.dropout(features)).mean(1)
        of_stages = {name: torch.unflatten(x.float(), 0, (*clips, -1)) for name, x in maps.items()}
        if motion is None:
            return MSNetOutput(clip_features, features, None, None, None, None, logits, **of_stages)
        return MSNetOutput(
            clip_features,
            features,
            torch.unflatten(motion.features.float(), 0, (*clips, -1)),
            torch.unflatten(motion.displacement, 0, (*clips, -1)),
            torch.unflatten(motion.confidence, 0, (*clips, -1)),
            torch.unflatten(motion.tied, 0, (*clips, -1)),
            logits,
            **of_stages,
        )

    def run(
        self, frames: Tensor, timeline: Timeline, stages: Collection[str] = ()
    ) -> tuple[Tensor, MotionFeatures | None, dict[str, Tensor]]:
        """Return frame features (M, D), float32, and motion features of the frames that `timeline` has ready.

        Also the maps of the `stages` asked for, by name, in the dtype in which the network computes. `frames` is
        (N, 3, H, W). Clips and streams share this forward pass.
        """
        kept: dict[str, Tensor] = {}
        with precision_of(self.compute_dtype, self.device.type):
            x = frames.to(self.device, self.compute_dtype).contiguous(memory_format=torch.channels_last)
            x = self.backbone.lower(x, timeline)
            motion = None
            if self.motion_squeeze is not None:
                x, motion = timeline.squeeze(self.motion_squeeze, x)
            if "stage2" in stages:
                kept["stage2"] = x
            if motion is not None:
                # in place unless `x` is needed: no timeline keeps it
                x = x + motion.features if x.requires_grad or kept else x.add_(motion.features)
            x = self.backbone.stage3(x, timeline)
            if "stage3" in stages:
                kept["stage3"] = x
            x = self.backbone.stage4(x, timeline)
            if "stage4" in stages:
                kept["stage4"] = x
            return x.mean((2, 3), dtype=torch.float32), motion, kept


class MSNetEnsemble(nn.Module):
    """MSNet-En: an 8-frame and a 16-frame MSNet over the same video.

    Called on one clip tensor per member, it returns `MSNetOutput`. It cannot stream: its members take other frames.
    """

    def __init__(self, spec: NetworkSpec, members: Sequence[MSNet]) -> None:
        super().__init__()
        self.spec = spec
        self._members = nn.ModuleList(members)

    @property
    def members(self) -> tuple[MSNet, ...]:
        """The networks, in the order of `spec.members`."""
        return cast(tuple[MSNet, ...], tuple(self._members))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the members' weights."""
        return tuple(note for member in self.members for note in member.notes)

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        return self.members[0].device

    def forward(self, clips: Sequence[Tensor], *, stages: Collection[str] = ()) -> MSNetOutput:
        """Features of B videos from one (B, T, 3, H, W) tensor per member, in the members' order.

        Clip features are (B, 2 D), frames and pairs follow one another along T, and logits are averaged.
        """
        if len(clips) != len(self.members):
            raise ValueError(f"expected a clip tensor for each of {len(self.members)} members; got {len(clips)}")
        outputs = [member(clip, stages=stages) for member, clip in zip(self.members, clips, strict=True)]
        joined = {
            name: torch.cat([getattr(output, name) for output in outputs], 1)
            for name in ("clip_features", "frame_features", "motion", "displacement", "confidence", "tied", *stages)
        }
        logits = [output.logits for output in outputs if output.logits is not None]
        return MSNetOutput(**joined, logits=torch.stack(logits).mean(0) if logits else None)


def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Fill parameters and statistics in place, as the reference does before training, from `generator` alone.

    Two deviations keep the features of an untrained network in the range of float16; the reference's grow with depth
    to 1e5 (ResNet-101) or vanish to 1e-9 (MobileNetV2). A depthwise convolution counts its own fan-out, not that of
    all groups, and a branch beside a skip path ends in a norm of weight 0.5, not 1.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[:, 0].numel() / module.groups
            nn.init.normal_(module.weight, 0, (2 / fan_out) ** 0.5, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.001, generator=generator)
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, _SHIFTING) and module.has_skip:
            nn.init.constant_(module.last.norm.weight, 0.5)


def build_network(
    spec: NetworkSpec | str,
    *,
    num_classes: int | None = None,
    seed: int = 0,
    soft_argmax: SoftArgmaxKind = "kernel",
    dropout: float = 0.0,
) -> MSNet:
    """Build a trainable network in training mode with random weights from `seed`, and keep the global random state.

    `spec` is a name or a description; a description has its own number of classes. ConfigurationError for an
    ensemble, whose members are trained one by one.
    """
    if isinstance(spec, str):
        spec = describe_network(spec, num_classes=num_classes)
    if spec.is_ensemble:
        raise ConfigurationError(f"expected one network; got {spec.name}. Build {spec.members[0].name} for each member")
    network = _unfilled(spec, soft_argmax, dropout)
    initialize(network, torch.Generator().manual_seed(seed))
    return network


def blank_network(spec: NetworkSpec) -> MSNet:
    """As `build_network`, but convolutions and classifier hold no numbers yet: a whole checkpoint is about to."""
    return _unfilled(spec, "kernel", 0.0)


class _NoRandomNumbers(TorchFunctionMode):
    """Layers do without the random numbers that are replaced at once: a quarter of the time to load a network."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (nn.init.kaiming_uniform_, nn.init.uniform_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _unfilled(spec: NetworkSpec, soft_argmax: SoftArgmaxKind, dropout: float) -> MSNet:
    with _NoRandomNumbers():
        return MSNet(spec, soft_argmax=soft_argmax, dropout=dropout)
