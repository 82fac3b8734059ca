"""`msnet demo`: a first look, without videos of your own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.app import app, resumable
from jobs.cli.display import paragraph, starting, table
from jobs.cli.results.summaries import print_outcome
from jobs.cli.streams import say
from schemas.escaping import in_command
from schemas.wording import counted


@app.command()
@resumable
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the videos and the store.")] = Path("msnet-demo"),
    count: Annotated[int, typer.Option("--videos", min=1, help="How many videos to make.")] = 6,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the videos.")] = 0,
) -> int:
    """Make a few short videos, extract them, and show what came out."""
    with starting() as watcher:
        from jobs.demos.first_look import NEAR_SECONDS, run_demo

        result = run_demo(out, count, seed, watcher)
    print_outcome(result.outcome, result.store)
    if not result.videos:
        return result.outcome.exit_code
    say("", "what came out")
    videos = result.videos
    heads = ("video", "seconds", "frames", "motion changes at", "detected at")
    say(table(heads, ((v.video_id, f"{v.seconds:.1f}", v.frames, _at(v.changes), _at(v.detected)) for v in videos)))
    changes = counted(sum(len(v.changes) for v in videos), "change")
    found, wrong = sum(v.found for v in videos), sum(v.wrong for v in videos)
    say(
        paragraph(
            f"Times in seconds. `msnet gebd detect`, which is not trained, finds {found} of {changes} within "
            f"{NEAR_SECONDS} s, with {counted(wrong, 'false alarm')}. `msnet gebd demo` also trains heads, which "
            "find more where they have some hundred videos to learn from."
        )
    )
    say("", f"videos: {result.folder}", f"their truth: {result.truth}")
    page = f"{in_command(out / 'page')} --annotations {in_command(result.truth)}"
    say("look at it:", f"  msnet report {in_command(result.store)} --html {page}")
    say(
        "load it:",
        "  from extractor.store import FeatureStore",
        f"  store = FeatureStore({str(result.store)!r})",
        f"  features = store.video({videos[0].video_id!r})",
    )
    return result.outcome.exit_code


def _at(times: Iterable[float]) -> str:
    return " ".join(f"{time:.1f}" for time in times)
