"""What a dataset is made of: its videos, and options that can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from extractor.store import FeatureStore
from gebd.annotations.identity import Join
from gebd.annotations.records import Annotations, VideoAnnotation
from gebd.annotations.values import shown
from gebd.dataset.labels import Raters
from gebd.dataset.resampling import TICK_SECONDS
from gebd.dataset.store_videos import FEATURE_TENSORS, PAIR_TENSORS, StoreVideos
from schemas.errors import UsageError

__all__ = ["Entry", "check_numbers", "checked_raters", "checked_tensors", "entries_of"]


@dataclass(frozen=True)
class Entry:
    """One video of a dataset: which item of the store it is, and where its own clock begins.

    `start_seconds` is on the clock of the container; `until_seconds`, on its own clock, where a stretch ends that is
    shorter than its item (None: with the item). duration_seconds and fps are as annotated, where they are;
    extracted_seconds and extracted_fps as the store has them.
    """

    video_id: str
    item: int
    start_seconds: float
    duration_seconds: float
    fps: float
    extracted_seconds: float
    extracted_fps: float
    until_seconds: float | None = None


def entries_of(items: StoreVideos, annotations: Annotations | None, joined: Join | None) -> list[Entry]:
    """The videos of the dataset, in the order of the store; raises UsageError where there are none."""
    seconds, fps = items.duration_seconds.tolist(), items.fps.tolist()
    found = []
    if annotations is None or joined is None:
        for k, name in enumerate(items.ids):
            found.append(Entry(name, k, float(items.start_seconds[k]), seconds[k], fps[k], seconds[k], fps[k]))
    else:
        number = {name: k for k, name in enumerate(items.ids)}
        for name, item in joined.items.items():
            found.append(_annotated(items, number[item], annotations[name], joined.starts_seconds.get(name)))
    if not found:
        raise UsageError(_nothing_left(items.store, joined))
    return sorted(found, key=lambda entry: (entry.item, entry.start_seconds))


def _annotated(items: StoreVideos, k: int, annotation: VideoAnnotation, stretch_start: float | None) -> Entry:
    seconds, fps = float(items.duration_seconds[k]), float(items.fps[k])
    start, until = float(items.start_seconds[k]), None
    if stretch_start is not None:
        start = float(items.file_start_seconds[k]) + stretch_start
        until = seconds = annotation.duration_seconds
    return Entry(
        annotation.video_id,
        k,
        start,
        annotation.duration_seconds,
        fps if annotation.fps is None else annotation.fps,
        seconds,
        fps,
        until,
    )


def check_numbers(
    rate_hz: float | None, window_seconds: float | None, hop_seconds: float | None, label_sigma_seconds: float
) -> None:
    """Raise UsageError where one of these options of a dataset cannot be."""
    numbers = {
        "rate_hz": rate_hz,
        "window_seconds": window_seconds,
        "hop_seconds": hop_seconds,
        "label_sigma_seconds": label_sigma_seconds,
    }
    for name, value in numbers.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(f"{name} was expected to be a number above 0 and is {value!r}")
    for name in ("window_seconds", "hop_seconds"):
        value = numbers[name]
        if rate_hz is not None and value is not None and value * rate_hz < 1 - TICK_SECONDS:
            raise UsageError(f"{name} was expected to be at least one sample, {1 / rate_hz:g} s, and is {value:g}")
    if hop_seconds is not None and (window_seconds is None or hop_seconds > window_seconds):
        raise UsageError(
            f"hop_seconds was expected to be at most window_seconds, so that no sample is lost between slices, and "
            f"they are {hop_seconds:g} and {window_seconds}"
        )


def checked_tensors(tensors: Sequence[str], store: FeatureStore) -> tuple[str, ...]:
    """Names of tensors, each once; raises UsageError where they are no choice, or the store lacks one."""
    known = (*FEATURE_TENSORS, *PAIR_TENSORS)
    if isinstance(tensors, str) or not set(tensors) <= set(known) or not set(tensors) & set(FEATURE_TENSORS):
        raise UsageError(
            f"tensors was expected to name frame or motion, and besides any of {', '.join(known)}; it is {tensors!r}"
        )
    missing = [name for name in tensors if name not in store.tensors]
    if missing:
        raise UsageError(
            f"{store.paths.root} was expected to hold {', '.join(missing)} and holds {', '.join(store.tensors)}: "
            f"extract with --outputs {','.join(tensors)}, or choose other tensors"
        )
    return tuple(dict.fromkeys(tensors))


def checked_raters(raters: Raters | str) -> Raters:
    """The choice of raters; raises UsageError where it is none."""
    try:
        return Raters(raters)
    except ValueError:
        raise UsageError(f"raters was expected to be one of {', '.join(Raters)} and is {raters!r:.60}") from None


def _nothing_left(store: FeatureStore, joined: Join | None) -> str:
    if joined is None:
        return f"{store.paths.root} was expected to hold videos and holds none: extract some, or resume"
    named = joined.missing or tuple(name for one in joined.ambiguous for name in one.annotations)
    given = (
        "give a pattern (--pattern)" if joined.pattern is None else f"the pattern {shown(joined.pattern)} is to be one"
    )
    return (
        f"annotations and {store.paths.root} were expected to have videos in common and have none: annotated is "
        f"{shown(next(iter(named), 'nothing'))}, the store has {shown(next(iter(store.video_ids), 'nothing'))}; "
        f"{given} that finds the first in the second"
    )
