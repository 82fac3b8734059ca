"""`msnet gebd finetune`: backbone and head together, from videos and their marks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS
from jobs.cli.app import INTERRUPTED, resumable
from jobs.cli.display import TerminalWatcher, paragraph
from jobs.cli.gebd.annotations import AnnotationFile, Pattern, Stretches, gebd_app, join_options
from jobs.cli.gebd.heads import SourcesColumn, ValidationFile, tell_of_epoch, validation_of
from jobs.cli.gebd.tables import print_comparison, spoken_warnings
from jobs.cli.parameters import Videos, takes
from jobs.cli.results.summaries import print_outcome
from jobs.cli.streams import say
from jobs.cli.weights.progress import TrainingDisplay
from jobs.cli.weights.work import SaveEvery, training_work
from jobs.cluster.signals import Interruptions
from jobs.finetuning.config import RECIPES, read_config
from schemas.escaping import in_command
from training.config import TrainingPrecision

if TYPE_CHECKING:
    from gebd.metric.baselines import Comparison
    from jobs.finetuning.finetune import FinetuneRequest


def _changes(
    model: Annotated[str | None, typer.Option("--model", help="Network. (default: that of the configuration)")] = None,
    size_px: Annotated[int | None, typer.Option("--size", help="Side of the network's input in pixels.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of split, weights and order.")] = None,
    precision: Annotated[
        TrainingPrecision | None, typer.Option("--precision", help="Number format of the convolutions.")
    ] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Times that each video is seen.")] = None,
    clips_per_step: Annotated[int | None, typer.Option("--clips-per-step", min=1, help="Clips of a step.")] = None,
    clips_per_share: Annotated[
        int | None, typer.Option("--clips-per-share", min=1, help="Clips that a device takes at a time.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Of the network; the head's is a multiple of it.")
    ] = None,
    frozen_stages: Annotated[
        int | None, typer.Option("--frozen-stages", help="Stages that stay as they are: 0, 2 or 3.")
    ] = None,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--gradient-checkpointing/--no-gradient-checkpointing",
            help="Less memory, a third more time.",
            show_default=False,
        ),
    ] = None,
) -> dict[str, Any]:
    """What overrides the configuration."""
    return {name: value for name, value in locals().items() if value is not None}


@gebd_app.command()
@resumable
@takes(changes=_changes, work=training_work)
def finetune(
    videos: Videos,
    annotations: AnnotationFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.", show_default=False)],
    changes: dict[str, Any],
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", help=f"A TOML file, or {' or '.join(RECIPES)}. (default: {RECIPES[0]})"),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", "-w", help=f"Checkpoint to start from. (default: {BUNDLED_WEIGHTS})"),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option("--head", help="A run of `msnet gebd train` on features of these weights. (default: train one)"),
    ] = None,
    validation: ValidationFile = None,
    sources: SourcesColumn = None,
    pattern: Pattern = None,
    stretches: Stretches = False,
    save_every: SaveEvery = 300.0,
    *,
    work: dict[str, Any],
) -> int:
    """Train backbone and head together on boundaries. The same command resumes an interrupted training."""
    from jobs.finetuning.finetune import FinetuneRequest

    request = FinetuneRequest(
        read_config(config, **changes),
        videos,
        annotations,
        out,
        weights=weights,
        head=head,
        validation=validation_of(validation),
        sources=sources,
        joining=join_options(pattern, stretches, annotations),
        **work,
    )
    return _run(request, save_every)


def _run(request: FinetuneRequest, save_every: float) -> int:
    """Do it, say what came of it; the exit code of the command."""
    from jobs.finetuning.finetune import FEATURES, Reports, compare_with_frozen, prepare_finetuning
    from jobs.weights.training import train_weights
    from training.train import Loop

    reports = Reports(
        joined=lambda report: say(*str(report).splitlines(), ""),
        epoch=lambda epoch: tell_of_epoch(epoch, request.config.head),
        watcher=TerminalWatcher(),
    )
    with spoken_warnings():
        prepared = prepare_finetuning(request, reports)
    if prepared.work is None:
        print_outcome(prepared.outcome, request.out / FEATURES)
        return prepared.outcome.exit_code
    with Interruptions() as interruptions, TrainingDisplay() as display:
        interruptions.drain_on_first()
        train_weights(prepared.work, Loop(save_every, display.show, should_stop=lambda: interruptions.happened))
    _tell(compare_with_frozen(prepared.work), request.out)
    return INTERRUPTED if interruptions.happened else prepared.outcome.exit_code


def _tell(comparison: Comparison | None, out: Path) -> None:
    from jobs.finetuning.finetune import FROZEN, TRAINING
    from jobs.finetuning.product import WEIGHTS_NAME

    if comparison is None:
        say(paragraph("stopped before the first evaluation: there are no weights yet"))
        return
    say(paragraph(f"On the validation part, on which epoch and threshold were chosen; {FROZEN}: the first weights"))
    print_comparison(comparison)
    say(f"weights: {out / WEIGHTS_NAME}; run: {out}; curves: {out / TRAINING}")
    say(f"next: msnet gebd predict {in_command(out)} TEST_VIDEOS --store TEST_STORE --out predictions.json")
