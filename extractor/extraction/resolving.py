"""From a request to a configuration: defaults are filled in, and options that do not fit together are refused."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ValidationError

from extractor.extraction.request import Request
from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS, RANDOM_WEIGHTS, bundled_checkpoint
from extractor.models.checkpoints.declared import read_declared
from extractor.models.public.cache import is_public_name
from extractor.models.spec import NetworkSpec, describe_network
from schemas.config import Edges, ExtractionConfig, Sampling
from schemas.errors import ConfigurationError, WeightsError
from schemas.layout import datasets_of
from schemas.tensors import Needs, NetworkShape, named_outputs, output_choices
from schemas.wording import first_refusal

_MOTION_FORM = re.compile("pooled|full|[1-9][0-9]?")
_SAMPLINGS_WITH = {
    "num_frames": (Sampling.WINDOWS, Sampling.SEGMENTS, Sampling.CLIPS),
    "rate_hz": (Sampling.WINDOWS, Sampling.DENSE, Sampling.CLIPS),
    "hop": (Sampling.WINDOWS, Sampling.CLIPS),
    "clips": (Sampling.SEGMENTS,),
}


@dataclass(frozen=True, slots=True)
class ResolvedRequest:
    """A request with every default filled in. weights: as `extractor.load_model` takes them."""

    config: ExtractionConfig
    shape: NetworkShape
    weights: str


def resolve(request: Request) -> ResolvedRequest:
    """Fill in the defaults, and refuse options that do not fit together.

    Raises ConfigurationError for a network, a sampling or outputs that are not available, WeightsError for weights
    that are missing, unreadable or of another network.
    """
    spec = describe_network(request.model)
    _require_sampling(spec, request)
    _require_meaning(spec, request)
    weights = resolve_weights(spec, request.weights)
    outputs, motion_form = _outputs(spec, request.outputs)
    fields = asdict(request) | {
        "weights": weights.digest,
        "seed": _given(request.seed, 0),
        "num_frames": None if spec.is_ensemble else _given(request.num_frames, spec.num_segments),
        "rate_hz": _rate(request.rate_hz),
        "clips": _given(request.clips, 1),
        "edges": request.edges or weights.declared_edges(),
        "outputs": outputs,
        "motion_form": motion_form,
    }
    try:
        config = ExtractionConfig(**fields)
    except ValidationError as error:
        raise ConfigurationError(first_refusal(error, _option)) from None
    shape = network_shape(config, weights.num_classes)
    datasets_of(config, shape)  # refuses outputs that this network does not have
    return ResolvedRequest(config, shape, weights.source)


def _option(field_name: str) -> str:
    return f"--{field_name.replace('_', '-')}"


def _given(value: int | None, default: int) -> int:
    return default if value is None else value


def network_shape(config: ExtractionConfig, num_classes: int | None) -> NetworkShape:
    """Widths of the configured network's outputs."""
    spec = describe_network(config.model)
    return NetworkShape(
        clip_dim=spec.feature_dim,
        frame_dim=spec.frame_feature_dim,
        motion_channels=spec.motion_channels or 0,
        cells=spec.cells(config.size, config.size),
        num_classes=num_classes or 0,
        members=len(spec.members),
        stage_channels=spec.stage_channels,
    )


@dataclass(frozen=True, slots=True)
class ResolvedWeights:
    """Weights as `load_model` takes them (`source`), and what their checkpoints say.

    digest: identifies them in the configuration. num_classes: of their classifier. edges: by member, as it was made.
    """

    source: str
    digest: str
    num_classes: int | None
    edges: tuple[Edges, ...]

    def declared_edges(self) -> Edges:
        """The edges that all members were made for. Raises ConfigurationError if they differ."""
        if len(set(self.edges)) > 1:
            raise ConfigurationError(
                f"expected checkpoints made for the same edges; got different edges ({' and '.join(self.edges)}). "
                "Choose with --edges"
            )
        return self.edges[0]


