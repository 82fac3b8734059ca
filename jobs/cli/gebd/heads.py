"""`msnet gebd train`, `predict` and `detect`: boundaries from the features of a store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gebd.annotations.records import Raters
from gebd.annotations.values import shown
from gebd.detection.config import DetectionConfig
from gebd.heads.config import AVERAGE, HeadConfig, head_config
from gebd.heads.networks.spec import HeadName
from jobs.cli.app import InterruptedHalfwayError, resumable
from jobs.cli.display import TerminalWatcher, notice, paragraph
from jobs.cli.gebd.annotations import AnnotationFile, Pattern, Stretches, gebd_app, join_options
from jobs.cli.gebd.tables import print_comparison, spoken_warnings
from jobs.cli.outputs import Force, OutputFile, check_writable, is_predictions, is_scores
from jobs.cli.parameters import Device, Store, takes
from jobs.cli.results.summaries import print_outcome
from jobs.cli.streams import say
from jobs.cluster.devices import DeviceChoice, choose_device
from schemas.errors import UsageError
from schemas.escaping import in_command
from schemas.wording import counted

if TYPE_CHECKING:
    from gebd.heads.predict import Prediction
    from gebd.heads.run_folder import Epoch
    from gebd.heads.splitting import Parts, Validation

_DEFAULTS = HeadConfig()
_DETECTOR = DetectionConfig()

_Workers = Annotated[int, typer.Option("--workers", min=0, help="Processes that read the store. (0: this one)")]
_Named = Annotated[
    Path | None,
    typer.Option("--annotations", help="Only videos that join with one of these, under their ids.", show_default=False),
]
_Out = Annotated[
    Path, typer.Option("--out", "-o", help="JSON, or the official submission for a name in .pkl.", show_default=False)
]
SourcesColumn = Annotated[
    str | None,
    typer.Option(
        "--sources",
        metavar="<column>",
        help="Column of the manifest that says which videos are of one source, and so on one side of the split. "
        "(default: YouTube ids and paths)",
        show_default=False,
    ),
]
ValidationFile = Annotated[
    Path | None,
    typer.Option(
        "--validation",
        help="Annotations of the videos to validate on, or a .txt with an id per line. (default: a fifth, by seed)",
        show_default=False,
    ),
]
_Scores = Annotated[Path | None, typer.Option("--scores", help="Also write the scores over time, as JSON.")]


def _head_options(
    head: Annotated[
        HeadName,
        typer.Option("--head", help="temporal is a smaller one, contrast that of the official baseline."),
    ] = _DEFAULTS.head,
    tensors: Annotated[
        str,
        typer.Option(
            "--tensors",
            help="Tensors of the store, with commas: frame,displacement. (default: all that the head can use)",
            show_default=False,
        ),
    ] = "",
    raters: Annotated[Raters, typer.Option("--raters", help="Whose boundaries are the target.")] = _DEFAULTS.raters,
    rate_hz: Annotated[float, typer.Option("--rate-hz", help="Samples a second.")] = _DEFAULTS.rate_hz,
    window: Annotated[float, typer.Option("--window", help="Seconds seen at a time.")] = _DEFAULTS.window_seconds,
    hop: Annotated[float, typer.Option("--hop", help="Seconds between windows.")] = _DEFAULTS.hop_seconds,
    epochs: Annotated[int, typer.Option("--epochs", help="Maximum number of epochs.")] = _DEFAULTS.max_epochs,
    patience: Annotated[
        int, typer.Option("--patience", help="Stop after this many epochs without a better F1.")
    ] = _DEFAULTS.patience_epochs,
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="At the start.")] = _DEFAULTS.learning_rate,
    criterion: Annotated[
        str,
        typer.Option("--criterion", help="F1 by which epoch and threshold are chosen: a tolerance, or average."),
    ] = str(_DEFAULTS.criterion),
    most_marks: Annotated[
        float,
        typer.Option("--most-marks", help="A threshold may mark this many times what a rater marks."),
    ] = _DEFAULTS.most_marks,
    seed: Annotated[int, typer.Option("--seed", help="Of split, weights and order.")] = _DEFAULTS.seed,
) -> HeadConfig:
    """The head and its training."""
    return head_config(
        head=head,
        tensors=tuple(name.strip() for name in tensors.split(",") if name.strip()),
        raters=raters,
        rate_hz=rate_hz,
        window_seconds=window,
        hop_seconds=hop,
        max_epochs=epochs,
        patience_epochs=patience,
        learning_rate=learning_rate,
        criterion=criterion,
        most_marks=most_marks,
        seed=seed,
    )


@gebd_app.command()
@resumable
@takes(config=_head_options)
def train(
    store: Store,
    annotations: AnnotationFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.", show_default=False)],
    config: HeadConfig,
    validation: ValidationFile = None,
    sources: SourcesColumn = None,
    pattern: Pattern = None,
    stretches: Stretches = False,
    device: Device = DeviceChoice.AUTO,
    workers: _Workers = 0,
) -> int:
    """Train a head on a store's features. The same command resumes an interrupted training."""
    from gebd.heads.train import train_head

    with spoken_warnings():
        result = train_head(
            store,
            annotations,
            out,
            config,
            validation=validation_of(validation),
            sources=sources,
            joining=join_options(pattern, stretches, annotations),
            device=choose_device(device),
            workers=workers,
            joined=lambda report: say(*str(report).splitlines(), ""),
            tell=lambda epoch: tell_of_epoch(epoch, config),
        )
    say(
        paragraph(
            f"best of {counted(len(result.epochs), 'epoch')}: epoch {result.trained.epoch}, threshold "
            f"{result.trained.picker.threshold:g}. On the validation part, on which both were chosen:"
        )
    )
    print_comparison(result.comparison)
    say(f"run: {out}; curves: {out / 'curves.csv'}")
    say(f"next: msnet gebd predict {in_command(out)} {in_command(store)} --annotations TEST --out predictions.json")
    return 0


