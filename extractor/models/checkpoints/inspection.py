"""Tell what a checkpoint is, and how it fits a network, without building one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from extractor.models.backbones.architecture import RESNET_LAYERS, backbone_numbers, resnet_expansion
from extractor.models.checkpoints.checkpoint import Checkpoint, CheckpointKind, read_checkpoint
from extractor.models.checkpoints.fitting import Fit, check_fit
from extractor.models.checkpoints.names import is_motion_name
from extractor.models.spec import NETWORK_NAMES, Family, describe_network
from schemas.config import Edges


@dataclass(frozen=True, slots=True)
class CheckpointReport:
    """What `inspect_checkpoint` finds.

    `architecture` is the network that its content suggests, None where it is none of ours. `shifted_blocks` are those
    that its names (or our metadata) mark as shifted, None where they mark none. `edges` are those it was made for.
    `fit` is how it fits the network asked about; without one, `architecture`; without that, the nearest network.
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
    """Report what the checkpoint at `path` is and how it fits the network called `model` (by default a guess).

    WeightsError where it is not a checkpoint; a misfit is part of the report.
    """
    checkpoint = read_checkpoint(Path(path))
    architecture = architecture_of(checkpoint)
    asked = model or architecture
    if asked is None:
        fit = _nearest(checkpoint)
    else:
        fit, _ = check_fit(checkpoint, describe_network(asked).members[0])
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


def architecture_of(checkpoint: Checkpoint) -> str | None:
    """The network that its content suggests; None where it is none of ours."""
    name = checkpoint.architecture or _guess(checkpoint)
    return name if name in NETWORK_NAMES else None  # a file of a later version may say anything


def _nearest(checkpoint: Checkpoint) -> Fit:
    """The fit with the fewest wrong names and shapes; of equals, one of the checkpoint's own family."""
    family = _family(checkpoint)
    specs = [spec for spec in map(describe_network, NETWORK_NAMES) if not spec.is_ensemble]
    fits = [check_fit(checkpoint, spec)[0] for spec in sorted(specs, key=lambda spec: spec.family != family)]
    return min(fits, key=lambda fit: len(fit.missing) + len(fit.unexpected) + len(fit.misshapen))


def _family(checkpoint: Checkpoint) -> Family:
    if checkpoint.has_motion:
        return "msnet"
    return "tsn" if checkpoint.kind == "imagenet" else "tsm"


def _guess(checkpoint: Checkpoint) -> str | None:
    """Name of the network whose backbone has exactly the checkpoint's blocks."""
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
