"""`msnet weights picture`: displacement and confidence of a network on a real video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS, checkpoint_path
from jobs.cli.display import paragraph
from jobs.cli.outputs import Force, OutputFile, check_writable, sealed_as, with_listed_videos
from jobs.cli.parameters import Device
from jobs.cli.streams import say
from jobs.cli.weights.checkpoints import weights_app
from jobs.cluster.devices import DeviceChoice, choose_device
from schemas.escaping import escaped


@weights_app.command()
def picture(
    video: Annotated[Path, typer.Argument(help="A video file.", show_default=False)],
    at: Annotated[list[float], typer.Option("--at", help="Time in seconds; repeat for more rows.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG file to write.", show_default=False)],
    weights: Annotated[
        str, typer.Option("--weights", "-w", help="A checkpoint, or `random` with --model.")
    ] = BUNDLED_WEIGHTS,
    model: Annotated[str | None, typer.Option("--model", help="Its network. (default: the one it matches)")] = None,
    rate_hz: Annotated[float, typer.Option("--rate-hz", min=0.1, max=1000, help="Frames per second.")] = 10.0,
    size: Annotated[int, typer.Option("--size", min=32, max=1024, help="Side of the network's input in pixels.")] = 224,
    device: Device = DeviceChoice.AUTO,
    force: Force = False,
) -> int:
    """Draw frames of a video with their displacement and confidence beside them."""
    from jobs.weights.defaults import BUNDLED_MODEL
    from jobs.weights.loading import load_weights
    from jobs.weights.picture import see_moments
    from training.evaluation.picture import MOMENTS, draw_moments

    read = [checkpoint_path(weights, model or BUNDLED_MODEL), *with_listed_videos(video)]
    check_writable([OutputFile(out, sealed_as(MOMENTS))], read, force=force)
    what, network = load_weights(weights, model, choose_device(device))
    moments = see_moments(network, video, at, rate_hz=rate_hz, size=size)
    draw_moments(moments, out, f"{what.model}\n{escaped(Path(what.weights).name)}")
    say(paragraph(f"written to {out}"))
    return 0
