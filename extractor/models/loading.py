"""`load_model` returns a network with weights, ready for inference; `normalize` prepares its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extractor.models.backbones.fusion import fuse
from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS, RANDOM_WEIGHTS, bundled_checkpoint
from extractor.models.checkpoints.checkpoint import read_checkpoint, restore
from extractor.models.msnet import MSNet, MSNetEnsemble, build_network
from extractor.models.spec import NetworkSpec, describe_network
from schemas.config import Edges
from schemas.errors import ConfigurationError, WeightsError
from schemas.wording import counted

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)

Weights = str | Path | Sequence[str | Path]


def load_model(
    name: str,
    *,
    weights: Weights | None = None,
    num_segments: int | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    num_classes: int | None = None,
    edges: Edges | str | None = None,
) -> MSNet | MSNetEnsemble:
    """Load the network called `name` in evaluation mode, folded for inference; it does not track gradients.

    `weights` is the path of a checkpoint, the name of fetched public weights (`msnet weights list`), "bundled" for the
    one that comes with the package (the default where there is one), "random" (from `seed`; for tests and try-outs
    only), or, for an ensemble, two of the first kinds: "A,B" or a sequence.
    `num_segments` is the clip length the network is declared for; it takes any length from 2 on. Convolutions compute
    in `dtype`; matching, pooling and classifier stay float32. With random weights, `num_classes` may be None (no
    logits); a checkpoint decides it, and a number that differs from its own is refused. `edges` is what the temporal
    shift reads beyond the ends of a sequence, "repeat" (the frame itself) or "zeros"; by default what the checkpoint
    was made for, and "repeat" for random weights. `.notes` says what the user should know about the weights.

    Folding changes the names and values of the `state_dict`, and no network loads it again. To train or save a
    network, take it from `build_network` or `restore`.

    WeightsError where the checkpoint cannot be read or does not fit; ConfigurationError for a name, a dtype, a number
    or a device that cannot be used.
    """
    if dtype not in _DTYPES:
        raise ConfigurationError(f"expected a dtype of torch.float32, torch.float16 or torch.bfloat16; got {dtype}")
    spec = describe_network(name, num_segments=num_segments, num_classes=num_classes)
    chosen = None if edges is None else _usable_edges(edges, spec)
    target = _usable_device(device)
    paths = _split(weights, spec)
    members = [
        _load(member, path, seed + i, dtype, target, chosen)
        for i, (member, path) in enumerate(zip(spec.members, paths, strict=True))
    ]
    return _join(spec, members) if spec.is_ensemble else members[0]


def normalize(frames: npt.NDArray[np.uint8] | Tensor) -> Tensor:
    """Turn RGB frames (..., H, W, 3) uint8 into network input: (..., 3, H, W) float32 on the same device.

    RGB scaled to [0, 1], minus ImageNet's mean, over its standard deviation. The memory stays channels last.
    """
    pixels = torch.from_numpy(frames) if isinstance(frames, np.ndarray) else frames
    if pixels.dtype != torch.uint8 or pixels.ndim < 3 or pixels.shape[-1] != 3:
        raise ValueError(f"expected uint8 frames (..., H, W, 3); got {pixels.dtype} {tuple(pixels.shape)}")
    mean, std = _pixel_statistics(pixels.device)
    return ((pixels - mean) / std).movedim(-1, -3)


@cache
def _pixel_statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of pixel values, made once: the upload waits for the device.

    The arithmetic is the host's. On the device it would follow the stream that comes first, and no other stream knows
    when it is done.
    """
    return (torch.tensor(IMAGENET_MEAN) * 255).to(device), (torch.tensor(IMAGENET_STD) * 255).to(device)


def _load(
    spec: NetworkSpec,
    weights: str | Path,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    edges: Edges | None,
) -> MSNet:
    if weights == RANDOM_WEIGHTS:
        network = build_network(replace(spec, weights_kind=RANDOM_WEIGHTS, edges=edges or spec.edges), seed=seed)
        network.notes = (
            f"{spec.name} has random weights (seed {seed}): its features describe no motion and serve tests only",
        )
    else:
        network = restore(spec, read_checkpoint(Path(weights)), seed=seed, edges=edges)
    fused = fuse(network, dtype=dtype, device=device)
    fused.compute_dtype = dtype
    return fused


def _join(spec: NetworkSpec, members: Sequence[MSNet]) -> MSNetEnsemble:
    specs = tuple(member.spec for member in members)
    if len({member.num_classes for member in specs}) > 1:
        counts = " and ".join(str(member.num_classes) for member in specs)
        raise WeightsError(
            f"expected members of {spec.name} with the same classes; got {counts}. Give checkpoints of one training set"
        )
    hashes = [member.weights_sha256 for member in specs if member.weights_sha256 is not None]
    loaded = replace(
        spec,
        ensemble=specs,
        num_classes=specs[0].num_classes,
        weights_kind=",".join(str(member.weights_kind) for member in specs),
        weights_sha256=",".join(hashes) or None,
    )
    return MSNetEnsemble(loaded, members).eval()


def _usable_edges(edges: Edges | str, spec: NetworkSpec) -> Edges:
    if not spec.shifted_blocks:
        raise ConfigurationError(
            f"expected no edges for {spec.name}, which has no temporal shift; got {str(edges)!r}. Leave them out"
        )
    try:
        return Edges(edges)
    except ValueError:
        raise ConfigurationError(f"expected edges {' or '.join(map(repr, map(str, Edges)))}; got {edges!r}") from None


def _usable_device(device: str | torch.device) -> torch.device:
    try:
        target = torch.device(device)
        torch.empty(1, device=target)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(
            f"expected a device that can be used here; got {str(device)!r} ({reason}). Give another, like 'cpu'"
        ) from error
    return target


def _split(weights: Weights | None, spec: NetworkSpec) -> list[str | Path]:
    """One entry of `weights` per member of `spec`."""
    wanted = len(spec.members)
    if weights is None or weights in ("", BUNDLED_WEIGHTS):
        return [bundled_checkpoint(spec.name)]
    if weights == RANDOM_WEIGHTS:
        return [RANDOM_WEIGHTS] * wanted
    if isinstance(weights, str) and wanted > 1:
        paths: list[str | Path] = [part.strip() for part in weights.split(",")]
    else:
        paths = [weights] if isinstance(weights, str | Path) else list(weights)
    if len(paths) != wanted or not all(str(path) for path in paths):
        advice = 'Give "A,B"' if wanted > 1 else "Give one path"
        raise WeightsError(
            f"expected {counted(wanted, 'checkpoint')} for {spec.name}; got {len(paths)}: {weights}. {advice}"
        )
    return paths
