"""The tables that end a command."""

from __future__ import annotations

from pathlib import Path

from jobs.cli.display import duration, paragraph, rows, size
from jobs.cli.streams import say
from jobs.outcome import Outcome
from jobs.planning import Plan
from schemas.wording import counted

__all__ = ["print_outcome", "print_plan"]

_LISTED = 10


def print_outcome(outcome: Outcome, store: Path) -> None:
    """Videos done and failed, clips, seconds by stage, the bottleneck, and where everything lies."""
    seconds = outcome.seconds
    table: list[tuple[object, ...]] = [
        ("videos done", outcome.videos_stored, _of_this_run(outcome.done, outcome.videos_stored)),
        ("videos failed", outcome.failures.total(), _of_this_run(outcome.failed, outcome.failures.total())),
    ]
    table += [(f"  {name}", count) for name, count in sorted(outcome.failures.items())]
    if outcome.videos_staged:
        table.append(("videos staged", outcome.videos_staged, "finished, their shard is not"))
    if outcome.videos_left:
        table.append(("videos left", outcome.videos_left))
    table.append(("clips", outcome.clips_stored, _of_this_run(outcome.clips, outcome.clips_stored)))
    say(rows(table))
    if outcome.done or outcome.failed:
        frames = counted(outcome.frames, "frame")
        say("", f"{frames} in {duration(outcome.wall_seconds)}, {outcome.workers}; seconds by stage:")
        stages = ("decode", "transform", "network", "write", "waiting")
        notes = {"waiting": "extractors without frames to work on"}
        say(rows([(stage, f"{getattr(seconds, stage):.1f}", notes.get(stage, "")) for stage in stages]))
        bottleneck = None if outcome.interrupted else outcome.bottleneck()
        if bottleneck is not None:
            say(paragraph(f"The bottleneck is {bottleneck.stage}: {bottleneck.advice}."))
    say("", f"store: {store}")
    for line in _what_next(outcome, store):
        say(paragraph(line, indent="  "))


def _of_this_run(count: int, total: int) -> str:
    return "" if count >= total else f"({count} in this run)"


def _what_next(outcome: Outcome, store: Path) -> list[str]:
    lines = []
    if outcome.failures:
        lines.append(f"failed videos: msnet report {store}; to try them again: msnet resume {store} --retry-failed all")
    if outcome.given_up:
        lines.append(f"given up: {', '.join(outcome.given_up)}; their extractor kept dying, see {store / 'logs'}")
    if not outcome.complete:
        lines.append(f"to go on: msnet resume {store}")
    return lines


def print_plan(plan: Plan) -> None:
    """What an extraction would do."""
    wall = f"{'at least' if plan.decode_seconds is None else 'about'} {duration(plan.wall_seconds)}"
    table: list[tuple[object, ...]] = [
        ("files", plan.files),
        ("videos", plan.items, "a segment counts as one" if plan.items != plan.files else ""),
        ("  bad", len(plan.bad)),
        ("seconds of video", f"{plan.video_seconds:.0f}"),
        ("frames decoded", plan.frames),
        ("frames computed", plan.network_frames),
        ("clips", plan.clips),
        ("store", size(plan.store_bytes), "before compression"),
        ("time", wall, f"with {plan.workers}, start-up apart"),
    ]
    if plan.decode_seconds is None:
        table.append(("  decode", "not measured", "none of the files tried was decoded"))
    else:
        table.append(("  decode", duration(plan.decode_seconds), "one core"))
    table.append(("  network", duration(plan.network_seconds), "one extractor"))
    say(rows(table))
    if plan.skipped:
        say(paragraph(plan.skipped))
    for video_id, failure, message in plan.bad[:_LISTED]:
        say(paragraph(f"bad: {video_id} ({failure}): {message}", indent="  "))
    if len(plan.bad) > _LISTED:
        say(f"... and {len(plan.bad) - _LISTED} more: {dict(plan.bad_by_class)}")
    for group in plan.duplicates[:_LISTED]:
        say(paragraph(f"same content: {', '.join(group)}", indent="  "))
    if len(plan.duplicates) > _LISTED:
        say(f"... and {counted(len(plan.duplicates) - _LISTED, 'more group')} of equal files")
