"""`msnet extract`, `resume` and `plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from extractor.extraction.request import Request
from jobs.cli.app import app, resumable
from jobs.cli.config_file import ConfigFile, SaveConfig, save_options
from jobs.cli.display import notice, starting
from jobs.cli.parameters import Json, Store, Videos, request_options, shard_options, takes, work_options
from jobs.cli.results.documents import print_document
from jobs.cli.results.plan import plan_document
from jobs.cli.results.summaries import print_outcome, print_plan
from jobs.cluster.options import Options
from schemas.errors import ConfigurationError, FailureClass
from schemas.layout import StorePaths


@app.command()
@takes(request=request_options, options=work_options, layout=shard_options)
def extract(
    videos: Videos,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The store: a folder, created if missing.", show_default=False)
    ],
    context: typer.Context,
    request: Request,
    options: Options,
    layout: dict[str, Any],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    json: Json = False,
    config: ConfigFile = None,
    save_config: SaveConfig = None,
) -> int:
    """Extract features from VIDEOS into a store. Run again, it continues where it stopped."""
    if save_config is not None:
        save_options(context, save_config)
        return 0
    options = replace(options, **layout)
    StorePaths(out)  # refuses an address
    if dry_run:
        return _planned(videos, request, options, json=json)
    if json:
        raise ConfigurationError("expected --json with --dry-run; got it alone. See `msnet status STORE --json`")
    _require_layout_of(out, layout)
    return _extract(videos, out, request, options)


@resumable
def _extract(videos: str, out: Path, request: Request, options: Options) -> int:
    with starting() as watcher:
        from jobs.run.extraction import extract as extract_videos

        outcome = extract_videos(videos, out, request, options, watcher)
    print_outcome(outcome, out, options.part)
    return outcome.exit_code


@app.command()
@resumable
@takes(options=work_options)
def resume(
    store: Store,
    options: Options,
    retry_failed: Annotated[
        str | None,
        typer.Option("--retry-failed", help="Try failed videos again: `all`, or classes like timed_out,changed."),
    ] = None,
    videos: Annotated[
        str | None, typer.Option("--videos", metavar="<path>", help="Where the dataset is now, if it was moved.")
    ] = None,
    rescan: Annotated[
        bool, typer.Option("--rescan", help="Add new videos, take over the table's columns, name replaced videos.")
    ] = False,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Where the checkpoint is now, if it was moved.")
    ] = None,
) -> int:
    """Continue a store that was interrupted: nothing that is finished is computed again."""
    with starting() as watcher:
        from jobs.run.extraction import resume as resume_store

        outcome = resume_store(
            store,
            options,
            watcher,
            videos=videos,
            weights=weights,
            retry_failed=_classes(retry_failed),
            rescan=rescan,
        )
    print_outcome(outcome, store, options.part)
    return outcome.exit_code


@app.command()
@takes(request=request_options, options=work_options, layout=shard_options)
def plan(
    videos: Videos,
    request: Request,
    options: Options,
    layout: dict[str, Any],
    json: Json = False,
    config: ConfigFile = None,
) -> int:
    """Say what an extraction would do: videos, bad files, duplicates, clips, disk, time. Writes nothing."""
    from extractor.models.checkpoints.bundled import bundled_networks

    if request.weights is None and request.model not in bundled_networks():
        notice(f"no --weights given for {request.model}: the time is estimated with random ones, which are as fast")
        request = replace(request, weights="random")
    return _planned(videos, request, replace(options, **layout), json=json)


def _planned(videos: str, request: Request, options: Options, *, json: bool) -> int:
    with starting() as watcher:
        from jobs.run.plan import plan as plan_videos

        found = plan_videos(videos, request, options, watcher)
    if json:
        print_document("plan", plan_document(found))
    else:
        print_plan(found)
    return found.exit_code


def _require_layout_of(out: Path, layout: Mapping[str, Any]) -> None:
    """Refuse a layout that differs from the existing store's: it would silently change nothing."""
    from extractor.store.commits.run import read_run

    paths = StorePaths(out)
    if not paths.run.exists():
        return
    run = read_run(paths)
    there = {"shard_bytes": run.shard_bytes, "limit": run.settings.get("limit")}
    for name, has in there.items():
        if layout.get(name, has) != has:
            raise ConfigurationError(
                f"expected --{name.replace('_', '-')} only for a new store; {out} was planned with {has or 'none'}. "
                "Leave it out, or give another --out"
            )


def _classes(text: str | None) -> list[str] | None:
    """Failure classes of --retry-failed; [] means all."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return []
    unknown = [name for name in names if name not in set(FailureClass)]
    if unknown or not names:
        meant = get_close_matches(unknown[0], list(FailureClass), n=1) if unknown else []
        advice = f"Did you mean {meant[0]}?" if meant else "Correct --retry-failed"
        known = ", ".join(FailureClass)
        raise ConfigurationError(f"expected `all` or failure classes ({known}); got {text!r}. {advice}")
    return names
