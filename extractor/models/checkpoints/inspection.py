"""What a file of weights is, and what of it fits a network, without building one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from extractor.models.backbones.architecture import RESNET_LAYERS, backbone_numbers, resnet_expansion
from extractor.models.checkpoints.checkpoint import Checkpoint, CheckpointKind, Fit, check_fit, read_checkpoint
from extractor.models.checkpoints.names import is_motion_name
from extractor.models.spec import NETWORK_NAMES, Family, describe_network
from schemas.config import Edges

__all__ = ["CheckpointReport", "inspect_checkpoint"]


@dataclass(frozen=True, slots=True)
class CheckpointReport:
    """What `inspect_checkpoint` finds.

    `architecture` is the network the file was made for as far as its content tells, None where it is none of ours;
    `shifted_blocks` those that its names (or our metadata) say shift, None where it does not say; `edges` those it was
    made for; `fit` how it fits the network that was asked about, or else `architecture`, or else the network that it
    misses by least.
    """

    path: Path
    kind: CheckpointKind
    sha256: str
    size_bytes: int
    architecture: str | None
    num_classes: int | None
    num_tensors: int
    num_parameters: int
    has_motion: bool
    shifted_blocks: tuple[str, ...] | None
    edges: Edges
    metadata: Mapping[str, str]
    fit: Fit


def inspect_checkpoint(path: str | Path, model: str | None = None) -> CheckpointReport:
    """Say what the checkpoint at `path` is and how it fits the network called `model` (its own guess unless given).

    WeightsError where it is no checkpoint; a misfit is part of the report.
    """
    checkpoint = read_checkpoint(Path(path))
    architecture = checkpoint.architecture or _guess(checkpoint)
    if architecture not in NETWORK_NAMES:  # a file of a later version may say anything
        architecture = None
    asked = model or architecture
    fit = _nearest(checkpoint) if asked is None else _fit(checkpoint, asked)
    return CheckpointReport(
        path=checkpoint.path,
        kind=checkpoint.kind,
        sha256=checkpoint.sha256,
        size_bytes=checkpoint.size_bytes,
        architecture=architecture,
        num_classes=checkpoint.num_classes,
        num_tensors=len(checkpoint.tensors),
        num_parameters=sum(t.numel() for name, t in checkpoint.tensors.items() if "running_" not in name),
        has_motion=checkpoint.has_motion,
        shifted_blocks=checkpoint.shifted_blocks,
        edges=checkpoint.edges,
        metadata=checkpoint.metadata,
        fit=fit,
    )


def _fit(checkpoint: Checkpoint, model: str) -> Fit:
    spec = describe_network(model)
    return check_fit(checkpoint, spec.members[0] if spec.members else spec)[0]


def _nearest(checkpoint: Checkpoint) -> Fit:
    """How it fits the network that it misses by the fewest names and shapes; of equals, one of its own family."""
    family = _family(checkpoint)
    specs = [spec for spec in map(describe_network, NETWORK_NAMES) if not spec.is_ensemble]
    fits = [check_fit(checkpoint, spec)[0] for spec in sorted(specs, key=lambda spec: spec.family != family)]
    return min(fits, key=lambda fit: len(fit.missing) + len(fit.unexpected) + len(fit.misshapen))


def _family(checkpoint: Checkpoint) -> Family:
    if checkpoint.has_motion:
        return "msnet"
    return "tsn" if checkpoint.kind == "imagenet" else "tsm"


def _guess(checkpoint: Checkpoint) -> str | None:
    """Name of the network whose backbone has exactly these blocks."""
    names = [name for name in checkpoint.tensors if not is_motion_name(name)]
    family = _family(checkpoint)
    if any(name.startswith("features.17.") for name in names):
        return "msnet_mobilenetv2"
    blocks = {name.rsplit(".conv1.", 1)[0] for name in names if name.startswith("layer") and ".conv1." in name}
    expansion = 4 if any(".conv3." in name for name in names) else 1
    for depth in RESNET_LAYERS:
        if blocks == set(backbone_numbers(f"resnet{depth}").blocks) and resnet_expansion(depth) == expansion:
            return f"{family}_resnet{depth}"
    return None
