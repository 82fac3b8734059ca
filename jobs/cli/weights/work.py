"""Options of how a training is done, for all that train networks."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobs.cli.parameters import Device
from jobs.cluster.devices import DeviceChoice

_WORK = "How the work is done"

SaveEvery = Annotated[
    float, typer.Option("--save-every", min=0, help="Seconds between saved states.", rich_help_panel=_WORK)
]


def training_work(
    device: Device = DeviceChoice.AUTO,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", min=1, max=4096, help="Processes that share each step, each with a GPU.", rich_help_panel=_WORK
        ),
    ] = 1,
    loader_workers: Annotated[
        int | None,
        typer.Option(
            "--loader-workers", min=0, max=256, help="Processes of each that decode videos.", rich_help_panel=_WORK
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", help="Train on a running Ray cluster: host:port.", rich_help_panel=_WORK),
    ] = None,
) -> dict[str, Any]:
    """Where a training runs: the fields of `jobs.weights.training.Work`."""
    return locals().copy()
