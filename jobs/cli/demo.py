"""`msnet demo`: a first look, without videos of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.app import app, resumable
from jobs.cli.display import paragraph, starting, table
from jobs.cli.results.summaries import print_outcome
from jobs.cli.streams import say
from schemas.escaping import in_command


@app.command()
@resumable
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the videos and the store.")] = Path("msnet-demo"),
    videos: Annotated[int, typer.Option("--videos", min=1, help="How many videos to make.")] = 6,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the videos.")] = 0,
) -> int:
    """Make a few short videos, extract them, and show what came out."""
    with starting() as watcher:
        from jobs.demos.first_look import run_demo
        from training.world.videos import TRUTH_NAME

        result = run_demo(out, videos, seed, watcher)
    print_outcome(result.outcome, result.store)
    if not result.videos:
        return result.outcome.exit_code
    say("", "what came out")
    heads = ("video", "seconds", "frames", "motion changes at", "measured change")
    say(table(heads, ((v.video_id, f"{v.seconds:.1f}", v.frames, v.boundaries, v.peaks) for v in result.videos)))
    say(
        paragraph(
            "`measured change`: the times at which frame features change most, as many as there are boundaries. "
            "Detectors trained on the features do better: see `msnet gebd`."
        )
    )
    say("", f"videos and truth: {result.folder}", f"store: {result.store}")
    page = f"{in_command(out / 'page')} --annotations {in_command(result.folder / TRUTH_NAME)}"
    say("look at it:", f"  msnet report {in_command(result.store)} --html {page}")
    say(
        "load it:",
        "  from extractor.store import FeatureStore",
        f"  store = FeatureStore({str(result.store)!r})",
        f"  features = store.video({result.videos[0].video_id!r})",
    )
    return result.outcome.exit_code
