"""How the work is done; nothing here changes a feature."""

from __future__ import annotations

from dataclasses import dataclass, field

from extractor.video.objects.cache import ObjectCache


@dataclass(frozen=True, slots=True)
class DecoderLimits:
    """When a decoder is replaced: after `silence_seconds` without an event, or above `memory_bytes` of private memory.

    Long files may be silent for longer: with samples far apart, one event may need most of the file. files: how many
    files a decoder takes before a fresh one replaces it, as the decoding libraries leak.
    """

    silence_seconds: float = 60.0
    memory_bytes: int = 4 * 1024**3
    files: int = 500


@dataclass(frozen=True, slots=True)
class Options:
    """How the work is done; nothing here changes a feature.

    part: (i, n), this job takes the shards whose number is i modulo n. limit: only the first `limit` files.
    cache: where a decoder keeps objects that it fetches from addresses.
    """

    device: str = "auto"
    extractors: int | None = None
    decoders: int | None = None
    threads: int | None = None
    batch_frames: int | None = None
    shard_bytes: int = 256 * 1024 * 1024
    compression: str = "none"
    limit: int | None = None
    part: tuple[int, int] = (0, 1)
    ray_address: str | None = None
    limits: DecoderLimits = field(default_factory=DecoderLimits)
    cache: ObjectCache = field(default_factory=ObjectCache)
