"""`msnet weights evaluate`: the quality of a checkpoint, as tables and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS, checkpoint_path
from jobs.cli.outputs import Force, OutputFile, check_writable, sealed_as, with_listed_videos
from jobs.cli.parameters import Device, takes
from jobs.cli.streams import say
from jobs.cli.weights.checkpoints import weights_app
from jobs.cli.weights.classes import ClassOptions, class_options, evaluate_classes
from jobs.cli.weights.evaluation_tables import print_evaluation
from jobs.cli.weights.lists import VideoLists, video_lists
from jobs.cli.weights.progress import PartProgress
from jobs.cluster.devices import DeviceChoice, choose_device
from jobs.weights.defaults import BUNDLED_MODEL, SHORT, TWIN_WEIGHTS, Sizes
from schemas.escaping import plain
from schemas.seals import sealed_content

if TYPE_CHECKING:
    from jobs.weights.evaluation import WeightsEvaluation

_PARTLY_FAILED = 2
_FULL = Sizes()
_EVALUATION = "evaluation of weights"


class _Task(StrEnum):
    MOTION = "motion"
    CLASSIFY = "classify"


def _sizes(
    matching_clips: Annotated[
        int | None,
        typer.Option("--matching-clips", min=2, help=f"Clips for displacement. (default: {_FULL.matching_clips})"),
    ] = None,
    probe_clips: Annotated[
        int | None, typer.Option("--probe-clips", min=2, help=f"Clips of 8 frames for probes. (default: {_FULL.clips})")
    ] = None,
    probe_videos: Annotated[
        int | None, typer.Option("--probe-videos", min=2, help=f"Videos of 10 s for probes. (default: {_FULL.videos})")
    ] = None,
    real_seconds: Annotated[
        float | None,
        typer.Option("--real-seconds", min=0.2, help=f"Seconds of each. (default: {_FULL.real_seconds:g})"),
    ] = None,
    short: Annotated[
        bool, typer.Option("--short", help=f"A quick run: {SHORT.matching_clips} clips, {SHORT.videos} videos.")
    ] = False,
) -> Sizes:
    """How much is measured of motion."""
    base = SHORT if short else _FULL
    return replace(
        base,
        matching_clips=matching_clips or base.matching_clips,
        clips=probe_clips or base.clips,
        videos=probe_videos or base.videos,
        real_seconds=real_seconds or base.real_seconds,
    )


@weights_app.command()
@takes(sizes=_sizes, lists=video_lists, of_classes=class_options)
def evaluate(
    path: Annotated[Path, typer.Argument(help="A checkpoint, or `random` with --model, for comparison.")] = Path(
        BUNDLED_WEIGHTS
    ),
    model: Annotated[str | None, typer.Option("--model", help="Its network. (default: the one it matches)")] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            help="Another checkpoint for the same probes. (default: the TSN in the folder weights, if present)",
        ),
    ] = None,
    real: Annotated[
        Path | None, typer.Option("--real", help="Real videos (folder, table or file) to compare with optical flow.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="JSON file. (default: NAME.evaluation.json, or NAME.classes.json, in this folder)"
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", help=f"Side of all frames in pixels. (default: {_FULL.size_px}; classes: as trained)"),
    ] = None,
    task: Annotated[
        _Task, typer.Option("--task", help="What to evaluate: motion, or classes of labelled videos.")
    ] = _Task.MOTION,
    device: Device = DeviceChoice.AUTO,
    force: Force = False,
    *,
    sizes: Sizes,
    lists: VideoLists | None,
    of_classes: ClassOptions,
) -> int:
    """Evaluate a checkpoint on held-out procedural video, with baselines, and on real video; or on labelled videos."""
    if task is _Task.CLASSIFY:
        return evaluate_classes(
            path,
            of_classes,
            None if lists is None else lists.read(),
            model=model,
            size_px=size,
            device=choose_device(device),
            out=out or Path(f"{path.stem}.classes.json"),
            force=force,
        )
    return _evaluate_motion(
        path,
        model=model,
        against=against,
        real=real,
        sizes=replace(sizes, size_px=size or sizes.size_px),
        device=choose_device(device),
        out=out or Path(f"{path.stem}.evaluation.json"),
        force=force,
    )


def _evaluate_motion(
    path: Path,
    *,
    model: str | None,
    against: Path | None,
    real: Path | None,
    sizes: Sizes,
    device: str,
    out: Path,
    force: bool,
) -> int:
    """Evaluate, print and write; the exit code of the command."""
    from extractor.store.disk.atomic import write_bytes
    from jobs.weights.evaluation import evaluate_weights

    if against is None and TWIN_WEIGHTS.is_file():
        against = TWIN_WEIGHTS
    read = [checkpoint_path(path, model or BUNDLED_MODEL), against, *with_listed_videos(real)]
    check_writable([OutputFile(out, sealed_as(_EVALUATION))], read, force=force)
    with PartProgress("evaluating") as shown:
        found = evaluate_weights(
            path, model=model, against=against, real=real, sizes=sizes, device=device, report=shown.report
        )
    print_evaluation(found)
    write_bytes(out, json.dumps(_plain(found), indent=2, allow_nan=False).encode() + b"\n")
    say("", f"written to {out}")
    return _PARTLY_FAILED if found.real is not None and found.real.left_out else 0


def _plain(found: WeightsEvaluation) -> dict[str, Any]:
    """The evaluation for JSON: with the definitions and versions behind the figures, and null for NaN."""
    from jobs.weights.evaluation import DEFINITIONS

    versions = {name: _version(name) for name in ("msnet-features", "torch", "opencv-python-headless")}
    content = {**asdict(found), "definitions": DEFINITIONS, "versions": versions}
    return sealed_content(plain(content), _EVALUATION)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
