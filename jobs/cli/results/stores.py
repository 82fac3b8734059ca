"""Documents of `msnet status`, `show`, `report`, `verify` and `compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from jobs.stores.compare import CompareReport
    from jobs.stores.standing import Standing
    from jobs.stores.status import StoreStatus, VideoSummary
    from jobs.stores.verify import VerifyReport


def status_document(store: Path, found: StoreStatus) -> dict[str, Any]:
    """How far a store is."""
    return {
        "store": store,
        "dataset_root": found.run.dataset_root,
        "configuration": found.run.config.model_dump(mode="json"),
        "planned": found.planned,
        "complete": found.planned and found.standing.complete,
        "videos": _videos(found.standing),
        "clips": found.standing.clips,
        "shards": {"planned": found.shards, "committed": found.shards_committed},
        "bytes": found.bytes,
        "at_work": [
            {"host": one.host, "pid": one.pid, "since_utc": one.acquired_utc, "part": one.part} for one in found.at_work
        ],
    }


def video_document(found: VideoSummary) -> dict[str, Any]:
    """What a store holds of a video."""
    return {
        "video_id": found.video_id,
        "failure": None if found.failure is None else _failure(found.failure.failure.value, found.failure.message),
        "clips": found.clips.to_dict("records"),
        "tensors": found.tensors,
    }


def report_document(
    store: Path, stand: Standing, decoders: Mapping[str, int], flags: Mapping[str, int], odd: Mapping[str, pd.DataFrame]
) -> dict[str, Any]:
    """Failures and oddities. odd: rows with video_id and a column of the manifest, by that column."""
    return {
        "store": store,
        "videos": _videos(stand),
        "clips": stand.clips,
        "decoders": decoders,
        "flags": flags,
        "odd": {
            column: [
                {"video_id": video_id, "value": value}
                for video_id, value in zip(found["video_id"], found[column], strict=True)
            ]
            for column, found in odd.items()
        },
        "failures": [
            {"video_id": name, **_failure(failure, message)} for name, (failure, message) in stand.failed.items()
        ],
    }


def verify_document(store: Path, found: VerifyReport, *, deep: bool) -> dict[str, Any]:
    """The result of a check."""
    return {
        "store": store,
        "deep": deep,
        "clean": found.clean,
        "shards": found.shards,
        "videos": {"done": found.videos, "failed": found.failed, "unfinished": found.unfinished},
        "clips": found.clips,
        "bytes": found.bytes,
        "damages": found.damages,
        "retired": found.retired,
        "not_retired": found.not_retired or None,
    }


def compare_document(stores: Sequence[Path], found: CompareReport) -> dict[str, Any]:
    """The result of a comparison."""
    return {
        "stores": stores,
        "equal": found.equal,
        "clips": found.clips,
        "tied_cells": found.tied_cells,
        "differences": found.differences,
        "more_differences": found.more,
        "largest": found.worst,
        "configurations": found.configurations,
    }


def _videos(stand: Standing) -> dict[str, int]:
    return {
        "total": stand.videos,
        "done": stand.done,
        "failed": len(stand.failed),
        "staged": len(stand.staged),
        "left": stand.videos_left,
    }


def _failure(failure: str, message: str) -> dict[str, str]:
    return {"failure": failure, "message": message}