def tell_of_epoch(epoch: Epoch, config: HeadConfig) -> None:
    """A line of progress on standard error."""
    score = "average F1" if config.criterion == AVERAGE else f"F1@{config.criterion:g}"
    say(
        f"epoch {epoch.epoch}: loss {epoch.training_loss:.3f}, validation {epoch.validation_loss:.3f}, "
        f"{score} {epoch.validation_f1:.3f} in validation",
        to=sys.stderr,
    )


def validation_of(path: Path | None) -> Validation | None:
    """The validation part that an option names: a file of annotations, or the ids in a .txt."""
    if path is None or path.suffix != ".txt":
        return path
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: expected text, one id per line; it cannot be read ({error}). Check it") from error
    return [line.strip() for line in lines if line.strip()]


@gebd_app.command()
def predict(
    run: Annotated[
        Path, typer.Argument(help="The folder that `msnet gebd train` or `finetune` wrote.", show_default=False)
    ],
    store: Annotated[
        Path, typer.Argument(help="Features of its kind; with --store, the videos themselves.", show_default=False)
    ],
    out: _Out,
    into: Annotated[
        Path | None,
        typer.Option("--store", help="Extract features from the videos into this store first.", show_default=False),
    ] = None,
    annotations: _Named = None,
    scores: _Scores = None,
    sources: SourcesColumn = None,
    pattern: Pattern = None,
    stretches: Stretches = False,
    device: Device = DeviceChoice.AUTO,
    workers: _Workers = 0,
    force: Force = False,
) -> int:
    """Predict boundaries with a trained head."""
    from gebd.heads.predict import predict as predict_boundaries
    from gebd.heads.run_folder import HeadFolder
    from gebd.heads.trained import load_head
    from jobs.finetuning.features import extract_for_head

    folder = HeadFolder(run if run.is_dir() else run.parent)
    _check(out, scores, [run, store, into, annotations, folder.predictions, folder.scores], force)
    trained = load_head(run, choose_device(device))
    parts = folder.parts()
    if into is not None:
        outcome = extract_for_head(folder.root, trained, store, into, device=device, watcher=TerminalWatcher())
        if not outcome.complete:
            print_outcome(outcome, into)
            if outcome.interrupted:
                raise InterruptedHalfwayError
            return outcome.exit_code
        store = into
    with spoken_warnings():
        joining = join_options(pattern, stretches, annotations)
        found = predict_boundaries(trained, store, annotations, joining=joining, sources=sources, workers=workers)
    _write(found, out, scores, annotations)
    _tell_of_known(found, parts)
    return 0


