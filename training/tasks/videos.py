"""What all tasks on clips of videos have: epochs, workers that decode, and a memory of broken videos."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from torch import nn

from extractor.models.msnet import MSNet
from schemas.errors import FailureClass
from schemas.records import Failure
from training.clips.loader import TrainingClips
from training.clips.sources import Batch, LoadedShare
from training.clips.workers import Source
from training.embedding import as_stored, enlarge_embedding, halvings_of
from training.tasks.config import VideosConfig
from training.tasks.schedule import warmed_cosine

Config = TypeVar("Config", bound=VideosConfig)


class VideosTask(ABC, Generic[Config, Batch]):
    """Learn from clips of `training_videos` videos; a subclass says from which clips, and what.

    The network's embedding is enlarged where it is stored small (see training.embedding).
    """

    def __init__(self, config: Config, training_videos: int, network: MSNet, *, loader_workers: int) -> None:
        self.config, self._workers = config, loader_workers
        self.steps_per_epoch = max(1, training_videos // config.clips_per_step)
        self.steps = max(1, round(config.epochs * self.steps_per_epoch))
        self._warmup_steps = round(config.warmup_epochs * self.steps_per_epoch)
        self._broken: dict[str, Failure] = {}  # in validation, and before the training was resumed
        self._halvings = halvings_of(network)
        enlarge_embedding(network, self._halvings)
        self._clips: TrainingClips[Batch] | None = None

    @abstractmethod
    def source(self) -> Source[tuple[int, int], LoadedShare[Batch]]:
        """What worker processes run."""

    def stage(self, step: int) -> str:
        """The epoch, from 1."""
        return f"epoch {step // self.steps_per_epoch + 1}"

    def learning_rate(self, step: int) -> float:
        """A linear warm-up, then along a cosine to 0."""
        return warmed_cosine(step, steps=self.steps, warmup=self._warmup_steps, highest=self.config.learning_rate)

    def expect(self, step: int, shares: Iterable[int]) -> None:
        """Let the workers decode the clips of these shares, of this step and those behind it."""
        self._loader().expect(step, list(shares))

    def batch(self, step: int, share: int) -> Batch:
        """The clips of a share of a step."""
        return self._loader().batch(step, share)

    def evaluates_after(self, step: int) -> bool:
        """Every `evaluate_every_epochs`, and at the end."""
        every = max(1, round(self.config.evaluate_every_epochs * self.steps_per_epoch))
        return (step + 1) % every == 0 or step + 1 == self.steps

    def as_stored(self, network: MSNet) -> AbstractContextManager[None]:
        """With the embedding as small as it was."""
        return as_stored(network, self._halvings)

    def left_out(self) -> Mapping[str, Failure]:
        """Broken videos."""
        return self._broken | ({} if self._clips is None else self._clips.broken)

    def facts(self) -> dict[str, Any]:
        """Nothing beside the configuration."""
        return {}

    def parameters(self) -> Iterator[nn.Parameter]:
        """None but the network's."""
        return iter(())

    def state_dict(self) -> dict[str, Any]:
        """The broken videos met so far, so that one that kills a worker does so once."""
        return {"broken": [[name, one.failure.value, one.message] for name, one in self.left_out().items()]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object:
        """Restore the broken videos."""
        self._broken = {
            name: Failure(name, FailureClass(failure), message) for name, failure, message in state_dict["broken"]
        }
        return None

    def close(self) -> None:
        """End the workers."""
        if self._clips is not None:
            self._clips.close()

    def _loader(self) -> TrainingClips[Batch]:
        if self._clips is None:
            self._clips = TrainingClips(self.source(), self._workers, self._broken)
        return self._clips
