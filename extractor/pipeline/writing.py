"""The writer's side of the pipeline: rows of batches are given to their items, and written in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from extractor.pipeline.item_rows import ClipRows, ItemRows, ItemWriter, SequenceRows
from extractor.pipeline.messages import (
    ROW_KINDS,
    BatchRows,
    FramesDamaged,
    ItemBegins,
    ItemDecoded,
    ItemDone,
    ItemDropped,
    ItemFailed,
    Message,
    row_kinds,
)
from schemas.errors import FailureClass
from schemas.records import Failure


class Staging(Protocol):
    """Where the items of a shard go; `extractor.store.commits.staging.StagingLog` is one."""

    def item(self, video_id: str) -> ItemWriter:
        """A writer for one item."""

    def fail(self, failure: Failure) -> None:
        """Take note that an item failed for good."""


class RowsWriter:
    """Handles the extractor's messages. staging: of a shard, by its name."""

    def __init__(self, staging: Callable[[str], Staging]) -> None:
        self._staging = staging
        self._kinds = row_kinds()
        self._items: dict[int, tuple[str, ItemRows]] = {}
        self._decoded: dict[int, Mapping[str, Any]] = {}

    def handle(self, messages: Sequence[Message]) -> list[tuple[str, ItemDone | Failure]]:
        """Handle messages in order. Returns the items that were finished by them or failed, each with its shard."""
        reports: list[tuple[str, ItemDone | Failure]] = []
        for message in messages:
            match message:
                case ItemBegins():
                    writer = self._staging(message.shard).item(message.plan.video_id)
                    kind = ClipRows if message.plan.ranges is None else SequenceRows
                    self._items[message.item] = message.shard, kind(message.plan, writer)
                case FramesDamaged():
                    self._items[message.item][1].valid[message.positions] = 0
                case BatchRows():
                    for item in self._take(message):
                        reports += self._settle(item)
                case ItemDecoded():
                    self._decoded[message.item] = message.of_video
                    reports += self._settle(message.item)
                case ItemDropped():
                    self._decoded.pop(message.item, None)
                    _, rows = self._items.pop(message.item, ("", None))
                    if rows is not None:
                        rows.writer.reset()
                case ItemFailed():
                    self._staging(message.shard).fail(message.failure)
                    reports.append((message.shard, message.failure))
        return reports

    def _take(self, batch: BatchRows) -> set[int]:
        """Give the rows of a batch to their items; returns which."""
        touched, kinds = set(), self._kinds
        starts = dict.fromkeys(ROW_KINDS, 0)
        for item, place, *counts in batch.spans.tolist():
            stops = {kind: starts[kind] + n for kind, n in zip(starts, counts, strict=True)}
            if item in self._items:
                rows = {path: array[starts[kinds[path]] : stops[kinds[path]]] for path, array in batch.rows.items()}
                self._items[item][1].take(place, rows, counts[0])
                touched.add(item)
            starts = stops
        return touched

    def _settle(self, item: int) -> list[tuple[str, ItemDone | Failure]]:
        """Make an item durable if it is whole, or fail it if the store refused a row."""
        shard, rows = self._items.get(item, ("", None))
        if rows is None or item not in self._decoded or not rows.complete:
            return []
        of_video = self._decoded.pop(item)
        del self._items[item]
        video_id = rows.plan.video_id
        if rows.refused:
            rows.writer.reset()
            failure = Failure(video_id, FailureClass.NOT_FINITE, rows.refused)
            self._staging(shard).fail(failure)
            return [(shard, failure)]
        clips = rows.clips()
        rows.writer.finish([{**clip, **of_video} for clip in clips])
        return [(shard, ItemDone(video_id, len(clips), int(clips[-1]["frame_stop"])))]
