"""`msnet weights evaluate --task classify`: tables, JSON and a picture of which classes it tells apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.display import paragraph, rows, table
from jobs.cli.outputs import OutputFile, check_writable, sealed_as
from jobs.cli.streams import say
from jobs.cli.weights.progress import PartProgress
from jobs.weights.defaults import Views
from schemas.errors import ConfigurationError
from schemas.escaping import escaped
from schemas.seals import sealed_content
from schemas.wording import counted

if TYPE_CHECKING:
    from jobs.weights.classification import Classification
    from training.labels.labelled import LabelledVideos

_PANEL = "Telling classes apart (--task classify)"
_RESULTS = "classification"
_MOST_CLASSES = 30  # in the table, the worst first
_PARTLY_FAILED = 2


@dataclass(frozen=True, slots=True)
class ClassOptions:
    """The options of this task. members: further checkpoints, whose scores are averaged with the first one's."""

    members: tuple[Path, ...]
    views: Views
    num_frames: int | None
    picture: Path | None
    scores: Path | None
    loader_workers: int


def class_options(
    members: Annotated[
        list[Path] | None,
        typer.Option(
            "--with", help="Another checkpoint, whose scores are averaged with the first one's.", rich_help_panel=_PANEL
        ),
    ] = None,
    clips_per_video: Annotated[
        int, typer.Option("--clips-per-video", min=1, max=100, help="The paper has 1 and 10.", rich_help_panel=_PANEL)
    ] = 1,
    crops: Annotated[
        int, typer.Option("--crops", min=1, max=3, help="1 (centre) or 3 (along the side).", rich_help_panel=_PANEL)
    ] = 1,
    num_frames: Annotated[
        int | None,
        typer.Option(
            "--num-frames", min=2, help="Frames of a clip. (default: as it was trained)", rich_help_panel=_PANEL
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="PNG file of the confusion table.", rich_help_panel=_PANEL)
    ] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", help="CSV file of every video's scores.", rich_help_panel=_PANEL)
    ] = None,
    loader_workers: Annotated[
        int, typer.Option("--loader-workers", min=0, max=256, help="Processes that decode.", rich_help_panel=_PANEL)
    ] = 1,
) -> ClassOptions:
    """How videos are scored, and what is written."""
    if crops == 2:
        raise ConfigurationError("expected 1 or 3 crops; got 2. Change --crops")
    views = Views(clips_per_video, crops)
    return ClassOptions(tuple(members or ()), views, num_frames, picture, scores, loader_workers)


def evaluate_classes(
    path: Path,
    options: ClassOptions,
    videos: LabelledVideos | None,
    *,
    model: str | None,
    size_px: int | None,
    device: str,
    out: Path,
    force: bool,
) -> int:
    """Evaluate, print and write; the exit code of the command."""
    from extractor.store.disk.atomic import write_bytes
    from jobs.weights.classification import classify, scores_csv, summary
    from training.tasks.classify.confusion import CONFUSION, draw_confusion

    if videos is None:
        raise ConfigurationError("expected labelled videos; got none. Give --videos")
    outputs = [OutputFile(out, sealed_as(_RESULTS))]
    if options.picture is not None:
        outputs.append(OutputFile(options.picture, sealed_as(CONFUSION), "--picture"))
    if options.scores is not None:
        outputs.append(OutputFile(options.scores, None, "--scores"))
    check_writable(outputs, [path, *options.members], force=force)
    with PartProgress("scoring") as shown:
        found = classify(
            [path, *options.members],
            videos,
            model=model,
            views=options.views,
            num_frames=options.num_frames,
            size_px=size_px,
            device=device,
            workers=options.loader_workers,
            report=shown.report,
        )
    _print(found)
    if not videos.validation:
        say("", paragraph("no validation videos: all are scored, also those that the network may have learned from"))
    content = summary(found) | {"held_out": bool(videos.validation)}
    write_bytes(out, json.dumps(sealed_content(content, _RESULTS), indent=2).encode() + b"\n")
    written = [out]
    if options.picture is not None:
        title = f"{' + '.join(cost.weights.model for cost in found.networks)}, top-1 {100 * found.top(1):.1f} %"
        draw_confusion(found.confusion, found.classes, options.picture, title)
        written.append(options.picture)
    if options.scores is not None:
        write_bytes(options.scores, scores_csv(found))
        written.append(options.scores)
    say("", paragraph(f"written to {', '.join(map(str, written))}"))
    return _PARTLY_FAILED if found.left_out else 0


def _print(found: Classification) -> None:
    from jobs.weights.classification import wilson

    views = f"{counted(found.views.clips, 'clip')} of {counted(found.views.crops, 'crop')} each"
    say(f"{counted(len(found.videos), 'video')} of {counted(len(found.classes), 'class', 'classes')}, {views}")
    interval = wilson(found.top(1), len(found.videos))
    lines: list[Sequence[object]] = [
        ("top-1, percent", f"{100 * found.top(1):.1f}", f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]")
    ]
    if len(found.classes) > 5:
        lines.append(("top-5, percent", f"{100 * found.top(5):.1f}", ""))
    say(rows(lines))
    costs = [
        (
            escaped(Path(cost.weights.weights).name),
            cost.weights.model,
            cost.num_frames,
            f"{cost.multiply_adds / 1e9:.2f}",
            f"{cost.clips_per_second:.3g}",
        )
        for cost in found.networks
    ]
    say("", table(("checkpoint", "network", "frames", "G multiply-adds", "clips/s"), costs))
    _print_classes(found)
    if found.left_out:
        say("", f"{counted(len(found.left_out), 'video')} left out")
        for name, failure in list(found.left_out.items())[:5]:
            say(paragraph(f"{escaped(name)}: {failure.failure.value}, {failure.message}", indent="  "))


def _print_classes(found: Classification) -> None:
    import numpy as np

    confusion = found.confusion
    counts, right = confusion.sum(1), confusion.diagonal()
    wrong = confusion * (1 - np.eye(len(counts), dtype=np.int64))
    shown = sorted((n for n in range(len(counts)) if counts[n]), key=lambda n: right[n] / counts[n])
    lines = []
    for n in shown[:_MOST_CLASSES]:
        most = int(wrong[n].argmax())
        taken = f"{escaped(found.classes[most])} ({wrong[n][most]})" if wrong[n][most] else ""
        lines.append((escaped(found.classes[n]), int(counts[n]), f"{100 * right[n] / counts[n]:.0f}", taken))
    say("", table(("class", "videos", "percent right", "taken for"), lines))
    if len(shown) > _MOST_CLASSES:
        say(f"  and {counted(len(shown) - _MOST_CLASSES, 'better class', 'better classes')}")
