"""Output of the `msnet gebd` commands: scores with their baselines, and warnings as lines of text."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gebd.annotations.values import shown
from jobs.cli.display import notice, paragraph, table
from jobs.cli.streams import Block, say
from schemas.wording import counted

if TYPE_CHECKING:
    from gebd.metric.baselines import Comparison
    from gebd.metric.evaluation import Evaluation

_NAMED = 3
_FEW = 10  # videos: with fewer, resampling yields no honest interval


def print_comparison(comparison: Comparison) -> None:
    """Print one line per method: F1 at the smallest tolerance, average F1, and the gain over each baseline."""
    method = next(iter(comparison.evaluations.values()))
    first = method.definition.tolerances[0]
    unit = " s" if method.definition.absolute else ""
    title = f"F1 at {first:g}{unit}, {method.confidence:.0%} intervals over videos ({method.definition.name})"
    say(paragraph(title, indent="  "))
    lines: list[Sequence[object]] = []
    for name, row in comparison.table.iterrows():
        gain, low, high, count = (
            float(row[column])
            for column in (*(f"gain@{first:g}{end}" for end in ("", "_low", "_high")), "boundaries_per_video")
        )
        gained = ("", "") if math.isnan(gain) else (f"{gain:.3f}", _interval(low, high))
        cells = score_cells(comparison.evaluations[str(name)])
        lines.append((str(name), *cells, "-" if math.isnan(count) else f"{count:.1f}", *gained))
    say(_scores(("method", "F1", "interval", "average", "marks", "gain", "interval"), lines))
    clock = f" clock: {comparison.clock}, the best on the training annotations." if comparison.clock else ""
    say(
        paragraph(
            f"  average: F1 over all tolerances; marks: predicted boundaries per video (a rater marks "
            f"{method.marks_per_video:.1f}); gain: F1 of {next(iter(comparison.evaluations))} minus this row's.{clock}",
            indent="  ",
        )
    )
    print_coverage(method)


def _scores(head: Sequence[str], lines: Sequence[Sequence[object]]) -> Block:
    """Return one table or, if the terminal would wrap its last column, two: the gains below the other columns."""
    whole = table(head, lines)
    if whole.count("\n") == len(lines):
        return whole
    gains = [(line[0], *line[-2:]) for line in lines if line[-2]]
    return Block(f"{table(head[:-2], [line[:-2] for line in lines])}\n{table((head[0], *head[-2:]), gains)}")


def score_cells(found: Evaluation) -> tuple[str, str, str]:
    """Return F1 at the smallest tolerance, its interval, and average F1, as text."""
    first = found.definition.tolerances[0]
    interval = found.f1_interval[first]
    return f"{found.f1[first]:.3f}", _interval(interval.low, interval.high), f"{found.average_f1:.3f}"


def _interval(low: float, high: float) -> str:
    """Return an interval as text; "" if there is none."""
    return "" if math.isnan(low) else f"{low:.3f}..{high:.3f}"


def print_coverage(found: Evaluation) -> None:
    """Print how many of the annotated videos the score covers, and which predicted videos have no annotation."""
    say(
        f"{found.num_predicted} of {counted(found.num_annotated, 'annotated video')} predicted, "
        f"coverage {found.coverage:.3f}"
    )
    judged = int(found.counts.counted.sum())
    if judged < _FEW:
        told = "one video has no interval" if judged == 1 else f"intervals over {counted(judged, 'video')} say little"
        say(paragraph(f"{told}: evaluate more", indent="  "))
    low = sum(status == "low_consistency" for status in found.counts.status)
    if low:
        say(f"skipped because their raters agree too little: {counted(low, 'video')}")
    if found.unknown:
        named = ", ".join(shown(name) for name in found.unknown[:_NAMED])
        more = ", ..." if len(found.unknown) > _NAMED else ""
        say(
            paragraph(
                f"predicted, but not annotated by that name: {counted(len(found.unknown), 'video')} ({named}{more}). "
                "Use --annotations with `msnet gebd predict` or `detect` to name videos as annotated",
                indent="  ",
            )
        )


@contextmanager
def spoken_warnings() -> Iterator[None]:
    """Print warnings for users as lines on standard error, each once and when it comes: training may last for hours."""
    said: set[str] = set()

    def speak(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in said:
            said.add(str(message))
            notice(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = speak
        yield
