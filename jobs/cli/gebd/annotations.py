"""`msnet gebd`: annotations, joining and judging. Heads and pictures are in modules of their own."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gebd.annotations.identity import tapos_starts
from gebd.annotations.kinetics_raw import Rules
from gebd.annotations.loading import load_annotations, write_annotations
from gebd.annotations.records import Annotations
from gebd.annotations.values import shown
from gebd.dataset.dataset import GEBDDataset
from gebd.heads.predict import JoinOptions
from gebd.metric.baselines import compare_with_baselines
from gebd.metric.predictions import load_predictions
from gebd.metric.report import write_report
from jobs.cli.app import app
from jobs.cli.display import paragraph, rows
from jobs.cli.gebd.tables import print_comparison, spoken_warnings
from jobs.cli.outputs import Force, OutputFile, check_writable, sealed_as
from jobs.cli.parameters import Store
from jobs.cli.plain_help import App
from jobs.cli.streams import say
from schemas.errors import ConfigurationError, UsageError

__all__ = ["AnnotationFile", "Pattern", "Stretches", "convert", "evaluate", "gebd_app", "join", "join_options"]

gebd_app = App(help="Event boundaries (GEBD): annotations, heads, scores, pictures.")
app.add_typer(gebd_app, name="gebd")

AnnotationFile = Annotated[
    Path,
    typer.Argument(help="Kinetics-GEBD or TAPOS (pickle or JSON), plain JSON, or CSV.", show_default=False),
]
Pattern = Annotated[
    str | None, typer.Option("--pattern", help="Regular expression that finds the annotation's id in a video's.")
]
Stretches = Annotated[
    bool, typer.Option("--stretches", help="TAPOS instances: the store has the longer videos that they are parts of.")
]
_LISTED = 5
_CONVERTED, _JUDGED = "converted annotations", "report on predictions"


class _Missing(StrEnum):
    PENALISE = "penalise"
    SKIP = "skip"


class _Unit(StrEnum):
    SECONDS = "seconds"
    FRAMES = "frames"


class _Matching(StrEnum):
    GREEDY = "greedy"
    OPTIMAL = "optimal"


@gebd_app.command()
def convert(
    annotations: AnnotationFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="The JSON to write.", show_default=False)],
    rules: Annotated[
        Rules, typer.Option("--rules", help="Raw Kinetics-GEBD: as officially, without its defects, or every mark.")
    ] = Rules.OFFICIAL,
    force: Force = False,
) -> int:
    """Write annotations of any format as plain JSON."""
    check_writable([OutputFile(out, sealed_as(_CONVERTED))], [annotations], force=force)
    loaded = write_annotations(load_annotations(annotations, rules=rules), out, seal=_CONVERTED)
    summary = loaded.summary()
    least, most = summary.raters_least, summary.raters_most
    table: list[tuple[object, ...]] = [
        ("videos", summary.videos, f"from {loaded.format.value}"),
        ("boundaries", summary.boundaries, f"of {least} to {most} raters a video" if least < most else ""),
        ("raters without a boundary", summary.empty_raters),
        ("videos without a boundary", summary.videos_without_boundary),
        ("boundaries outside", summary.boundaries_outside, "before the start or after the end of their video"),
        ("low consistency", summary.low_consistency, "videos that the official metric skips"),
        ("left out", summary.left_out),
    ]
    say(rows(table))
    for video_id, reason in list(loaded.left_out.items())[:_LISTED]:
        say(paragraph(f"  {video_id}: {reason}", indent="    "))
    if summary.left_out > _LISTED:
        say(f"  ... and {summary.left_out - _LISTED} more")
    say(f"written: {out}")
    return 0


@gebd_app.command()
def join(
    store: Store,
    annotations: AnnotationFile,
    rate_hz: Annotated[float, typer.Option("--rate-hz", help="Samples a second; 0 takes the frames as stored.")] = 10.0,
    label_sigma: Annotated[float, typer.Option("--label-sigma", help="Seconds around a boundary that count.")] = 0.15,
    pattern: Pattern = None,
    stretches: Stretches = False,
) -> int:
    """Say how annotations and a store fit: what joins, what is missing, what the sampling cannot represent."""
    with spoken_warnings():
        joining = join_options(pattern, stretches, annotations)
        found = GEBDDataset(
            store,
            annotations,
            rate_hz=rate_hz or None,
            label_sigma_seconds=label_sigma,
            pattern=joining.pattern,
            starts_seconds=joining.starts_seconds,
        )
    say(*str(found.join).splitlines())
    return 0


@gebd_app.command()
def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="JSON, or a submission pickle: {video id: [seconds, ...]}.", show_default=False)
    ],
    annotations: AnnotationFile,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the report as JSON, too.")] = None,
    missing: Annotated[_Missing, typer.Option("--missing", help="Videos that are not predicted.")] = _Missing.PENALISE,
    unit: Annotated[_Unit, typer.Option("--unit", help="Of the predictions.")] = _Unit.SECONDS,
    matching: Annotated[_Matching, typer.Option("--matching", help="Official is greedy.")] = _Matching.GREEDY,
    tolerances_seconds: Annotated[
        str | None, typer.Option("--tolerances-seconds", help="Like 0.5,1: instead of parts of the duration.")
    ] = None,
    resamples: Annotated[int, typer.Option("--resamples", min=1, help="For the intervals.")] = 1000,
    name: Annotated[str, typer.Option("--name", help="What the table calls the predictions.")] = "method",
    force: Force = False,
) -> int:
    """Judge predictions as the official evaluation does, beside baselines that look at no frame."""
    if out is not None:
        check_writable([OutputFile(out, sealed_as(_JUDGED))], [predictions, annotations], force=force)
    truth = load_annotations(annotations)
    found = compare_with_baselines(
        _of_annotated(predictions, truth),
        truth,
        name=name,
        missing=missing.value,
        unit=unit.value,
        matching=matching.value,
        resamples=resamples,
        tolerances_seconds=_numbers(tolerances_seconds),
    )
    print_comparison(found)
    if out is not None:
        write_report(found, out, seal=_JUDGED)
        say(f"written: {out}")
    return 0


def join_options(pattern: str | None, stretches: bool, annotations: Path | None) -> JoinOptions:
    """What the two options say; where stretches begin stands in the annotations."""
    if stretches and annotations is None:
        raise ConfigurationError("--stretches was given without annotations, which say where they begin: give both")
    return JoinOptions(pattern, tapos_starts(str(annotations)) if stretches else {})


def _of_annotated(path: Path, truth: Annotations) -> dict[str, list[float]]:
    """The predictions of a file, which have to be of annotated videos: a score of nothing would look like one."""
    found = load_predictions(path)
    if not found:
        raise UsageError(f"{path} was expected to predict annotated videos and is empty: predict some")
    if not any(video_id in truth for video_id in found):
        raise UsageError(
            f"{path} was expected to predict annotated videos, like {shown(next(iter(truth)))}, and has others, like "
            f"{shown(next(iter(found)))}: `msnet gebd predict` and `detect` give videos the names of their annotations "
            "with --annotations"
        )
    return found


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigurationError(f"tolerances like 0.5,1 were expected, not {text!r}") from None
