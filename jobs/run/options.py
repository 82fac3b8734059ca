"""What was asked for, in Python: the network and the sampling (`Request`), and how the work is done (`Options`)."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import ValidationError

from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS, bundled_checkpoint
from extractor.models.checkpoints.inspection import inspect_checkpoint
from extractor.models.loading import RANDOM_WEIGHTS
from extractor.models.spec import NetworkSpec, describe_network
from jobs.workers.decoder_pool import DecoderLimits
from schemas.config import (
    DecoderPolicy,
    Edges,
    ExtractionConfig,
    Precision,
    Resize,
    Sampling,
    StorageFloat,
)
from schemas.errors import ConfigurationError, WeightsError
from schemas.layout import datasets_of
from schemas.tensors import Needs, NetworkShape, output_choices
from schemas.wording import first_refusal

__all__ = [
    "Options",
    "Request",
    "Resolved",
    "ResolvedWeights",
    "network_shape",
    "resolve",
    "resolve_weights",
]

_MOTION_FORM = re.compile("pooled|full|[1-9][0-9]?")
_SAMPLINGS_WITH = {
    "num_frames": (Sampling.WINDOWS, Sampling.SEGMENTS, Sampling.CLIPS),
    "rate_hz": (Sampling.WINDOWS, Sampling.DENSE, Sampling.CLIPS),
    "hop": (Sampling.WINDOWS, Sampling.CLIPS),
    "clips": (Sampling.SEGMENTS,),
}


@dataclass(frozen=True, slots=True)
class Request:
    """What changes features. None means the default for the network and the sampling.

    weights: path of a checkpoint ("A,B" for MSNet-En), "bundled", or "random". rate_hz: 0 takes every frame. outputs:
    names of `schemas.tensors.output_choices`; "motion:4" and "motion:full" keep motion on a 4 x 4 grid and in full.
    edges: None takes what the checkpoint was made for. What means nothing beside the rest (a hop of segments, a seed of
    a checkpoint) is refused unless it is None.
    """

    model: str = "msnet_resnet18"
    weights: str | None = None
    seed: int | None = None
    sampling: Sampling = Sampling.WINDOWS
    num_frames: int | None = None
    rate_hz: float | None = None
    hop: int | None = None
    clips: int | None = None
    edges: Edges | None = None
    outputs: tuple[str, ...] | None = None
    size: int = 224
    resize: Resize = Resize.STRETCH
    dtype: Precision = Precision.FLOAT32
    store_dtype: StorageFloat = StorageFloat.FLOAT16
    decoder: DecoderPolicy = DecoderPolicy.AUTO
    keep_corrupt: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How the work is done; nothing here changes a feature.

    part: (i, n), this job takes the shards whose number is i modulo n. limit: only the first so many videos.
    """

    device: str = "auto"
    extractors: int | None = None
    decoders: int | None = None
    threads: int | None = None
    shard_bytes: int = 256 * 1024 * 1024
    compression: str = "none"
    limit: int | None = None
    part: tuple[int, int] = (0, 1)
    ray_address: str | None = None
    limits: DecoderLimits = field(default_factory=DecoderLimits)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A request with everything decided. weights: as `extractor.load_model` takes it."""

    config: ExtractionConfig
    shape: NetworkShape
    weights: str


def resolve(request: Request) -> Resolved:
    """Decide what was left open, and refuse what does not fit together.

    Raises ConfigurationError for a network, a sampling or outputs that cannot be had, WeightsError for weights that
    are missing, unreadable or of another network.
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
    return Resolved(config, shape, weights.source)


def _either(samplings: tuple[Sampling, ...]) -> str:
    *most, last = samplings
    return f"{', '.join(most)} or {last}" if most else last


def _option(field_name: str) -> str:
    return f"--{field_name.replace('_', '-')}"


def _given(value: int | None, default: int) -> int:
    return default if value is None else value


def network_shape(config: ExtractionConfig, num_classes: int | None) -> NetworkShape:
    """Widths of what the configured network gives."""
    spec = describe_network(config.model)
    return NetworkShape(
        clip_dim=spec.feature_dim,
        frame_dim=spec.frame_feature_dim,
        motion_channels=spec.motion_channels or 0,
        cells=spec.cells(config.size, config.size),
        num_classes=num_classes or 0,
        members=len(spec.members),
    )