def _tell_of_known(found: Prediction, parts: Parts) -> None:
    """Report how many of the predicted videos, or of their sources, the head has seen: their score is no test."""
    known = []
    for verb, part in zip(("trained", "validated"), parts.known(found.sources), strict=True):
        if part.videos:
            known.append(f"{verb} on {part.videos}")
        if part.stretches:
            known.append(f"{verb} on other stretches of the source of {part.stretches}")
    if known:
        predicted = counted(len(found.boundaries), "predicted video")
        notice(f"the head was {' and '.join(known)} of {predicted}: a score on these says little")


@gebd_app.command()
def detect(
    store: Store,
    out: _Out,
    annotations: _Named = None,
    scores: _Scores = None,
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold", help="Least score of a boundary: how far a change stands out from those around it."
        ),
    ] = _DETECTOR.threshold,
    apart: Annotated[float, typer.Option("--apart", help="Minimum seconds between two.")] = _DETECTOR.apart_seconds,
    rate_hz: Annotated[float, typer.Option("--rate-hz", help="Samples a second.")] = _DETECTOR.rate_hz,
    pattern: Pattern = None,
    stretches: Stretches = False,
    force: Force = False,
) -> int:
    """Detect boundaries without training, where features and motion change more than around there."""
    from gebd.detection.detector import detect as detect_boundaries

    _check(out, scores, [store, annotations], force)
    config = DetectionConfig(rate_hz=rate_hz, threshold=threshold, apart_seconds=apart)
    with spoken_warnings():
        found = detect_boundaries(
            store, annotations, config=config, joining=join_options(pattern, stretches, annotations)
        )
    _write(found, out, scores, annotations)
    return 0


def _check(out: Path, scores: Path | None, inputs: list[Path | None], force: bool) -> None:
    outputs = [OutputFile(out, is_predictions)]
    if scores is not None:
        outputs.append(OutputFile(scores, is_scores, "--scores"))
    check_writable(outputs, inputs, force=force)


def _write(found: Prediction, out: Path, scores: Path | None, annotations: Path | None) -> None:
    from gebd.metric.predictions import write_predictions
    from gebd.metric.tracks import write_tracks

    write_predictions(found.boundaries, out)
    if scores is not None:
        write_tracks(found.tracks, scores)
    if found.join is not None:
        say(*str(found.join).splitlines(), "")
    count = sum(map(len, found.boundaries.values()))
    empty = [video_id for video_id, track in found.tracks.items() if not len(track.scores)]
    per_video = f", {count / len(found.boundaries):.1f} a video" if found.boundaries else ""
    say(f"{counted(count, 'boundary', 'boundaries')} in {counted(len(found.boundaries), 'video')}{per_video}")
    if empty:
        say(f"without a valid sample: {counted(len(empty), 'video')}, {shown(empty[0])} among them")
    say(f"written: {out}{'' if scores is None else f', {scores}'}")
    if annotations is not None and not (found.join and found.join.annotations and found.join.annotations.unmarked):
        say(f"next: msnet gebd evaluate {in_command(out)} {in_command(annotations)}")
