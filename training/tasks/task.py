"""What the trainer asks of a task: where clips come from, what they cost, and how well a network does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from extractor.models.msnet import MSNet
from schemas.records import Failure
from training.config import Share, TrainingConfig
from training.group import Group


class Task(Protocol):
    """What is learned, from what. Steps are numbered from 0; all of a step depends on its number and the seed alone.

    loss_names: columns of the log, the same in every step. best: the held-out figure by which checkpoints are compared,
    higher is better; None where the last one is kept.
    """

    @property
    def config(self) -> TrainingConfig: ...
    @property
    def steps(self) -> int: ...
    @property
    def loss_names(self) -> tuple[str, ...]: ...
    @property
    def best(self) -> str | None: ...

    def stage(self, step: int) -> str:
        """Name of the part of the training that a step belongs to."""

    def frames(self, step: int) -> int:
        """How many frames a step trains on."""

    def optimizer(self, network: MSNet) -> torch.optim.Optimizer:
        """A new optimizer; a group may have a `rate`, by which it multiplies the learning rate."""

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step."""

    def prepare(self, network: MSNet, step: int) -> None:
        """Put the network into the modes in which a step trains it."""

    def expect(self, step: int, shares: Iterable[int]) -> None:
        """Say which shares of a step this process will ask for, and of the steps behind it."""

    def losses(self, network: MSNet, step: int, share: Share) -> dict[str, Tensor]:
        """Weighted losses, by name, of a share of a step; the step minimises their sum."""

    def evaluates_after(self, step: int) -> bool:
        """Whether the network is evaluated after step number `step`."""

    def evaluate(self, network: MSNet, group: Group) -> dict[str, float]:
        """Figures on held-out clips, the same in all processes of the group."""

    def as_stored(self, network: MSNet) -> AbstractContextManager[None]:
        """Within the block, the network is as a checkpoint stores it."""

    def left_out(self) -> Mapping[str, Failure]:
        """Videos that this process met and could not use, by id."""

    def facts(self) -> dict[str, Any]:
        """What else a checkpoint's recipe says: plain values."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that are trained with the network."""

    def state_dict(self) -> dict[str, Any]:
        """State that resuming needs, by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object:
        """Restore the state."""

    def close(self) -> None:
        """End what the task has started."""


@runtime_checkable
class CheckpointCompanion(Protocol):
    """What a task may have beside: something that belongs to a checkpoint."""

    def save_beside(self, checkpoint: Path) -> None:
        """A checkpoint of the current network has been written; called in the process that leads."""


@runtime_checkable
class StepFinisher(Protocol):
    """What a task may have beside: something to do behind each step of the optimizer."""

    def finish_step(self, network: MSNet, step: int, losses: Mapping[str, float], group: Group) -> str | None:
        """Called in all processes after step number `step` with its losses; returns a sentence for the user, if any."""