@dataclass(frozen=True, slots=True)
class ResolvedWeights:
    """Weights as `load_model` takes them (`source`) and what was found out about them.

    digest: what the configuration says of them. num_classes: of their classifier. edges: what each member was made for.
    """

    source: str
    digest: str
    num_classes: int | None
    edges: tuple[Edges, ...]

    def declared_edges(self) -> Edges:
        """The edges that all members were made for; ConfigurationError where they differ."""
        if len(set(self.edges)) > 1:
            raise ConfigurationError(
                f"the checkpoints were made for different edges ({' and '.join(self.edges)}): choose by --edges"
            )
        return self.edges[0]


def resolve_weights(spec: NetworkSpec, weights: str | None) -> ResolvedWeights:
    """Look into the checkpoints; WeightsError where they are missing, unreadable or of another network."""
    if weights == RANDOM_WEIGHTS:
        return ResolvedWeights(weights, RANDOM_WEIGHTS, None, (spec.edges,))
    bundled = weights in (None, "", BUNDLED_WEIGHTS)
    if bundled or weights is None:
        paths = [bundled_checkpoint(spec.name)]
    else:
        paths = [Path(part.strip()).absolute() for part in (weights.split(",") if spec.is_ensemble else [weights])]
    if len(paths) != len(spec.members):
        raise WeightsError(f"{spec.name} needs {len(spec.members)} checkpoints, A,B; {len(paths)} came: {weights}")
    reports = [inspect_checkpoint(path, member.name) for path, member in zip(paths, spec.members, strict=True)]
    for report in reports:
        if not report.fit.fits:
            advice = f"; use --model {report.architecture}" if report.architecture else ""
            if report.kind == "msnet" and not report.has_motion and spec.has_motion:
                advice += f", or convert the checkpoint that it was made from again, with --model {spec.name}"
            raise WeightsError(f"{report.path} does not fit {spec.name}: {report.fit.describe()}{advice}")
    source = BUNDLED_WEIGHTS if bundled else ",".join(map(str, paths))
    digest = ",".join(report.sha256 for report in reports)
    return ResolvedWeights(source, digest, reports[0].num_classes, tuple(report.edges for report in reports))


def _require_sampling(spec: NetworkSpec, request: Request) -> None:
    if spec.is_ensemble and request.sampling is not Sampling.SEGMENTS:
        raise ConfigurationError(f"{spec.name} sees a video as segments only: use --sampling segments")
    if spec.is_ensemble and request.num_frames is not None:
        raise ConfigurationError(f"{spec.name} has members of 8 and 16 frames by definition: leave --num-frames out")


def _require_meaning(spec: NetworkSpec, request: Request) -> None:
    """Refuse what was given and would change nothing, so that nobody takes it for obeyed."""
    for name, samplings in _SAMPLINGS_WITH.items():
        if getattr(request, name) is not None and request.sampling not in samplings:
            raise ConfigurationError(
                f"{_option(name)} is for --sampling {_either(samplings)} and means nothing for "
                f"{request.sampling}: leave it out, or choose another sampling"
            )
    if request.edges is not None and not spec.shifted_blocks:
        raise ConfigurationError(f"--edges is for the temporal shift, which {spec.name} does not have: leave it out")
    if request.seed is not None and request.weights != RANDOM_WEIGHTS:
        raise ConfigurationError("--seed is for --weights random and means nothing for a checkpoint: leave it out")


def _rate(rate_hz: float | None) -> float | None:
    if rate_hz is None:
        return 10.0
    if not (math.isfinite(rate_hz) and rate_hz >= 0):
        raise ConfigurationError(f"--rate-hz was expected to be frames a second, or 0 for every frame, not {rate_hz:g}")
    return rate_hz or None


def _outputs(spec: NetworkSpec, names: tuple[str, ...] | None) -> tuple[tuple[str, ...], str]:
    """Tensors to be written and the form of motion; unless chosen, all usual ones that the network has."""
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
                f"outputs among {', '.join(output_choices())} (motion also as motion:4, motion:full) were expected, "
                f"not {name!r}"
            )
        form = detail or form
        chosen.append(base)
    return tuple(chosen), form
