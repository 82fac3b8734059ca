"""Progress of a training, step by step, and of an evaluation, part by part."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from jobs.cli.display import bar_width, duration, notice, open_bar, paragraph, progress, rows, say_above
from jobs.cli.streams import say

if TYPE_CHECKING:
    from tqdm import tqdm

    from training.train import Progress

_LINE_EVERY_SECONDS = 20.0
_IN_WORDS = {
    "error_cells": "displacement, mean error, cells",
    "visible_error_cells": "the same, seen in both frames",
    "zero_error_cells": "no motion, mean error, cells",
    "top1": "top-1, percent",
    "top5": "top-5, percent",
    "loss": "cross-entropy",
    "retrieval": "end of a video found by its beginning, percent",
    "retrieval_chance": "the same by chance",
    "spread": "spread of features, 0 to 1",
    "inter_frame_keys_spread": "spread of the keys of frames",
    "clip_keys_spread": "spread of the keys of clips",
    "f1": "F1 at the best threshold",
    "threshold": "that threshold",
}


class PartProgress:
    """On standard error: a progress bar for each part on a terminal, elsewhere a line when a part begins."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._part = ""
        self._bar = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def report(self, part: str, done: int, total: int) -> None:
        """Show that `done` of `total` of a part are done."""
        if part != self._part:
            self._bar.close()
            self._part, self._show = part, self._bar.enter_context(progress(part, "done"))
            if not sys.stderr.isatty():
                notice(f"{self._doing}: {part}")
        self._show(done, total)


class TrainingDisplay:
    """A progress bar on a terminal, occasional lines elsewhere; held-out evaluations as lines in both cases."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] = open_bar(desc="steps", unit="step")
        self._last_line = 0.0
        self.last: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, progress: Progress) -> None:
        """Show the progress after a step."""
        self.last = progress
        losses = ", ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        if not self._bar.disable:
            self._bar.total, self._bar.ncols = progress.steps, bar_width()
            self._bar.set_postfix_str(f"{progress.stage}, loss {sum(progress.losses.values()):.3f}", refresh=False)
            self._bar.update(progress.step - self._bar.n)
        elif time.monotonic() - self._last_line > _LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            pace = f"{progress.frames_per_second:.0f} frames/s"
            left = "" if progress.seconds_left is None else f", about {duration(progress.seconds_left)} left"
            head = f"step {progress.step} of {progress.steps} ({progress.stage}, {pace}{left})"
            say(paragraph(f"{head}: {losses}"), to=sys.stderr)
        if progress.note is not None:
            say_above(paragraph(progress.note))
        if progress.held_out is not None:
            found = progress.held_out.items()
            known = [(_IN_WORDS.get(name, f"{name} loss"), f"{value:.3f}") for name, value in found if value == value]
            say_above(paragraph(f"held out, after step {progress.step}"))
            say_above(rows(known))
