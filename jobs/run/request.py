"""What was asked for, in Python: the network, its weights, the sampling and the tensors (`Request`)."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.config import DecoderPolicy, Edges, Precision, Resize, Sampling, StorageFloat


@dataclass(frozen=True, slots=True)
class Request:
    """What changes features. None means the default for the network and the sampling.

    weights: path of a checkpoint ("A,B" for MSNet-En), "bundled", or "random". rate_hz: sampling rate; 0 takes every
    frame. outputs: names of `schemas.tensors.output_choices`; "motion:4" keeps "motion" on a 4 x 4 grid, "motion:full"
    the whole map. edges: None takes what the checkpoint was made for. A field that the other fields make meaningless (a
    hop of segments, a seed of a checkpoint) must be None: anything else is refused.
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
