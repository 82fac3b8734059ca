"""Commands on a store: `msnet status`, `show`, `report`, `verify`, `compare`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.app import app
from jobs.cli.display import paragraph, progress, rows, size, table
from jobs.cli.parameters import Json, Store, takes
from jobs.cli.results.documents import print_document
from jobs.cli.results.page import Page, page_options, write_html
from jobs.cli.results.report import print_report
from jobs.cli.results.stores import (
    compare_document,
    status_document,
    verify_document,
    video_document,
)
from jobs.cli.results.summaries import standing_rows
from jobs.cli.streams import say
from jobs.stores.oddities import flag_meaning
from schemas.config import ExtractionConfig
from schemas.layout import StorePaths
from schemas.wording import counted

if TYPE_CHECKING:
    import pandas as pd

_LISTED = 20
_DIGITS = 12  # of a SHA-256, at least
_SHA256 = re.compile(r"\b[0-9a-f]{64}\b")


@app.command()
def status(store: Store, json: Json = False) -> int:
    """Show the progress of a store: shards, and videos done, failed, staged and left."""
    from jobs.stores.status import store_status

    found = store_status(store)
    if json:
        print_document("status", status_document(store, found))
        return 0
    config = found.run.config
    how = f"from {found.run.dataset_root}"
    if not config.is_imported:
        how = f"{_sampling_of(config)}, {config.size} px, videos {how}"
    say(f"{config.model}, {how}")
    lines: list[tuple[object, ...]] = [
        ("shards committed", found.shards_committed, f"of {found.shards}"),
        *standing_rows(found.standing),
        ("size", size(found.bytes)),
    ]
    say(rows(lines))
    for holder in found.at_work:
        say(f"at work: process {holder.pid} on {holder.host} since {holder.acquired_utc}")
    if not found.planned:
        say("planning is not through: there may be more videos")
    if not (found.standing.complete and found.planned) and not found.at_work:
        say(f"to continue: {found.run.continuing(store)}")
    return 0


@app.command()
def show(
    store: Store,
    video_id: Annotated[
        str | None, typer.Argument(help="As in the manifest. (default: list the ids)", show_default=False)
    ] = None,
    json: Json = False,
) -> int:
    """Show what a store holds of one video: clips, tensors, decoder. Without an id, list the ids."""
    from extractor.store.reader import FeatureStore
    from jobs.stores.status import video_summary

    if video_id is None:
        features = FeatureStore(store)
        if json:
            print_document("show", {"store": store, "videos": features.video_ids})
        else:
            say(*features.video_ids)
        features.close()
        return 0
    found = video_summary(store, video_id)
    if json:
        print_document("show", {"store": store, **video_document(found)})
        return 0
    say(found.video_id)
    if found.failure is not None:
        say(paragraph(f"  failed, {found.failure.failure}: {found.failure.message}", indent="  "))
        return 0
    first = found.clips.iloc[0]
    size_known = first.width > 0  # else the features were imported
    file = ("size", f"{first.width} x {first.height}", f"{first.fps:.3f} fps, {first.codec} in {first.container}")
    say(
        rows(
            [
                file if size_known else ("rate", f"{first.fps:.3f} fps"),
                *([("pixel aspect", f"{first.pixel_aspect:.3f}")] if first.pixel_aspect != 1 else []),
                ("time", f"{first.video_start_seconds:.3f} to {first.video_end_seconds:.3f} s"),
                ("decoder", f"{first.decoder} {first.decoder_version}", first.fallback_reason),
                *_flags(first["flags"]),
                ("clips", len(found.clips)),
            ]
        )
    )
    if own := _own_values(first):
        say("", "columns of the table")
        say(rows(own))
    say("", "tensors")
    tensors = [
        (t.name, t.shape, t.dtype, f"{t.smallest:.4g}", f"{t.mean:.4g}", f"{t.largest:.4g}") for t in found.tensors
    ]
    say(table(("name", "shape", "dtype", "min", "mean", "max"), tensors))
    say("", "clips")
    clips = [
        (clip["clip_number"], f"{clip['start_seconds']:.3f}", f"{clip['end_seconds']:.3f}", clip["num_valid_frames"])
        for clip in found.clips.head(_LISTED).to_dict("records")
    ]
    say(table(("clip", "start s", "end s", "frames"), clips))
    if len(found.clips) > _LISTED:
        say(f"  ... and {len(found.clips) - _LISTED} more")
    return 0


def _flags(flags: str) -> list[tuple[str, str, str]]:
    """A line for each flag, with what it means."""
    found = [flag for flag in flags.split(",") if flag] or ["none"]
    return [("" if number else "flags", flag, flag_meaning(flag)) for number, flag in enumerate(found)]


def _own_values(clip: pd.Series[Any]) -> list[tuple[str, str]]:
    """The first columns of the user's table for a video: names and values, with odd characters escaped."""
    import pandas as pd

    from schemas.manifest import MANIFEST_COLUMNS
    from schemas.table_columns import shown_names

    own = clip.drop(list(MANIFEST_COLUMNS))
    values = [
        (shown_names([str(name)]), "missing" if pd.isna(value) else shown_names([str(value)]))
        for name, value in own.head(_LISTED).items()
    ]
    return values + ([("...", f"and {len(own) - _LISTED} more")] if len(own) > _LISTED else [])


