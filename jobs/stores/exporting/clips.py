"""The manifest as an export has it: row ranges count from each video's first row, and no column names a shard."""

from __future__ import annotations

from typing import Any

import pandas as pd

from extractor.store.reader import FeatureStore
from schemas.escaping import plain

_RANGES = ("clip_row", "frame_start", "frame_stop", "pair_start", "pair_stop")
_OF_CLIPS = ("clip_number", *_RANGES, "start_seconds", "end_seconds", "num_valid_frames")


def exported_clips(store: FeatureStore) -> pd.DataFrame:
    """One row per clip, in the store's order: the manifest, with the columns of the user's table."""
    table = store.manifest.drop(columns=["shard", "file"])
    origins = table.groupby("video_id", sort=False)[["clip_row", "frame_start", "pair_start"]].transform("first")
    for column in _RANGES:
        table[column] -= origins[column.replace("_stop", "_start")]
    return table


def video_document(store: FeatureStore, clips: pd.DataFrame, video_id: str) -> dict[str, Any]:
    """What the clips table says of one video, for JSON: `video` by column, and `clips` as one list a column."""
    found = store.video_clips(video_id)
    rows = clips.iloc[found.start : found.stop]
    return {
        "video_id": video_id,
        "digest": store.run.digest,
        "model": store.config.model,
        "video": {name: plain(rows[name].iloc[0]) for name in rows.columns if name not in ("video_id", *_OF_CLIPS)},
        "clips": {name: plain(rows[name]) for name in _OF_CLIPS},
    }
