"""`msnet gebd demo`: from procedural videos to an F1, in one command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.app import resumable
from jobs.cli.display import paragraph, starting
from jobs.cli.gebd.annotations import gebd_app
from jobs.cli.gebd.tables import print_comparison
from jobs.cli.parameters import Device
from jobs.cli.streams import say
from jobs.cluster.devices import DeviceChoice
from jobs.demos.gebd_plan import GEBDDemoPlan
from jobs.weights.defaults import TWIN_WEIGHTS

if TYPE_CHECKING:
    from gebd.heads.run_folder import Epoch

_PLAN = GEBDDemoPlan()
_EVERY = 10  # epochs per line of progress


@gebd_app.command()
@resumable
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for all results.")] = Path("msnet-gebd-demo"),
    weights: Annotated[
        str | None, typer.Option("--weights", help="Of MSNet-ResNet-18. (default: the bundled ones)")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            help="Checkpoint of a network trained alike, to compare; more than once for several. (default: those in "
            f"{TWIN_WEIGHTS.parent} of a checkout)",
            show_default=False,
        ),
    ] = None,
    training_videos: Annotated[
        int, typer.Option("--training-videos", min=4, help="To train on.")
    ] = _PLAN.training_videos,
    test_videos: Annotated[int, typer.Option("--test-videos", min=2, help="To evaluate on.")] = _PLAN.test_videos,
    size: Annotated[int, typer.Option("--size", help="Side of the network's input in pixels.")] = _PLAN.size,
    seed: Annotated[int, typer.Option("--seed", help="Of the videos.")] = _PLAN.seed,
    device: Device = DeviceChoice.AUTO,
) -> int:
    """Make videos with known boundaries, extract them, train heads on one part and evaluate them on the other."""
    from jobs.weights.defaults import TSM_WEIGHTS

    if not against:
        against = [str(path) for path in (TWIN_WEIGHTS, TSM_WEIGHTS) if path.is_file()]
    plan = GEBDDemoPlan(
        training_videos=training_videos,
        test_videos=test_videos,
        seed=seed,
        weights=weights,
        against=tuple(against),
        size=size,
        device=device,
    )
    with starting() as watcher:
        from jobs.demos.gebd import run_gebd_demo

        result = run_gebd_demo(out, plan, watcher, _tell)
    if result.comparison is None:
        return result.outcome.exit_code
    print_comparison(result.comparison)
    say(
        paragraph(
            "msnet+levels, msnet: the same head, on features with maps of levels and of motion, and on features alone; "
            "temporal head: the smaller one, on features with displacement; "
            f"{'tsn, tsm: on features of networks without the motion module; ' if against else ''}"
            "no labels: the detector."
        )
    )
    for picture in result.pictures:
        say(f"picture: {picture}")
    say(f"everything else: {out}")
    return result.outcome.exit_code


def _tell(method: str, epoch: Epoch) -> None:
    if epoch.epoch % _EVERY == 0:
        score = f"F1@0.05 {epoch.validation_f1:.3f} of all validation videos"
        say(f"{method}, epoch {epoch.epoch}: {score}", to=sys.stderr)
