"""The gradients of a step: of one process, or of several that share its clips.

On a CPU two processes of one thread each take less time than one of two threads, because many operations of a step are
too small to be shared among threads, and the world draws its clips on one.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

import torch
from torch import Tensor, multiprocessing, nn

from extractor.models.msnet import MSNet, build_network
from extractor.models.spec import describe_network
from schemas.errors import ResourceError
from training.config import Share, Stage, TrainingConfig
from training.tasks.embedding import enlarge_embedding
from training.tasks.motion import MotionTask, Task

__all__ = ["Descent"]


class Descent:
    """Leaves the gradients of a step in the parameters; used in a `with`, at whose end its processes end.

    Process 0 is this one. Each of the others has a network and a task of its own, which before each step become those
    of this one, from memory that all share; what it gives back are gradients. Statistics of norms are process 0's.
    """

    def __init__(self, network: MSNet, task: Task, config: TrainingConfig) -> None:
        self._network, self._task, self._config = network, task, config
        self._threads = torch.get_num_threads()
        self._helpers: list[_Helper] = []
        self._shared = torch.empty(0)  # the state, once there are others

    def __enter__(self) -> Descent:
        return self

    def __exit__(self, *_: object) -> None:
        for helper in self._helpers:
            helper.end()
        torch.set_num_threads(self._threads)

    def gradients(self, step: int) -> dict[str, Tensor]:
        """The weighted losses of step number `step`, by name; their gradients are in the parameters.

        ResourceError where another process has ended: it ran out of memory, or was killed.
        """
        if self._config.processes > 1:
            self._share(step)
        losses = _descend(self._network, self._task, self._config, step, Share(0, self._config.processes))
        if not self._helpers:
            return losses
        gradients = _gradients(self._network, self._task)
        for helper in self._helpers:
            theirs = helper.finish(gradients)
            losses = {name: loss + theirs[name] for name, loss in losses.items()}
        for gradient in gradients:
            gradient.div_(self._config.processes)
        return {name: loss / self._config.processes for name, loss in losses.items()}

    def _share(self, step: int) -> None:
        """Have the other processes begin the step, from the state of this one; at first they are started."""
        state = _state(self._network, self._task)
        if not self._helpers:
            threads = max(1, self._threads // self._config.processes)
            torch.set_num_threads(threads)
            self._shared = _memory_for(state)
            for index in range(1, self._config.processes):
                self._helpers.append(_Helper(self._config, index, threads, self._shared))
        _copy(state, _views(self._shared, state))
        for helper in self._helpers:
            helper.begin(step)


class _Helper:
    """Another process, seen from the first."""

    def __init__(self, config: TrainingConfig, index: int, threads: int, state: Tensor) -> None:
        self._gradients = _memory_for([state])
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, config.model_dump_json(), index, threads, state, self._gradients)
        self._process = context.Process(target=_help, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, step: int) -> None:
        """Have the gradients of the process's share of a step computed."""
        try:
            self._connection.send(step)
        except OSError as error:
            raise self._gone() from error

    def finish(self, gradients: Sequence[Tensor]) -> dict[str, float]:
        """Add the process's gradients to these; its losses, by name."""
        try:
            losses: dict[str, float] = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._gone() from error
        for gradient, theirs in zip(gradients, _views(self._gradients, gradients), strict=True):
            gradient.add_(theirs)
        return losses

    def end(self) -> None:
        """Let it end; by force where it does not."""
        self._connection.close()
        self._process.join(10)
        self._process.kill()
        self._process.join()

    def _gone(self) -> ResourceError:
        self._process.join(10)
        return ResourceError(
            f"a process of the training ended by itself (exit code {self._process.exitcode}), maybe for want of memory:"
            " what was learned is saved as of the last state; go on with the same command"
        )


def _help(
    connection: Connection, configuration: str, index: int, threads: int, state: Tensor, gradients: Tensor
) -> None:
    """Body of another process: gradients of its share of each step it is told, until nobody is there to tell."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which ends the others
    torch.set_num_threads(threads)
    config = TrainingConfig.model_validate_json(configuration)
    network = build_network(describe_network(config.model, num_segments=config.num_segments))
    enlarge_embedding(network, config.embedding_halvings)
    task = MotionTask(network, config, world_seed=config.seed, device=torch.device("cpu"))
    own = _state(network, task)
    with suppress(EOFError, OSError):  # the first process has gone
        while True:
            step = connection.recv()
            _copy(_views(state, own), own)
            losses = _descend(network, task, config, step, Share(index, config.processes))
            found = _gradients(network, task)
            _copy(found, _views(gradients, found))
            connection.send({name: float(loss) for name, loss in losses.items()})


def _descend(network: MSNet, task: Task, config: TrainingConfig, step: int, share: Share) -> dict[str, Tensor]:
    stage, _ = config.stage_at(step)
    _set_training(network, stage)
    for parameter in _parameters(network, task):
        parameter.grad = None
    losses = task.losses(network, stage, step, share)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    return {name: loss.detach() for name, loss in losses.items()}


def _set_training(network: MSNet, stage: Stage) -> None:
    """Training mode and gradients for what `stage` trains."""
    network.train().requires_grad_(True)
    if stage.matching_fixed:
        for module in network.matching_modules():
            module.eval().requires_grad_(False)


def _parameters(network: MSNet, task: Task) -> list[nn.Parameter]:
    return [*network.parameters(), *task.parameters()]


def _gradients(network: MSNet, task: Task) -> list[Tensor]:
    return [parameter.grad for parameter in _parameters(network, task) if parameter.grad is not None]


def _state(network: MSNet, task: Task) -> list[Tensor]:
    """Parameters and statistics, without the counters of batches that nothing reads."""
    tensors = (*network.state_dict().values(), *task.state_dict().values())
    return [tensor for tensor in tensors if tensor.is_floating_point()]


def _memory_for(tensors: Sequence[Tensor]) -> Tensor:
    """Memory for all of them as one tensor: a file descriptor each would be more than a process may have."""
    memory = torch.zeros(sum(tensor.numel() for tensor in tensors))
    try:
        return memory.share_memory_()  # type: ignore[no-any-return,no-untyped-call]
    except RuntimeError as error:
        raise ResourceError(
            f"{memory.nbytes / 2**20:.0f} MiB of shared memory were expected for each of the processes ({error}):"
            " enlarge /dev/shm (docker run --shm-size), or train with one process"
        ) from error


def _views(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The beginning of `flat`, in the sizes and shapes of `tensors`."""
    sizes = [tensor.numel() for tensor in tensors]
    parts = torch.split(flat[: sum(sizes)], sizes)
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


@torch.no_grad()
def _copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
