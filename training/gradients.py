"""The gradients of a step, computed by one process or by several that share its clips.

On a CPU, two processes with one thread each are faster than one process with two threads: many operations of a step
are too small to parallelise over threads, and the world draws its clips on a single thread.
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
from training.config import Share, TrainingConfig
from training.tasks.embedding import enlarge_embedding
from training.tasks.motion import MotionTask, Task


class GradientWorkers:
    """Compute the gradients of a step and leave them in the parameters. A context manager that ends its processes.

    Process 0 is the current one. Each other process has its own network and task, copies the state of process 0 from
    shared memory before each step, and returns gradients. Norms keep the running statistics of process 0.
    """

    def __init__(self, network: MSNet, task: Task, config: TrainingConfig) -> None:
        self._network, self._task, self._config = network, task, config
        self._threads = torch.get_num_threads()
        self._workers: list[_Worker] = []
        self._shared = torch.empty(0)  # the state, once other processes run

    def __enter__(self) -> GradientWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        torch.set_num_threads(self._threads)

    def compute(self, step: int) -> dict[str, Tensor]:
        """Leave the gradients of step number `step` in the parameters; return its weighted losses by name.

        Raises ResourceError where another process has died: it ran out of memory, or was killed.
        """
        if self._config.processes > 1:
            self._begin_others(step)
        losses = _backward(self._network, self._task, self._config, step, Share(0, self._config.processes))
        if not self._workers:
            return losses
        gradients = _gradients(self._network, self._task)
        for worker in self._workers:
            theirs = worker.finish(gradients)
            losses = {name: loss + theirs[name] for name, loss in losses.items()}
        for gradient in gradients:
            gradient.div_(self._config.processes)
        return {name: loss / self._config.processes for name, loss in losses.items()}

    def _begin_others(self, step: int) -> None:
        """Make the other processes begin the step with the state of this one; the first call starts them."""
        state = _state(self._network, self._task)
        if not self._workers:
            threads = max(1, self._threads // self._config.processes)
            torch.set_num_threads(threads)
            self._shared = _memory_for(state)
            for index in range(1, self._config.processes):
                self._workers.append(_Worker(self._config, index, threads, self._shared))
        _copy(state, _views(self._shared, state))
        for worker in self._workers:
            worker.begin(step)


class _Worker:
    """Another process, as process 0 sees it."""

    def __init__(self, config: TrainingConfig, index: int, threads: int, state: Tensor) -> None:
        self._gradients = _memory_for([state])
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, config.model_dump_json(), index, threads, state, self._gradients)
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, step: int) -> None:
        """Start computing the gradients of this worker's share of a step."""
        try:
            self._connection.send(step)
        except OSError as error:
            raise self._gone() from error

    def finish(self, gradients: Sequence[Tensor]) -> dict[str, float]:
        """Add the worker's gradients to `gradients`; return its losses by name."""
        try:
            losses: dict[str, float] = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._gone() from error
        for gradient, theirs in zip(gradients, _views(self._gradients, gradients), strict=True):
            gradient.add_(theirs)
        return losses

    def end(self) -> None:
        """Wait for the process to end; kill it after 10 s."""
        self._connection.close()
        self._process.join(10)
        self._process.kill()
        self._process.join()

    def _gone(self) -> ResourceError:
        self._process.join(10)
        return ResourceError(
            f"expected all training processes to keep running; got exit code {self._process.exitcode} from one,"
            " possibly for lack of memory. Run the same command to continue from the last saved state"
        )


def _work(
    connection: Connection, configuration: str, index: int, threads: int, state: Tensor, gradients: Tensor
) -> None:
    """Main loop of a worker process: compute the gradients of its share of each requested step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for process 0, which ends the others
    torch.set_num_threads(threads)
    config = TrainingConfig.model_validate_json(configuration)
    network = build_network(describe_network(config.model, num_segments=config.num_segments))
    enlarge_embedding(network, config.embedding_halvings)
    task = MotionTask(network, config, world_seed=config.seed, device=torch.device("cpu"))
    own = _state(network, task)
    with suppress(EOFError, OSError):  # process 0 has ended
        while True:
            step = connection.recv()
            _copy(_views(state, own), own)
            losses = _backward(network, task, config, step, Share(index, config.processes))
            found = _gradients(network, task)
            _copy(found, _views(gradients, found))
            connection.send({name: float(loss) for name, loss in losses.items()})


def _backward(network: MSNet, task: Task, config: TrainingConfig, step: int, share: Share) -> dict[str, Tensor]:
    stage, _ = config.stage_at(step)
    network.train().requires_grad_(True)
    if stage.matching_fixed:
        for module in network.matching_modules():
            module.eval().requires_grad_(False)
    for parameter in _parameters(network, task):
        parameter.grad = None
    losses = task.losses(network, stage, step, share)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    return {name: loss.detach() for name, loss in losses.items()}


def _parameters(network: MSNet, task: Task) -> list[nn.Parameter]:
    return [*network.parameters(), *task.parameters()]


def _gradients(network: MSNet, task: Task) -> list[Tensor]:
    return [parameter.grad for parameter in _parameters(network, task) if parameter.grad is not None]


def _state(network: MSNet, task: Task) -> list[Tensor]:
    """Parameters and running statistics, without the batch counters, which nothing reads."""
    tensors = (*network.state_dict().values(), *task.state_dict().values())
    return [tensor for tensor in tensors if tensor.is_floating_point()]


def _memory_for(tensors: Sequence[Tensor]) -> Tensor:
    """Shared memory for all tensors as one: one file descriptor per tensor could exceed the limit of a process."""
    memory = torch.zeros(sum(tensor.numel() for tensor in tensors))
    try:
        return memory.share_memory_()  # type: ignore[no-any-return,no-untyped-call]
    except RuntimeError as error:
        raise ResourceError(
            f"expected {memory.nbytes / 2**20:.0f} MiB of shared memory for each process; got: {error}. Enlarge"
            " /dev/shm (docker run --shm-size), or train with one process"
        ) from error


def _views(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Split the beginning of `flat` into views with the shapes of `tensors`."""
    sizes = [tensor.numel() for tensor in tensors]
    parts = torch.split(flat[: sum(sizes)], sizes)
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


@torch.no_grad()
def _copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