def resolve_weights(spec: NetworkSpec, weights: str | None) -> ResolvedWeights:
    """Inspect the checkpoints. Raises WeightsError if they are missing, unreadable or of another network.

    A bundled one is of its network (tests hold that), and what it declares suffices: that needs no torch.
    """
    if weights == RANDOM_WEIGHTS:
        return ResolvedWeights(weights, RANDOM_WEIGHTS, None, (spec.edges,))
    if weights is None or weights in ("", BUNDLED_WEIGHTS):
        declared = read_declared(bundled_checkpoint(spec.name))
        return ResolvedWeights(BUNDLED_WEIGHTS, declared.sha256, declared.num_classes, (declared.edges,))
    from extractor.models.checkpoints.inspection import inspect_checkpoint

    given = [part.strip() for part in (weights.split(",") if spec.is_ensemble else [weights])]
    # A store records the name of public weights, not their path, which differs between machines.
    names = [part if is_public_name(part) else str(Path(part).absolute()) for part in given]
    paths = [Path(name) for name in names]
    if len(paths) != len(spec.members):
        raise WeightsError(
            f"expected {len(spec.members)} checkpoints, A,B, for {spec.name}; got {len(paths)}: {weights}. "
            "Give --weights one path a network"
        )
    reports = [inspect_checkpoint(path, member.name) for path, member in zip(paths, spec.members, strict=True)]
    for report in reports:
        if not report.fit.fits:
            advice = f". Use --model {report.architecture}" if report.architecture else ""
            raise WeightsError(
                f"expected weights that fit {spec.name}; {report.path} does not: {report.fit.describe()}{advice}"
            )
    digest = ",".join(report.sha256 for report in reports)
    return ResolvedWeights(",".join(names), digest, reports[0].num_classes, tuple(report.edges for report in reports))


def _require_sampling(spec: NetworkSpec, request: Request) -> None:
    if spec.is_ensemble and request.sampling is not Sampling.SEGMENTS:
        raise ConfigurationError(
            f"expected --sampling segments for {spec.name}; got {request.sampling}. Use --sampling segments"
        )
    if spec.is_ensemble and request.num_frames is not None:
        raise ConfigurationError(
            f"expected no --num-frames for {spec.name}, whose members take 8 and 16 frames; got {request.num_frames}: "
            "leave --num-frames out"
        )


def _require_meaning(spec: NetworkSpec, request: Request) -> None:
    """Refuse options that would silently change nothing."""
    for name, samplings in _SAMPLINGS_WITH.items():
        if getattr(request, name) is not None and request.sampling not in samplings:
            *most, last = samplings
            choices = f"{', '.join(most)} or {last}" if most else last
            raise ConfigurationError(
                f"expected {_option(name)} only with --sampling {choices}; got {request.sampling}. "
                "Leave it out, or choose another sampling"
            )
    if request.edges is not None and not spec.shifted_blocks:
        raise ConfigurationError(
            f"expected --edges only for networks with temporal shift; got {spec.name}, which has none. Leave it out"
        )
    if request.seed is not None and request.weights != RANDOM_WEIGHTS:
        raise ConfigurationError("expected --seed only with --weights random; got a checkpoint. Leave it out")


def _rate(rate_hz: float | None) -> float | None:
    if rate_hz is None:
        return 10.0
    if not (math.isfinite(rate_hz) and rate_hz >= 0):
        raise ConfigurationError(
            f"expected a rate in frames per second, or 0 for every frame; got {rate_hz:g}. "
            "Give --rate-hz a positive number"
        )
    return rate_hz or None


def _outputs(spec: NetworkSpec, names: tuple[str, ...] | None) -> tuple[tuple[str, ...], str]:
    """Tensors to write, and the form of motion. By default all usual tensors that the network has."""
    if names is None:
        usual = {name: stored for name, stored in output_choices().items() if stored.by_default}
        return tuple(
            name for name, stored in usual.items() if spec.has_motion or stored.needs != Needs.MOTION
        ), "pooled"
    form, chosen = "pooled", []
    for name in names:
        base, _, detail = name.partition(":")
        if base not in output_choices() or (detail and not (base == "motion" and _MOTION_FORM.fullmatch(detail))):
            raise ConfigurationError(
                f"expected outputs among {named_outputs()}, or motion:4, motion:full; got {name!r}. Correct --outputs"
            )
        form = detail or form
        chosen.append(base)
    return tuple(chosen), form
