"""`msnet export`: a store in the formats of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.app import app, resumable
from jobs.cli.display import progress, size
from jobs.cli.parameters import Store, parse_bytes
from jobs.cli.streams import say
from jobs.stores.formats import PART_BYTES, ExportFormat
from schemas.errors import UsageError
from schemas.wording import counted


@app.command()
@resumable
def export(
    store: Store,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.", show_default=False)],
    format: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="npy: a file per video and tensor. safetensors: a file per video. zarr: a group per video. "
            "webdataset: tar files of many videos. parquet: tables of frames, pairs and clips.",
        ),
    ] = ExportFormat.NPY,
    tensors: Annotated[
        str | None, typer.Option("--tensors", help="Names of tensors, comma-separated. (default: all)")
    ] = None,
    shard_bytes: Annotated[
        str | None, typer.Option("--shard-bytes", help="Target size of a webdataset or parquet file. (default: 512MiB)")
    ] = None,
) -> int:
    """Write files for tools that do not read the store. Run again, it continues, and adds what is new."""
    from jobs.stores.export import export_store

    if shard_bytes is not None and not format.has_parts:
        raise UsageError(
            f"expected --shard-bytes with --format webdataset or parquet; got {format}, which has files for each "
            "video. Leave it out"
        )
    names = None if tensors is None else [name.strip() for name in tensors.split(",")]
    part_bytes = PART_BYTES if shard_bytes is None else parse_bytes(shard_bytes)
    with progress("exporting", "video") as update:
        done = export_store(store, out, format, names, part_bytes=part_bytes, progress=update)
    files = counted(done.files, "group" if format is ExportFormat.ZARR else "file")
    videos = counted(done.videos, "video")
    say(f"{files}, {size(done.bytes)}, of {videos} in {done.out} (already there: {done.skipped})")
    say(f"index of files and videos: {done.index}")
    return 0
