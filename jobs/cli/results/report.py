"""The text of `msnet report`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.cli.display import paragraph, rows
from jobs.cli.results.documents import print_document
from jobs.cli.results.stores import report_document
from jobs.cli.streams import say
from jobs.stores.oddities import ODDITIES, flag_meaning
from schemas.wording import counted

if TYPE_CHECKING:
    import pandas as pd

    from extractor.store.commits.run import Run
    from jobs.stores.standing import Standing

_LISTED = 20


def print_report(store: Path, *, json: bool) -> None:
    """Print failures by class and what was odd, as text or as JSON."""
    from extractor.store.reader import FeatureStore
    from jobs.stores.standing import standing

    features = FeatureStore(store)
    stand = standing(features.paths, features.run)
    videos = features.of_videos(["video_id", "decoder", "decoder_version", *ODDITIES.values()])
    features.close()
    decoders = Counter((videos["decoder"] + " " + videos["decoder_version"]).str.strip())
    flags = Counter(flag for flags in videos["flags"] for flag in flags.split(",") if flag)
    if json:
        rows_of = {column: videos[videos[column].astype(bool)] for column in ODDITIES.values()}
        print_document("report", report_document(store, stand, decoders, flags, rows_of))
        return
    say(f"{stand}; {counted(stand.clips, 'clip')}")
    videos = videos.assign(flags=videos["flags"].str.replace(",", ", "))  # so that lines can wrap
    odd = {name: _odd(videos, column) for name, column in ODDITIES.items()}
    lines: list[tuple[object, ...]] = [(f"decoded by {name}", count) for name, count in decoders.most_common()]
    lines += [(name, len(found)) for name, found in odd.items()]
    say(rows([*lines, *((f"  {flag}", count, flag_meaning(flag)) for flag, count in flags.most_common())]))
    for name, found in odd.items():
        _print_listed(name, found, f"{features.paths.manifest}, column {ODDITIES[name]}")
    for failure in sorted(stand.by_class):
        lost = [f"{name}: {message}" for name, (of, message) in stand.failed.items() if of == failure]
        _print_listed(failure, lost, str(features.paths.failures))
    if stand.failed:
        say("", *(paragraph(advice, indent="  ") for advice in _advice(stand, features.run, store)))


def _advice(stand: Standing, run: Run, store: Path) -> list[str]:
    """What can be done about failed videos."""
    if run.config.is_imported:
        return [f"to try those again whose files have changed: {run.continuing(store)}"]
    advice = [] if stand.complete else [f"to continue: {run.continuing(store)}; then, of those that failed:"]
    if passing := stand.classes(lasting=False):
        again = run.continuing(store, f"--retry-failed {','.join(passing)}")
        advice.append(f"{', '.join(passing)}: to try again: {again}")
    if lasting := stand.classes(lasting=True):
        again = run.continuing(store, f"--retry-failed {','.join(lasting)}")
        advice.append(
            f"{', '.join(lasting)}: the same files would fail again; once they are replaced: {again}; if the new ones "
            f"have new names: {run.continuing(store, '--rescan')}"
        )
    return advice


def _odd(videos: pd.DataFrame, column: str) -> list[str]:
    """Videos whose value in a column is true, not empty or above zero; with the value, unless that is true."""
    values = videos[column]
    found = videos[values.astype(bool)]
    if values.dtype == bool:
        return list(found["video_id"])
    return [f"{video_id}: {value}" for video_id, value in zip(found["video_id"], found[column], strict=True)]


def _print_listed(name: str, lines: Sequence[str], everywhere: str) -> None:
    """Print the first of many lines under a heading, and where the others are."""
    if not lines:
        return
    say("", f"{name}: {len(lines)}")
    for line in lines[:_LISTED]:
        say(paragraph(f"  {line}", indent="    "))
    if len(lines) > _LISTED:
        say(paragraph(f"  ... and {len(lines) - _LISTED} more in {everywhere}", indent="    "))
