"""How a checkpoint fits a network, and the network with its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from extractor.models.checkpoints.checkpoint import Checkpoint
from extractor.models.checkpoints.names import canonical_names, is_motion_name, listed
from extractor.models.checkpoints.notes import matching_note, module_note, saved_notes
from extractor.models.msnet import MSNet, blank_network, build_network
from extractor.models.spec import NetworkSpec, describe_network
from schemas.config import Edges
from schemas.errors import ConfigurationError, WeightsError


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
        parts += [f"{len(names)} {sort} ({listed(names)})" for sort, names in sorts.items() if names]
        return "; ".join(parts)


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
    network = build_network(spec, seed=seed) if fit.kept else blank_network(spec)
    ours = {canonical: name for name, canonical in canonical_names(network.state_dict()).items()}
    state = {ours[name]: tensor for name, tensor in checkpoint.tensors.items()}
    network.load_state_dict(state, strict=False)  # `check_fit` has compared every name and shape
    network.notes = _notes(checkpoint, network, is_new=bool(fit.kept), seed=seed)
    return network


def _is_backbone_of(checkpoint: Checkpoint, spec: NetworkSpec) -> bool:
    """Whether a checkpoint without an MS module is of a kind that lacks one, and not of another backbone by name."""
    if checkpoint.kind == "msnet":
        return checkpoint.architecture in (f"tsn_{spec.backbone}", f"tsm_{spec.backbone}")
    return checkpoint.kind in ("tsm", "imagenet")


def _expected(spec: NetworkSpec) -> dict[str, Tensor]:
    """Canonical names of the network `spec` with meta tensors of the right shapes."""
    with torch.device("meta"):
        network = MSNet(spec)
    state = network.state_dict()
    return {canonical: state[name] for name, canonical in canonical_names(network.state_dict()).items()}


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
            f" {len(wrong)} ({listed(wrong)})"
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