def _sampling_of(config: ExtractionConfig) -> str:
    """How clips were cut, in terms of the options: "windows, num-frames 8, rate-hz 10, hop 8, edges repeat"."""
    chosen = {name: getattr(config, name) for name in ("num_frames", "rate_hz", "hop", "clips")}
    given = (f"{name.replace('_', '-')} {value:g}" for name, value in chosen.items() if isinstance(value, int | float))
    return ", ".join((config.sampling, *given, f"edges {config.edges}"))


@app.command()
@takes(page=page_options)
def report(store: Store, page: Page, json: Json = False) -> int:
    """Report failures by class and what was odd: decoders, flags, made-up times, damaged frames; or write a page."""
    if page.out is not None:
        return write_html(store, page, json=json)
    page.require_none()
    print_report(store, json=json)
    return 0


@app.command()
def verify(
    store: Store,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every byte, so that no flipped bit goes unnoticed.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave damaged shards in the store.")] = False,
    json: Json = False,
) -> int:
    """Check a store against its commit records. Damaged shards are removed; it says what makes them again."""
    from extractor.store.commits.run import read_run
    from jobs.stores.verify import verify_store

    with progress("verifying", "shard") as update:
        found = verify_store(store, deep=deep, retire_damaged=not keep, progress=update)
    if json:
        print_document("verify", verify_document(store, found, deep=deep))
        return 0 if found.clean else 1
    for damage in found.damages:
        where = f", {damage.dataset}" if damage.dataset else ""
        say(paragraph(f"damaged: {damage.file}{where}: {damage.message}", indent="  "))
    say(
        f"{counted(found.shards, 'shard')}, {counted(found.videos, 'video')} with {counted(found.clips, 'clip')}, "
        f"{found.failed} failed, {size(found.bytes)}: "
        f"{'clean' if found.clean else f'{len(found.damages)} damaged'}"
        f"{'' if deep else ' (quick; --deep reads every byte)'}"
    )
    command = read_run(StorePaths(store)).continuing(store)
    if found.retired:
        say(f"removed: {', '.join(found.retired)}; to make them again: {command}")
    elif found.not_retired:
        say(paragraph(f"left in the store: {found.not_retired}", indent="  "))
    elif any(not damage.shard for damage in found.damages):
        say(f"to repair what can be repaired: {command}")
    elif found.unfinished:
        say(f"not extracted yet: {counted(found.unfinished, 'video')}; to continue: {command}")
    return 0 if found.clean else 1


@app.command()
def compare(
    store_a: Annotated[Path, typer.Argument(help="A store.", show_default=False)],
    store_b: Annotated[Path, typer.Argument(help="Another store.", show_default=False)],
    json: Json = False,
) -> int:
    """Compare two stores: ids, rows and times exactly, tensors within 1e-4 of their norm and a float16 step."""
    from jobs.stores.compare import compare_stores

    with progress("comparing", "video") as update:
        found = compare_stores(store_a, store_b, progress=update)
    if json:
        print_document("compare", compare_document((store_a, store_b), found))
        return 0 if found.equal else 1
    if found.configurations:
        fields = [f"{name} {' / '.join(_values(both))}" for name, both in found.configurations.items()]
        say(paragraph(f"configurations differ: {', '.join(fields)}", indent="  "))
    for difference in found.differences:
        say(paragraph(difference, indent="  "))
    if found.more:
        say(f"... and {found.more} more")
    if found.worst:
        say(paragraph("largest difference beyond a float16 step, as a share of a clip's norm"))
        say(rows([(name, f"{worst:.2e}") for name, worst in found.worst.items()]))
    tied = counted(found.tied_cells, "cell")
    say(paragraph(f"{counted(found.clips, 'clip')} compared, {tied} with tied correlation left out"))
    say("equal" if found.equal else "different")
    return 0 if found.equal else 1


def _values(both: tuple[Any, Any]) -> list[str]:
    """Two differing values of a configuration, whole; a SHA-256 by as many first digits as update it apart."""
    texts = [
        "+".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
        for value in both
    ]
    hashes = {sha256 for text in texts for sha256 in _SHA256.findall(text)}
    digits = next(n for n in range(_DIGITS, 65) if len({sha256[:n] for sha256 in hashes}) == len(hashes))
    return [_SHA256.sub(lambda found: found[0][:digits], text) for text in texts]
