"""An extractor: frames from its decoders, through the network on one device, into the store, shard by shard.

Torch is imported by `load`, once the decoders and the writer are on their way: their processes start meanwhile, and the
driver, which needs no torch, does without.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from extractor.models.checkpoints.bundled import RANDOM_WEIGHTS
from extractor.store.commits.run import Run
from extractor.video.objects.cache import ObjectCache
from jobs.cluster.devices import Workers, torch_device
from jobs.cluster.options import DecoderLimits
from jobs.workers.decoder import Decoder
from jobs.workers.decoder_pool import DecoderPool
from jobs.workers.events import ShardCommitted, ShardProgress, ShardTask
from jobs.workers.imports import without_collection
from jobs.workers.writer import spawn_writer
from schemas.errors import WeightsError
from schemas.layout import StorePaths

if TYPE_CHECKING:
    from extractor.models.msnet import MSNet, MSNetEnsemble
    from jobs.workers.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class ExtractorSettings:
    """What all extractors of a run share. weights: as `extractor.load_model` takes them."""

    paths: StorePaths
    run: Run
    weights: str
    limits: DecoderLimits
    cache: ObjectCache = field(default_factory=ObjectCache)


class Extractor:
    """Extracts shards on one device. A plain class; `ray.remote` makes an actor of it. workers: what it has.

    Takes several calls at a time: two of `run_shard`, so that shards overlap, and `drain`.
    """

    def __init__(self, settings: ExtractorSettings, workers: Workers) -> None:
        self._settings = settings
        self._workers = workers
        self._config = settings.run.config
        self._pipeline: Pipeline | None = None
        self._drained = False

    def load(self) -> tuple[str, ...]:
        """Start the decoders and load the network; returns notes on the weights, for the user.

        Not done by the constructor: if that raises, the caller only sees the actor die.
        """
        settings, workers = self._settings, self._workers
        pool = DecoderPool(
            self._spawn_decoder, workers.decoders, settings.limits, workers.reserved_decoders, workers.most_decoders
        )
        # Read once, by the first import of torch. By default its threads spin while they wait for one another, on cores
        # that the decoders need: where all are busy, a network takes three times as much of them.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        writer = spawn_writer()
        with without_collection():
            import torch

            from extractor.pipeline.devices import device_of
            from extractor.pipeline.network import load_network
            from jobs.workers.pipeline import Pipeline

        torch.set_num_threads(workers.threads)
        name = torch_device(workers.gpu)
        network = load_network(self._config, settings.weights, name)
        self._require_same_weights(network)
        self._pipeline = Pipeline(settings.paths, settings.run, network, device_of(name), pool, writer, workers)
        if self._drained:
            self._pipeline.drain()
        self._pipeline.start()
        return tuple(network.notes)

    def _require_same_weights(self, network: MSNet | MSNetEnsemble) -> None:
        """Check what was loaded: the file may have been overwritten, or be another one on this node."""
        found = network.spec.weights_sha256
        if self._settings.weights != RANDOM_WEIGHTS and found != self._config.weights:
            raise WeightsError(
                f"expected the weights that the store was made with (SHA-256 {self._config.weights}); "
                f"{self._settings.weights} has {found} on {platform.node()}. Was it overwritten? Restore it, or give "
                "--weights with the path of the right ones"
            )

    def drain(self) -> None:
        """Finish the files in progress and start no more."""
        self._drained = True
        if self._pipeline is not None:  # None while the network is being loaded
            self._pipeline.drain()

    def run_shard(self, task: ShardTask) -> Iterator[ShardProgress | ShardCommitted]:
        """Extract what is not staged yet, then commit the shard; yields events on the way."""
        assert self._pipeline is not None
        events = self._pipeline.begin(task).events
        while (event := events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    def _spawn_decoder(self, asks: bool) -> Any:
        node = ray.get_runtime_context().get_node_id()
        # On a GPU the extractor reserves the core of its first decoder with its own. If that one asked for it, it could
        # wait forever on a node that has a core left for an extractor but none for a decoder.
        actor = ray.remote(Decoder).options(
            num_cpus=int(asks), max_restarts=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        )
        return actor.remote(self._config, self._settings.cache)
