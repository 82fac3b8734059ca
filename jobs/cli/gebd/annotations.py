"""`msnet gebd convert`, `join` and `evaluate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gebd.annotations.kinetics_raw import Rules
from gebd.annotations.values import shown
from jobs.cli.app import app
from jobs.cli.display import paragraph, rows
from jobs.cli.gebd.tables import print_comparison, spoken_warnings
from jobs.cli.outputs import Force, OutputFile, check_writable, sealed_as
from jobs.cli.parameters import Json, Store
from jobs.cli.plain_help import App
from jobs.cli.results.boundaries import join_document
from jobs.cli.results.documents import print_document
from jobs.cli.streams import say
from schemas.errors import ConfigurationError, UsageError
from schemas.wording import counted

if TYPE_CHECKING:
    from gebd.annotations.records import Annotations
    from gebd.heads.predict import JoinOptions

gebd_app = App(help="Event boundaries (GEBD): annotations, heads, scores, pictures.")
app.add_typer(gebd_app, name="gebd")

AnnotationFile = Annotated[
    Path,
    typer.Argument(help="Kinetics-GEBD, GEB+ or TAPOS (pickle or JSON), plain JSON, or CSV.", show_default=False),
]
Pattern = Annotated[
    str | None, typer.Option("--pattern", help="Regular expression that finds the annotation's id in a video's.")
]
Stretches = Annotated[
    bool, typer.Option("--stretches", help="TAPOS instances: the store holds the longer videos that contain them.")
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
        Rules, typer.Option("--rules", help="Raw Kinetics-GEBD: official, without its defects, or every mark.")
    ] = Rules.OFFICIAL,
    force: Force = False,
) -> int:
    """Write annotations of any format as plain JSON."""
    from gebd.annotations.loading import load_annotations, write_annotations

    check_writable([OutputFile(out, sealed_as(_CONVERTED))], [annotations], force=force)
    loaded = write_annotations(load_annotations(annotations, rules=rules), out, seal=_CONVERTED)
    summary = loaded.summary()
    least, most = summary.raters_least, summary.raters_most
    raters = f"of {least} to {most} raters a video" if least < most else f"of {counted(most, 'rater')} a video"
    table: list[tuple[object, ...]] = [
        ("videos", summary.videos, f"from {loaded.format.value}"),
        ("boundaries", summary.boundaries, raters if most else "no marks: these videos can only be predicted"),
        ("raters without a boundary", summary.empty_raters),
        ("videos without a boundary", summary.videos_without_boundary),
        ("boundaries outside", summary.boundaries_outside, "before the start or after the end of their video"),
        ("low consistency", summary.low_consistency, "videos that the official metric skips"),
        ("left out", summary.left_out),
    ]
    say(rows(table))
    _tell_of_left_out(loaded)
    say(f"written: {out}")
    return 0


@gebd_app.command()
def join(
    store: Store,
    annotations: AnnotationFile,
    rate_hz: Annotated[float, typer.Option("--rate-hz", help="Samples a second; 0 for the frames as stored.")] = 10.0,
    label_sigma: Annotated[
        float, typer.Option("--label-sigma", help="Seconds around a boundary that are positive.")
    ] = 0.15,
    pattern: Pattern = None,
    stretches: Stretches = False,
    json: Json = False,
) -> int:
    """Report how annotations and a store match: what joins, what is missing, what the sampling cannot represent."""
    from gebd.dataset.dataset import GEBDDataset

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
    if json:
        print_document("gebd join", join_document(store, annotations, found.join))
    else:
        say(*str(found.join).splitlines())
    return 0


@gebd_app.command()
def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="JSON, or a submission pickle: {video id: [seconds, ...]}.", show_default=False)
    ],
    annotations: AnnotationFile,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the report as JSON.")] = None,
    missing: Annotated[
        _Missing, typer.Option("--missing", help="How to count videos without a prediction.")
    ] = _Missing.PENALISE,
    unit: Annotated[_Unit, typer.Option("--unit", help="Unit of the predictions.")] = _Unit.SECONDS,
    matching: Annotated[_Matching, typer.Option("--matching", help="The official one is greedy.")] = _Matching.GREEDY,
    tolerances_seconds: Annotated[
        str | None, typer.Option("--tolerances-seconds", help="Like 0.5,1: instead of fractions of the duration.")
    ] = None,
    resamples: Annotated[int, typer.Option("--resamples", min=1, help="Bootstrap samples for the intervals.")] = 1000,
    training: Annotated[
        Path | None,
        typer.Option(
            "--training",
            help="Annotations that the method was trained on: adds the clock (fixed times) that is best on these.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the predictions in the table.")] = "method",
    force: Force = False,
    json: Json = False,
) -> int:
    """Evaluate predictions as the official evaluation does, with baselines that see no frame."""
    from gebd.annotations.loading import load_annotations
    from gebd.metric.baselines import compare_with_baselines
    from gebd.metric.report import comparison_content, write_report

    if out is not None:
        check_writable([OutputFile(out, sealed_as(_JUDGED))], [predictions, annotations, training], force=force)
    truth = load_annotations(annotations)
    found = compare_with_baselines(
        _of_annotated(predictions, truth),
        truth,
        name=name,
        training=None if training is None else load_annotations(training),
        missing=missing.value,
        unit=unit.value,
        matching=matching.value,
        resamples=resamples,
        tolerances_seconds=_numbers(tolerances_seconds),
    )
    if json:
        print_document("gebd evaluate", comparison_content(found) | {"left_out": truth.left_out})
    else:
        print_comparison(found)
    if truth.left_out and not json:
        say(f"left out of {annotations}: {counted(len(truth.left_out), 'video')}")
        _tell_of_left_out(truth)
    if out is not None:
        write_report(found, out, seal=_JUDGED)
        if not json:
            say(f"written: {out}")
    return 0


def _tell_of_left_out(loaded: Annotations) -> None:
    """Print the first videos of an annotation file that loading left out, with the reasons."""
    for video_id, reason in list(loaded.left_out.items())[:_LISTED]:
        say(paragraph(f"  {shown(video_id)}: {reason}", indent="    "))
    if len(loaded.left_out) > _LISTED:
        say(f"  ... and {len(loaded.left_out) - _LISTED} more")


def join_options(pattern: str | None, stretches: bool, annotations: Path | None) -> JoinOptions:
    """Build join options; the annotations tell where stretches begin."""
    from gebd.annotations.identity import tapos_starts
    from gebd.heads.predict import JoinOptions

    if stretches and annotations is None:
        raise ConfigurationError("--stretches: expected annotations, which tell where they begin; got none. Give both")
    return JoinOptions(pattern, tapos_starts(str(annotations)) if stretches else {})


def _of_annotated(path: Path, truth: Annotations) -> dict[str, list[float]]:
    """Load predictions and require annotated videos: a score of no video would look like a real one."""
    from gebd.metric.predictions import load_predictions

    found = load_predictions(path)
    if not found:
        raise UsageError(f"{path}: expected predictions of annotated videos; got none. Predict some")
    if not any(video_id in truth for video_id in found):
        raise UsageError(
            f"{path}: expected predictions of annotated videos, like {shown(next(iter(truth)))}; got others, like "
            f"{shown(next(iter(found)))}. Use --annotations with `msnet gebd predict` or `detect` to name videos as "
            "annotated"
        )
    return found


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigurationError(
            f"--tolerances-seconds: expected numbers; got {text!r}. Separate them by commas, like 0.5,1"
        ) from None
