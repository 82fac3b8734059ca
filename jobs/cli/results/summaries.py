"""The tables that end a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.cli.display import duration, paragraph, rows, size
from jobs.cli.streams import say
from schemas.escaping import in_command
from schemas.layout import StorePaths
from schemas.wording import counted

if TYPE_CHECKING:
    from jobs.run.outcome import Outcome
    from jobs.stores.standing import Standing

if TYPE_CHECKING:  # it imports torch, which commands on stores do without
    from jobs.run.plan import Plan

_LISTED = 10


def standing_rows(found: Standing) -> list[tuple[object, ...]]:
    """Rows of the standing of videos, the same in every command."""
    table: list[tuple[object, ...]] = [("videos done", found.done, f"of {found.videos}")]
    if found.staged:
        table.append(("videos staged", len(found.staged), "extracted and kept; done when their shard is complete"))
    table.append(("videos failed", len(found.failed)))
    table += [(f"  {name}", count) for name, count in sorted(found.by_class.items())]
    if found.videos_left:
        note = f"{found.unplanned} of them without a shard yet" if found.unplanned else ""
        table.append(("videos left", found.videos_left, note))
    return [*table, ("clips", found.clips, "of the videos done" if found.staged else "")]


def print_outcome(outcome: Outcome, store: Path, part: tuple[int, int] = (0, 1)) -> None:
    """Print the standing of the videos, what this run did, seconds by stage, the bottleneck, and what to do next."""
    if part != (0, 1):
        say(f"part {part[0] + 1} of {part[1]}; these numbers are of this part alone:")
    say(rows(standing_rows(outcome.after)))
    if outcome.done or outcome.failed:
        _say_run(outcome)
    say("", f"store: {store}")
    for line in _what_next(outcome, store):
        say(paragraph(line, indent="  "))


def _say_run(outcome: Outcome) -> None:
    done = f"{outcome.done} extracted, {outcome.failed} failed; {counted(outcome.frames, 'frame')}"
    workers = f"{outcome.workers}"
    if outcome.decoders not in (0, outcome.workers.decoders):
        workers += f"; {counted(outcome.decoders, 'decoder')} in all at the end"
    say("", paragraph(f"this run: {done} in {duration(outcome.wall_seconds)}, {workers}; seconds by stage:"))
    stages = ("decode", "transform", "network", "write", "waiting")
    notes = {"waiting": "devices without frames to work on"}
    say(rows([(stage, f"{getattr(outcome.seconds, stage):.1f}", notes.get(stage, "")) for stage in stages]))
    bottleneck = None if outcome.interrupted else outcome.bottleneck()
    if bottleneck is not None:
        say(paragraph(f"The bottleneck is {bottleneck.stage}: {bottleneck.advice}."))


def _what_next(outcome: Outcome, store: Path) -> list[str]:
    def command(options: str = "") -> str:
        from extractor.store.commits.run import read_run

        return read_run(StorePaths(store)).continuing(store, options)

    lines = []
    if outcome.given_up:
        lines.append(f"given up: {', '.join(outcome.given_up)}; their extractors kept dying, see {store / 'logs'}")
    if not outcome.complete and not outcome.interrupted:  # else the end of the command says how
        lines.append(f"to continue: {command()}")
    if outcome.after.failed:
        again, classes = "", outcome.after.classes(lasting=False)
        if outcome.complete and classes:
            them = "them" if len(classes) == len(outcome.after.by_class) else f"those that are {' or '.join(classes)}"
            again = f"; to try {them} again: {command('--retry-failed ' + ','.join(classes))}"
        lines.append(f"failed videos: msnet report {in_command(store)}{again}")
    return lines


def print_plan(plan: Plan) -> None:
    """Print what an extraction would do."""
    good = plan.items - len(plan.bad)
    table: list[tuple[object, ...]] = [
        ("files", plan.files),
        ("videos", plan.items, "a segment counts as one" if plan.items != plan.files else ""),
        ("  bad", len(plan.bad)),
        ("seconds of video", f"{plan.video_seconds:.0f}"),
        ("frames decoded", plan.frames),
        ("frames computed", plan.network_frames),
        ("clips", plan.clips),
        ("store", size(plan.store_bytes), f"before compression; {size(plan.store_bytes // max(good, 1))} a video"),
    ]
    say(rows([*table, *_time_rows(plan)]))
    if plan.clips and plan.limit is not None:
        say(paragraph(f"What would take longest is {plan.limit.stage}: {plan.limit.advice}."))
    if plan.decoded < plan.files and plan.clips:
        tried = f"{plan.decoded} of {counted(plan.files, 'file')} {'was' if plan.decoded == 1 else 'were'} decoded"
        rest = "of the others only the structure was read: more may turn out bad when they are decoded"
        say(paragraph(f"{tried}, to measure the speed; {rest}"))
    for sentence in (plan.skipped, plan.columns):
        if sentence:
            say(paragraph(sentence))
    for video_id, failure, message in plan.bad[:_LISTED]:
        say(paragraph(f"bad: {video_id} ({failure}): {message}", indent="  "))
    if len(plan.bad) > _LISTED:
        say(f"... and {len(plan.bad) - _LISTED} more: {dict(plan.bad_by_class)}")
    for group in plan.duplicates[:_LISTED]:
        say(paragraph(f"same content: {', '.join(group)}", indent="  "))
    if len(plan.duplicates) > _LISTED:
        say(f"... and {counted(len(plan.duplicates) - _LISTED, 'more group')} of equal files")


def _time_rows(plan: Plan) -> list[tuple[object, ...]]:
    """How long the extraction would take, as far as it was measured."""
    if not plan.clips:
        return [("time", "none", "there is nothing to extract")]
    wall = f"{'at least' if plan.decode_seconds is None else 'about'} {duration(plan.wall_seconds)}"
    decode: tuple[object, ...] = ("  decode", "not measured", "none of the files tried was decoded")
    if plan.decode_seconds is not None:
        decode = ("  decode", duration(plan.decode_seconds), "one core")
    network = ("  network", duration(plan.network_seconds), "one extractor")
    return [("time", wall, f"with {plan.workers}, without start-up"), decode, network]
