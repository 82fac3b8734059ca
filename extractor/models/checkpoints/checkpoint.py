"""Checkpoints: recognised by their content, loaded whole or refused with what does not fit, saved in our own format.

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
from extractor.models.checkpoints.names import canonical_name, is_motion_name, plain_name, spell_as_torchvision
from extractor.models.checkpoints.notes import matching_note, module_note, saved_notes
from extractor.models.msnet import MSNet, build_network
from extractor.models.public.cache import named_checkpoint
from extractor.models.spec import NetworkSpec, describe_network
from schemas.config import Edges
from schemas.errors import ConfigurationError, WeightsError

CheckpointKind = Literal["reference", "tsm", "imagenet", "msnet"]

_LISTED_NAMES = 8  # in a message, of each sort


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


@dataclass(frozen=True, slots=True)
class Fit:
    """How a checkpoint fits a network: names it lacks, names it should not have, names of another shape.

    `kept` are parameters of the MS module that keep their initial values, as the checkpoint has no MS module.
    """

    model: str
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    kept: tuple[str, ...]
    problem: str | None = None  # anything else that is wrong

    @property
    def fits(self) -> bool:
        """Whether the checkpoint can be loaded."""
        return not (self.missing or self.unexpected or self.misshapen or self.problem)

    def describe(self) -> str:
        """What does not fit, in one line."""
        sorts = {"missing": self.missing, "unexpected": self.unexpected, "wrongly shaped": self.misshapen}
        parts = [self.problem] if self.problem else []
        parts += [f"{len(names)} {sort} ({_listed(names)})" for sort, names in sorts.items() if names]
        return "; ".join(parts)


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
            f" like one ({_listed(tuple(file.tensors)) or 'it is empty'})"
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


def check_fit(checkpoint: Checkpoint, spec: NetworkSpec) -> tuple[Fit, NetworkSpec]:
    """Return how `checkpoint` fits the network `spec`, and `spec` with what the checkpoint decides.

    The checkpoint decides the classes and which blocks shift. `spec.num_classes` must be None or its own.
    """
    problem = None
    is_backbone = not checkpoint.has_motion and spec.has_motion and _is_backbone_of(checkpoint, spec)
    if checkpoint.architecture not in (None, spec.name) and not is_backbone:
        problem = f"it is a {checkpoint.architecture}"
    elif spec.num_classes not in (None, checkpoint.num_classes):
        problem = f"expected {spec.num_classes} classes; got {checkpoint.num_classes}"
    elif spec.family == "tsn" and checkpoint.shifted_blocks:
        problem = "its blocks were trained with the temporal shift, which a TSN lacks"
    shifted = None if problem or spec.family == "tsn" else checkpoint.shifted_blocks
    with_classes = replace(spec, num_classes=checkpoint.num_classes)
    try:
        if shifted is not None:
            blocks = describe_network(spec.name, shifted_blocks=shifted).shifted_blocks
            with_classes = replace(with_classes, shifted_blocks=blocks)
    except ConfigurationError as error:
        problem = str(error)
    expected = _expected(with_classes)
    missing = [name for name in expected if name not in checkpoint.tensors]
    kept = [name for name in missing if is_backbone and is_motion_name(name)]
    fit = Fit(
        spec.name,
        tuple(name for name in missing if name not in set(kept)),
        tuple(original for name, original in checkpoint.originals.items() if name not in expected),
        tuple(
            f"{checkpoint.originals[name]} {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
            for name, tensor in checkpoint.tensors.items()
            if name in expected and tensor.shape != expected[name].shape
        ),
        tuple(kept),
        problem,
    )
    return fit, with_classes


def restore(spec: NetworkSpec, checkpoint: Checkpoint, *, seed: int = 0, edges: Edges | None = None) -> MSNet:
    """Build a trainable network, in training mode, with the weights of `checkpoint`; WeightsError where they misfit.

    Without an MS module in the checkpoint (TSM, TSN, ImageNet), the network's keeps its initial weights from `seed`,
    and `notes` says so. `edges` are by default those the checkpoint was made for.
    """
    fit, spec = check_fit(checkpoint, spec)
    if not fit.fits:
        raise WeightsError(f"{checkpoint.path} ({checkpoint.kind}) does not fit {spec.name}: {fit.describe()}")
    _check_values(checkpoint)
    spec = replace(
        spec, weights_kind=checkpoint.kind, weights_sha256=checkpoint.sha256, edges=edges or checkpoint.edges
    )
    network = build_network(spec, seed=seed)
    ours = {canonical: name for name, canonical in _names(network).items()}
    state = {ours[name]: tensor for name, tensor in checkpoint.tensors.items()}
    network.load_state_dict(state, strict=False)  # `check_fit` has compared every name and shape
    network.notes = _notes(checkpoint, network, is_new=bool(fit.kept), seed=seed)
    return network


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
    names = _names(network)
    state = network.state_dict()
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


def _is_backbone_of(checkpoint: Checkpoint, spec: NetworkSpec) -> bool:
    """Whether a checkpoint without an MS module is of a kind that lacks one, and not of another backbone by name."""
    if checkpoint.kind == "msnet":
        return checkpoint.architecture in (f"tsn_{spec.backbone}", f"tsm_{spec.backbone}")
    return checkpoint.kind in ("tsm", "imagenet")


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


def _expected(spec: NetworkSpec) -> dict[str, Tensor]:
    """Canonical names of the network `spec` with meta tensors of the right shapes."""
    with torch.device("meta"):
        network = MSNet(spec)
    state = network.state_dict()
    return {canonical: state[name] for name, canonical in _names(network).items()}


def _names(network: MSNet) -> dict[str, str]:
    """Our names to canonical ones, of everything a file must have."""
    named = {name: canonical_name(name) for name in network.state_dict()}
    return {name: canonical for name, canonical in named.items() if canonical is not None}


def _check_values(checkpoint: Checkpoint) -> None:
    """Refuse weights that are not finite: they would silently poison every feature."""
    wrong = [
        checkpoint.originals[name]
        for name, tensor in checkpoint.tensors.items()
        if not tensor.is_floating_point()
        or not bool(tensor.isfinite().all())
        or (name.endswith("running_var") and bool((tensor < 0).any()))
    ]
    if wrong:
        raise WeightsError(
            f"expected finite floating-point weights, and variances of at least 0, in {checkpoint.path}; got others in"
            f" {len(wrong)} ({_listed(wrong)})"
        )


def _notes(checkpoint: Checkpoint, network: MSNet, *, is_new: bool, seed: int) -> tuple[str, ...]:
    """Those saved with our own files, and what has to be said of this network."""
    notes = saved_notes(checkpoint.metadata) if checkpoint.kind == "msnet" else []
    kind = checkpoint.architecture or checkpoint.kind
    note = module_note(checkpoint.path, kind, network, is_new=is_new, seed=seed)
    if note is None and checkpoint.kind == "imagenet" and network.spec.shifted_blocks:
        note = f"{checkpoint.path.name} (imagenet) was trained on images, without the temporal shift"
    of_matching = matching_note(checkpoint.metadata) if checkpoint.kind == "msnet" else None
    notes += [one for one in (note, of_matching) if one is not None and one not in notes]
    return tuple(notes)


def _listed(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(name[:120] for name in names[:_LISTED_NAMES])
    return shown if len(names) <= _LISTED_NAMES else f"{shown} and {len(names) - _LISTED_NAMES} more"
