"""What the page says of a whole store: totals, time by stage, and a column for each thing known of every video."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from extractor.store import FeatureStore, read_inventory
from extractor.store.tables import is_planned
from jobs.pages.scripts import numbers, shown
from jobs.stores.oddities import ODDITIES, flag_meaning
from jobs.stores.run_times import read_run_times
from jobs.stores.standing import Standing, standing
from schemas.config import ExtractionConfig

_WORDS = {"fallback_reason": "restarted", "times_made_up": "times made up", "rate_capped": "lower rate"}
_WORDS |= {"bad_packets": "bad packets", "bad_frames": "bad frames", "flags": "flagged"}
_COLUMNS = (
    "video_id",
    "fps",
    "width",
    "height",
    "codec",
    "container",
    "decoder",
    "decoder_version",
    *ODDITIES.values(),
)


class Overview:
    """Data of all videos: those with features first, in the order of `store.video_ids`, then all others."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.stand: Standing = standing(store.paths, store.run)
        self._table = store.of_videos(_COLUMNS)
        done = set(store.video_ids)
        self._failed = {name: of for name, of in self.stand.failed.items() if name not in done}
        self._others = self._without_features(done)

    def content(self, values: dict[str, np.ndarray[Any, Any]], seconds: np.ndarray[Any, Any]) -> dict[str, Any]:
        """All of it as the page takes it. values: by name, a number for every video with features, NaN where none.

        seconds: the lengths of these videos.
        """
        count, others = len(self._table), self._others
        statuses = ["done", *sorted({status for _, status, _ in others})]
        padding = np.full(len(others), np.nan)
        columns: dict[str, Any] = {
            "id": [shown(name) for name in [*self._table["video_id"], *(name for name, _, _ in others)]],
            "status": [0] * count + [statuses.index(status) for _, status, _ in others],
            "seconds": numbers(np.concatenate([seconds, padding]), 3),
            "fps": numbers(np.concatenate([self._table["fps"], padding]), 3),
            "size": self._sizes(),
            "codec": [shown(name, 60) for name in self._table["codec"]],
            "container": [shown(name, 60) for name in self._table["container"]],
            **{name: numbers(np.concatenate([found, padding]), 4) for name, found in values.items()},
        }
        flags, meanings, columns["flags"], why = self._flags()
        decoders = (self._table["decoder"] + " " + self._table["decoder_version"]).str.strip()
        messages = {str(count + n): shown(message) for n, (_, _, message) in enumerate(others) if message}
        return {
            "store": shown(self.store.paths.root.name),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "configuration": _spoken(self.store.config),
            "dataset": shown(self.store.run.dataset_root),
            "totals": self._totals(seconds),
            "runs": [asdict(times) for times in read_run_times(self.store.paths)],
            "decoders": dict(Counter(name for name in decoders if name).most_common()),
            "done": count,
            "statuses": statuses,
            "flags": flags,
            "meanings": meanings,
            "why": why,
            "messages": messages,
            "columns": columns,
        }

    def _sizes(self) -> list[str]:
        """Width and height by video; nothing where they are not known, as of imported features."""
        sizes = zip(self._table["width"], self._table["height"], strict=True)
        return [f"{width} x {height}" if width > 0 else "" for width, height in sizes]

    def _totals(self, seconds: np.ndarray[Any, Any]) -> dict[str, Any]:
        stand = self.stand
        size = sum(record.data.bytes + record.fragment.bytes for record in self.store.records.values())
        return {
            "videos": stand.videos,
            "done": stand.done,
            "failed": len(stand.failed),
            "staged": len(stand.staged),
            "left": stand.videos_left,
            "clips": stand.clips,
            "seconds": round(float(np.nansum(seconds)), 1),
            "bytes": size,
        }

    def _without_features(self, done: set[str]) -> list[tuple[str, str, str]]:
        """(id, status, message) of every planned video that readers do not see yet, failures first."""
        found = [(name, failure, message) for name, (failure, message) in self._failed.items()]
        if not (is_planned(self.store.paths) or self.store.paths.planning.exists()):
            return found
        known = done | self._failed.keys()
        waiting = [name for name in dict.fromkeys(read_inventory(self.store.paths)["video_id"]) if name not in known]
        return found + [(name, "staged" if name in self.stand.staged else "left", "") for name in waiting]

    def _flags(self) -> tuple[list[str], list[str], list[list[int]], dict[str, str]]:
        """Names of flags, and what they mean; their numbers by video.

        The last are words by row: why a decoder was changed, or how much is bad.
        """
        names: list[str] = []
        known: dict[str, int] = {}
        of_video: list[list[int]] = [[] for _ in range(len(self._table))]
        why: dict[str, list[str]] = {}
        for column in ODDITIES.values():
            values = self._table[column]
            for row in np.flatnonzero(values.astype(bool)).tolist():
                said = str(values.iloc[row])
                for name in said.split(",") if column == "flags" else [_WORDS[column]]:
                    number = known.setdefault(name, len(known))
                    of_video[row].append(number)
                if column not in ("flags", "times_made_up", "rate_capped"):
                    why.setdefault(str(row), []).append(f"{_WORDS[column]}: {shown(said, 300)}")
        names = [shown(name, 60) for name in known]
        return (
            names,
            [flag_meaning(name) for name in known],
            of_video,
            {row: "; ".join(said) for row, said in why.items()},
        )


def _spoken(config: ExtractionConfig) -> str:
    """What was extracted, in terms of the options."""
    if config.is_imported:
        return shown(f"{config.model}, imported, outputs {', '.join(config.outputs)}")
    chosen = {name: getattr(config, name) for name in ("num_frames", "rate_hz", "hop", "clips")}
    given = (f"{name.replace('_', '-')} {value:g}" for name, value in chosen.items() if isinstance(value, int | float))
    parts = (
        config.model,
        config.sampling,
        *given,
        f"{config.size} px",
        config.resize,
        f"outputs {', '.join(config.outputs)}",
    )
    return shown(", ".join(map(str, parts)))


def inventory_of(store: FeatureStore) -> pd.DataFrame:
    """The inventory, without columns of the user's table; empty where the store was copied without it."""
    if not (is_planned(store.paths) or store.paths.planning.exists()):
        return pd.DataFrame({"video_id": [], "path": []})
    return read_inventory(store.paths)


def folder_of(place: Path) -> Path:
    """The folder of a dataset that is named by its table."""
    return place if place.is_dir() else place.parent
