"""Training in this process, or in several by Ray Train, on one machine or on a cluster."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from extractor.models.checkpoints.bundled import from_any_folder
from extractor.store.disk.atomic import temporary_beside
from jobs.cluster.devices import choose_device
from jobs.cluster.machine import available_cores
from schemas.errors import ConfigurationError, MSNetError, ResourceError
from schemas.wording import counted, in_a_line
from training.config import TrainingConfig
from training.folder import CHECKPOINT
from training.group import PeersLostError
from training.labels.labelled import LabelledVideos
from training.train import Loop, Progress, train

_POLL_SECONDS = 0.2
_MOST_LOSSES = 3  # of workers, without a step between them


class Work(Protocol):
    """A training, and where it runs. out: folder of the training. device: as `choose_device` takes it.

    workers: processes that train together, each with a GPU if there are GPUs. loader_workers: processes of each that
    decode videos; None for as many as its cores allow.
    """

    @property
    def config(self) -> TrainingConfig: ...
    @property
    def out(self) -> Path: ...
    @property
    def device(self) -> str: ...
    @property
    def workers(self) -> int: ...
    @property
    def loader_workers(self) -> int | None: ...
    @property
    def ray_address(self) -> str | None: ...

    def run(self, out: Path, device: torch.device | str, loader_workers: int, loop: Loop) -> Path:
        """Train into the folder `out`, in this process, one of several or the only one; return the checkpoint."""


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What to train, on what, and where to; see `Work`. weights: also "bundled", or the name of public weights."""

    config: TrainingConfig
    out: Path
    weights: Path | None = None
    videos: LabelledVideos | None = None
    device: str = "auto"
    workers: int = 1
    loader_workers: int | None = None
    ray_address: str | None = None

    def __post_init__(self) -> None:
        if self.weights is not None:  # a worker of Ray works in another folder
            object.__setattr__(self, "weights", from_any_folder(self.weights))

    def run(self, out: Path, device: torch.device | str, loader_workers: int, loop: Loop) -> Path:
        """Train into the folder `out`, in this process."""
        return train(
            self.config,
            out,
            device=device,
            weights=self.weights,
            videos=self.videos,
            loader_workers=loader_workers,
            loop=loop,
        )


def train_weights(request: Work, loop: Loop) -> Path:
    """Train as asked, and return the checkpoint; see `training.train.train` for its errors.

    Several workers share the steps under Ray Train. One that dies costs the steps since the last saved state: all are
    started again. Raises ResourceError if that happens again and again, or where there are too few resources.
    """
    shares = request.config.share_count
    if request.workers > shares:
        raise ConfigurationError(
            f"expected at most as many workers as a step has shares ({shares}); got {request.workers}. Use fewer, or"
            " divide a step into more shares (--shares, --clips-per-share), over each of which norms compute their"
            " statistics"
        )
    if request.workers == 1 and request.ray_address is None:
        device = choose_device(request.device)
        workers = _loader_workers(request, gpu=device != "cpu", cores=available_cores())
        return request.run(request.out, device, workers, loop)
    return _train_with_ray(request, loop)


def _loader_workers(request: Work, *, gpu: bool, cores: int) -> int:
    """Beside a GPU all cores but one decode; on a CPU they are the network's, and one decoder works beside it."""
    if request.loader_workers is not None:
        return request.loader_workers
    return max(1, min(cores - 1, 16)) if gpu else 1


def _train_with_ray(request: Work, loop: Loop) -> Path:
    import ray  # takes a second, and one worker does without it
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from jobs.cluster.cluster import cluster
    from jobs.cluster.options import Options

    out = request.out.absolute()
    options = Options(
        device=request.device, extractors=request.workers, decoders=1, threads=1, ray_address=request.ray_address
    )
    again = "run the same command again; it goes on from the last saved state"
    with cluster(options, store=out if request.ray_address else None, then=again) as machines:
        gpu = machines.workers.gpu
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)) // request.workers)  # type: ignore[no-untyped-call]
        board = ray.remote(num_cpus=0)(_Board).remote()
        scratch = temporary_beside(out / "ray")
        settings = {
            "request": ray.put(request),
            "out": out,
            "loader_workers": _loader_workers(request, gpu=gpu, cores=cores),
            "save_every_seconds": loop.save_every_seconds,
            "threads": 1 if gpu else cores,
            "board": board,
        }
        trainer = TorchTrainer(
            _train_in_worker,
            train_loop_config=settings,
            scaling_config=ScalingConfig(
                num_workers=request.workers,
                use_gpu=gpu,
                resources_per_worker={"CPU": 1, "GPU": 1} if gpu else {"CPU": 1},
            ),
            run_config=RunConfig(
                name="training", storage_path=str(scratch), failure_config=FailureConfig(max_failures=-1)
            ),
        )
        try:
            _wait(trainer.fit, board, loop, machines.require_alive)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return out / CHECKPOINT


