"""The videos of a dataset, and checks of its options."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from extractor.store import FeatureStore
from gebd.annotations.identity import Join, pattern_advice
from gebd.annotations.records import Annotations, VideoAnnotation
from gebd.annotations.values import shown
from gebd.dataset.resampling import TICK_SECONDS
from gebd.dataset.store_videos import FRAME_TENSORS, PAIR_TENSORS, StoreVideos
from schemas.errors import UsageError


@dataclass(frozen=True)
class Entry:
    """One video of a dataset: its item in the store, and the start of its own clock.

    start_seconds: zero of its own clock, on the clock of the container. until_seconds: on its own clock, the end of a
    stretch shorter than its item; None if it ends with the item. duration_seconds and fps: as annotated, else as
    extracted. extracted_seconds and extracted_fps: as in the store.
    """

    video_id: str
    item: int
    start_seconds: float
    duration_seconds: float
    fps: float
    extracted_seconds: float
    extracted_fps: float
    until_seconds: float | None = None


def entries_of(stored: StoreVideos, annotations: Annotations | None, joined: Join | None) -> list[Entry]:
    """Return the videos of the dataset, in the order of the store; raises UsageError if there are none."""
    seconds, fps = stored.duration_seconds.tolist(), stored.fps.tolist()
    found = []
    if annotations is None or joined is None:
        for k, name in enumerate(stored.ids):
            found.append(Entry(name, k, float(stored.start_seconds[k]), seconds[k], fps[k], seconds[k], fps[k]))
    else:
        number = {name: k for k, name in enumerate(stored.ids)}
        for name, item in joined.items.items():
            found.append(_annotated(stored, number[item], annotations[name], joined.starts_seconds.get(name)))
    if not found:
        raise UsageError(_nothing_left(stored.store, annotations, joined))
    return sorted(found, key=lambda entry: (entry.item, entry.start_seconds))


def _annotated(stored: StoreVideos, k: int, annotation: VideoAnnotation, stretch_start: float | None) -> Entry:
    seconds, fps = float(stored.duration_seconds[k]), float(stored.fps[k])
    start, until = float(stored.start_seconds[k]), None
    if stretch_start is not None:
        start = float(stored.file_start_seconds[k]) + stretch_start
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
    """Raise UsageError if one of these options of a dataset is invalid."""
    numbers = {
        "rate_hz": rate_hz,
        "window_seconds": window_seconds,
        "hop_seconds": hop_seconds,
        "label_sigma_seconds": label_sigma_seconds,
    }
    for name, value in numbers.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(f"{name}: expected a number above 0; got {value!r}. Give a positive number")
    for name in ("window_seconds", "hop_seconds"):
        value = numbers[name]
        if rate_hz is not None and value is not None and value * rate_hz < 1 - TICK_SECONDS:
            raise UsageError(
                f"{name}: expected at least one sample, {1 / rate_hz:g} s; got {value:g}. Give more seconds"
            )
    if hop_seconds is not None and (window_seconds is None or hop_seconds > window_seconds):
        raise UsageError(
            f"hop_seconds: expected at most window_seconds ({window_seconds}), so that no sample is lost between "
            f"slices; got {hop_seconds:g}. Give a shorter hop or a longer window"
        )


def checked_tensors(tensors: Sequence[str], store: FeatureStore) -> tuple[str, ...]:
    """Return unique tensor names; raises UsageError if the choice is invalid, or the store lacks one."""
    known = (*FRAME_TENSORS, *PAIR_TENSORS)
    if isinstance(tensors, str) or not tensors or not set(tensors) <= set(known):
        here = ", ".join(name for name in known if name in store.tensors)
        strange = [] if isinstance(tensors, str) else [name for name in tensors if name not in known]
        got = ", ".join(map(repr, strange)) or repr(tensors)
        raise UsageError(f"tensors: expected a sequence of names like {here}; got {got}. Correct the names")
    missing = [name for name in tensors if name not in store.tensors]
    if missing:
        raise UsageError(
            f"{store.paths.root}: expected {', '.join(missing)}; got a store with {', '.join(store.tensors)}. Extract "
            f"with --outputs {','.join(tensors)}, or choose other tensors"
        )
    return tuple(dict.fromkeys(tensors))


def _nothing_left(store: FeatureStore, annotations: Annotations | None, joined: Join | None) -> str:
    if joined is None or annotations is None:
        root = store.paths.root
        return f"{root}: expected a store with videos; got none. Run `{store.run.continuing(root)}`"
    named = joined.missing or tuple(name for one in joined.ambiguous for name in one.annotations)
    remedy = (
        "Give a pattern (--pattern)" if joined.pattern is None else f"Change the pattern {shown(joined.pattern)} to one"
    )
    return (
        f"expected videos in common between annotations and {store.paths.root}; got none: annotated is "
        f"{shown(next(iter(named), 'nothing'))}, the store has {shown(next(iter(store.video_ids), 'nothing'))}. "
        f"{remedy} that finds the first in the second: {pattern_advice(joined, annotations)}"
    )
