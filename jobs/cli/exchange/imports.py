"""`msnet import`: features of others as a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.app import app, resumable
from jobs.cli.display import paragraph, progress, rows
from jobs.cli.streams import say
from schemas.wording import counted

if TYPE_CHECKING:
    from jobs.stores.import_features import ImportReport

_LISTED = 10


@app.command("import")
@resumable
def import_folder(
    folder: Annotated[
        Path, typer.Argument(help="Folder with the npy files of one feature, as video_features names them.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The store.", show_default=False)],
    feature: Annotated[
        str | None,
        typer.Option("--feature", help="Which of several: i3d, r21d, s3d, clip, resnet, timm."),
    ] = None,
    fps: Annotated[
        float | None, typer.Option("--fps", help="Frame rate of the videos, for r21d and s3d. (default for s3d: 25)")
    ] = None,
    stack_frames: Annotated[
        int | None, typer.Option("--stack-frames", help="Frames that a row sees, where the files do not tell.")
    ] = None,
    step_frames: Annotated[
        int | None, typer.Option("--step-frames", help="Frames from a row to the next. (default: those of a stack)")
    ] = None,
) -> int:
    """Import features that video_features saved as npy files. Run again, it continues, and adds what is new."""
    from jobs.stores.import_features import import_features
    from jobs.stores.importing.videos import Given

    given = Given(fps, stack_frames, step_frames)
    with progress("importing", "video") as update:
        done = import_features(folder, out, feature=feature, given=given, progress=update)
    _print(done)
    return 2 if done.failed else 0


def _print(done: ImportReport) -> None:
    """What became of every file of the folder."""
    source = done.source
    say(f"{counted(done.videos, 'video')} of {source.model} in {done.store}, {done.imported} of them new")
    lines: list[tuple[object, ...]] = [
        (tensor, f"*_{key}.npy, {source.widths[key]} numbers a row") for tensor, key in source.tensors().items()
    ]
    if source.stacks is None:
        lines.append(("rows", "frames, at the times of timestamps_ms"))
    else:
        stacks = source.stacks
        rate = "" if source.fps is None else f", at {source.fps:g} frames a second"
        lines.append(
            ("rows", f"stacks of {stacks.stack_frames} frames, {stacks.step_frames} apart, at their middles{rate}")
        )
    say(rows(lines))
    _print_listed("failed", [f"{video_id}: {message}" for video_id, (_, message) in sorted(done.failed.items())])
    _print_listed("changed since they were imported; the store keeps what it has", done.changed)
    for reason, names in sorted(done.left_out.items()):
        _print_listed(f"files left out, {reason}", names)


def _print_listed(heading: str, lines: list[str] | tuple[str, ...]) -> None:
    if not lines:
        return
    say("", paragraph(f"{heading}: {len(lines)}", indent="  "))
    for line in lines[:_LISTED]:
        say(paragraph(f"  {line}", indent="    "))
    if len(lines) > _LISTED:
        say(f"  ... and {len(lines) - _LISTED} more")
