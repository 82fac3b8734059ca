"""`msnet gebd plot video` and `msnet gebd plot run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.gebd.annotations import Pattern, Stretches, gebd_app, join_options
from jobs.cli.gebd.tables import spoken_warnings
from jobs.cli.outputs import Force, OutputFile, check_writable, sealed_as, with_listed_videos
from jobs.cli.parameters import Device, Store
from jobs.cli.plain_help import App
from jobs.cli.streams import say
from jobs.cluster.devices import DeviceChoice, choose_device

plot_app = App(help="Pictures; require the extra `plot`.")
gebd_app.add_typer(plot_app, name="plot")

_Out = Annotated[Path, typer.Option("--out", "-o", help="A .png, .pdf or .svg.", show_default=False)]
_Predictions = Annotated[Path | None, typer.Option("--predictions", help="Boundaries to draw.", show_default=False)]
_Annotations = Annotated[Path | None, typer.Option("--annotations", help="Raters' marks.", show_default=False)]


@plot_app.command()
def video(
    store: Store,
    video_id: Annotated[str, typer.Argument(help="As in the manifest, or as annotated.", show_default=False)],
    out: _Out,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Draw the score of its head. (default: the detector's)", show_default=False),
    ] = None,
    predictions: _Predictions = None,
    annotations: _Annotations = None,
    videos: Annotated[
        str | None,
        typer.Option(
            "--videos",
            metavar="<path>",
            help="Folder, address or table of the videos, for a row of frames.",
            show_default=False,
        ),
    ] = None,
    pattern: Pattern = None,
    stretches: Stretches = False,
    device: Device = DeviceChoice.AUTO,
    force: Force = False,
) -> int:
    """Draw one video over time: frames, motion, boundary score, predictions and every rater's marks."""
    from extractor.store.reader import FeatureStore
    from gebd.pictures.plots import TIMELINE
    from gebd.pictures.views import plot_video, stored_id
    from jobs.stores.thumbnails import Thumbnails, thumbnails

    read = [store, run, predictions, annotations, *with_listed_videos(videos)]
    check_writable([OutputFile(out, sealed_as(TIMELINE))], read, force=force)
    with spoken_warnings():
        features = FeatureStore(store)
        joining = join_options(pattern, stretches, annotations)
        strip = Thumbnails()
        if videos is not None:
            strip = thumbnails(features, stored_id(features, video_id, annotations, joining), videos)
        plot_video(
            features,
            video_id,
            out,
            run=run,
            predictions=predictions,
            annotations=annotations,
            joining=joining,
            frames=strip.frames,
            frame_aspect=strip.aspect,
            device=choose_device(device),
        )
    say(f"written: {out}")
    return 0


@plot_app.command("run")
def run_(
    run: Annotated[Path, typer.Argument(help="The folder that `msnet gebd train --out` wrote.", show_default=False)],
    out: _Out,
    predictions: _Predictions = None,
    annotations: _Annotations = None,
    force: Force = False,
) -> int:
    """Draw F1 against tolerance with all baselines, on the validation part or on predictions and annotations."""
    from gebd.pictures.plots import COMPARISON
    from gebd.pictures.views import plot_run

    check_writable([OutputFile(out, sealed_as(COMPARISON))], [run, predictions, annotations], force=force)
    plot_run(run, out, predictions=predictions, annotations=annotations)
    say(f"written: {out}")
    return 0
