"""Checkpoints: recognised by their content, and saved in our own format.

Kinds: "reference" (MSNet as its public code saves it), "tsm" (releases of TSM), "imagenet" (torchvision's names),
"msnet" (our own safetensors). "tsm", "imagenet" and our own files of TSN and TSM have no MS module; a network's own
then keeps its initial weights, and its `notes` say so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from extractor.models.checkpoints.declared import FORMAT, FORMAT_VERSION, own_numbers
from extractor.models.checkpoints.files import read_weights_file
from extractor.models.checkpoints.names import canonical_names, is_motion_name, listed, plain_name, spell_as_torchvision
from extractor.models.msnet import MSNet
from extractor.models.public.cache import named_checkpoint
from schemas.config import Edges
from schemas.errors import ConfigurationError, WeightsError

CheckpointKind = Literal["reference", "tsm", "imagenet", "msnet"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file of weights under canonical names (see `names`)."""

    path: Path
    kind: CheckpointKind
    sha256: str
    size_bytes: int
    tensors: Mapping[str, Tensor]
    originals: Mapping[str, str]  # canonical name to name in the file
    shifted_blocks: tuple[str, ...] | None  # None where the file does not say
    num_classes: int | None
    architecture: str | None  # as one of our own files declares it
    edges: Edges  # those it was made for
    metadata: Mapping[str, str]

    @property
    def has_motion(self) -> bool:
        """Whether it has weights of an MS module."""
        return any(map(is_motion_name, self.tensors))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and recognise the checkpoint at `path`, which may be the name of fetched public weights.

    WeightsError where it is not a checkpoint, or not what its name promises.
    """
    path = named_checkpoint(path)
    file = read_weights_file(path)
    plain = {name: plain_name(name) for name in file.tensors if not name.endswith("num_batches_tracked")}
    spelled = spell_as_torchvision(name for name, _ in plain.values())
    originals: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    for original, (name, _) in plain.items():
        canonical = spelled[name]
        if canonical in originals:
            names = f"{originals[canonical]!r} and {original!r}"
            raise WeightsError(f"expected each parameter once in {path}; got {names}, which are the same parameter")
        originals[canonical], tensors[canonical] = original, file.tensors[original]
    shifted = {block for _, block in plain.values() if block is not None}
    if not any(name.startswith(("layer1.0.", "features.1.")) for name in tensors):
        raise WeightsError(
            f"expected weights of a network of this family; none of the {len(file.tensors)} tensors of {path} is named"
            f" like one ({listed(tuple(file.tensors)) or 'it is empty'})"
        )
    kind = _recognise(tensors, originals, bool(shifted), file.metadata)
    if kind == "reference":  # it has a batch norm that nothing uses
        for name in [name for name in tensors if name.startswith("bn2.")]:
            del tensors[name], originals[name]
    head = tensors.get("fc.weight")
    if head is not None and head.ndim == 3 and head.shape[2] == 1:  # a 1-d convolution over the frames
        tensors["fc.weight"] = head = head.squeeze(2)
    shifted_blocks, edges = tuple(sorted(shifted)) or None, Edges.ZEROS
    if kind == "msnet":
        shifted_blocks, edges = own_numbers(path, file.metadata)
    return Checkpoint(
        path=path,
        kind=kind,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        tensors=tensors,
        originals=originals,
        shifted_blocks=shifted_blocks,
        num_classes=None if head is None or not head.ndim else head.shape[0],
        architecture=file.metadata.get("architecture") if kind == "msnet" else None,
        edges=edges,
        metadata=file.metadata,
    )


def without_classifier(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint without its classifier, for a network that is to have another one, or none."""
    kept = {name: tensor for name, tensor in checkpoint.tensors.items() if not name.startswith("fc.")}
    originals = {name: original for name, original in checkpoint.originals.items() if name in kept}
    return replace(checkpoint, tensors=kept, originals=originals, num_classes=None)


def save_checkpoint(
    path: Path,
    network: MSNet,
    *,
    licence: str,
    recipe: Mapping[str, object] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Save `network` (from `build_network` or `restore`, not folded) as one of our own files, atomically.

    `recipe` says in plain values how the weights were made, `licence` how they may be used. `dtype` is that of stored
    kernels and matrices, by default the network's own; norms and biases, which are small, keep theirs.
    ConfigurationError for a folded network.
    """
    state = network.state_dict()
    names = canonical_names(state)
    spec = network.spec
    if set(names) - set(state):
        raise ConfigurationError("expected a network before folding; got a folded one. Build or restore it again")
    numbers = {
        "num_classes": spec.num_classes,
        "num_segments": spec.num_segments,
        "feature_dim": spec.feature_dim,
        "motion_channels": spec.motion_channels,
        "shifted_blocks": spec.shifted_blocks,
        "edges": spec.edges.value,
    }
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": spec.name,
        "numbers": json.dumps(numbers),
        "recipe": json.dumps(dict(recipe or {})),
        "licence": licence,
        "notes": json.dumps(network.notes),
    }
    tensors = {}
    for name, canonical in names.items():
        tensor = state[name].detach()
        tensors[canonical] = tensor.to("cpu", dtype if tensor.ndim > 1 else None).contiguous()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, temporary, metadata)
        temporary.chmod(0o644)  # safetensors makes its files readable to the owner alone
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _recognise(
    tensors: Mapping[str, Tensor], originals: Mapping[str, str], shifted: bool, metadata: Mapping[str, str]
) -> CheckpointKind:
    if metadata.get("format") == FORMAT:
        return "msnet"
    if any(map(is_motion_name, tensors)):
        return "reference"
    if shifted:
        return "tsm"
    if not any("base_model." in original for original in originals.values()):
        return "imagenet"
    head = tensors.get("fc.weight")
    return "reference" if head is not None and head.ndim == 3 else "tsm"