def _wait(fit: Callable[[], Any], board: Any, loop: Loop, require_alive: Callable[[], None]) -> None:
    """Run `fit` in a thread, where it leaves signals to us; hand on progress and the wish to stop meanwhile."""
    import ray

    errors: list[BaseException] = []

    def run() -> None:
        try:
            fit()
        except BaseException as error:  # handed on below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    stopped = False
    while True:
        running = thread.is_alive()
        for progress in ray.get(board.take.remote()):
            loop.report(progress)
        if loop.should_stop() and not stopped:
            stopped = True
            ray.get(board.stop.remote())
        if not running:
            break
        require_alive()
        time.sleep(_POLL_SECONDS)
    error = ray.get(board.error.remote())
    if error is not None:
        raise error
    if errors:
        raise ResourceError(
            f"expected Ray Train to run the workers; got: {in_a_line(errors[0])}. Run the same command again; it goes"
            " on from the last saved state"
        ) from errors[0]


class _Board:
    """Where workers and driver leave word for one another: progress, the wish to stop, an error that ends all."""

    def __init__(self) -> None:
        self._progress: list[Progress] = []
        self._stop = False
        self._error: MSNetError | None = None
        self._cause: str | None = None
        self._starts: list[int] = []
        self._step = 0

    def begin(self) -> bool:
        """The worker that leads starts: whether it shall train. After too many losses without a step it shall not."""
        self._starts.append(self._step)
        if self._error is None and self._starts.count(self._step) > _MOST_LOSSES:
            often = counted(_MOST_LOSSES, "time")
            got = f"they died {often} after step {self._step}, perhaps for lack of memory"
            advice = "Use fewer workers or smaller shares"
            if self._cause is not None:
                got, advice = f"{often} after step {self._step}, they ended with {self._cause}", "Mend that"
            self._error = ResourceError(
                f"expected the training processes to keep running; {got}. {advice}, and run the same command again"
            )
        return self._error is None

    def tell(self, progress: Progress) -> None:
        """Progress of a step."""
        self._step, self._cause = max(self._step, progress.step), None
        self._progress.append(progress)

    def take(self) -> list[Progress]:
        """The progress since the last call."""
        taken, self._progress = self._progress, []
        return taken

    def stop(self) -> None:
        """Ask the workers to stop behind the step in progress."""
        self._stop = True

    def stops(self) -> bool:
        """Whether the workers shall stop."""
        return self._stop

    def blame(self, cause: str) -> None:
        """An error in a worker, which is started again; the first one since the last step counts."""
        self._cause = self._cause or cause

    def fail(self, error: MSNetError) -> None:
        """End the training with this error; the first one counts."""
        self._error = self._error or error

    def error(self) -> MSNetError | None:
        """What ended the training."""
        return self._error


def _train_in_worker(settings: dict[str, Any]) -> None:
    """What each worker of Ray Train runs; torch.distributed has been set up."""
    import ray
    from ray.train import get_context
    from ray.train.torch import get_device

    board = settings["board"]
    leads = get_context().get_world_rank() == 0
    if not (ray.get(board.begin.remote()) if leads else ray.get(board.error.remote()) is None):
        return
    torch.set_num_threads(settings["threads"])
    loop = Loop(
        settings["save_every_seconds"],
        report=lambda progress: ray.get(board.tell.remote(progress)),
        should_stop=lambda: leads and bool(ray.get(board.stops.remote())),
    )
    try:
        ray.get(settings["request"]).run(settings["out"], get_device(), settings["loader_workers"], loop)
    except MSNetError as error:
        ray.get(board.fail.remote(error))
        raise
    except PeersLostError:
        raise
    except Exception as error:
        ray.get(board.blame.remote(in_a_line(error)))
        raise
