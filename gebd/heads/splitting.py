"""Split videos into a training and a validation part that have no source in common."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from extractor.store import read_inventory
from gebd.annotations.loading import Source, load_annotations
from gebd.annotations.records import Annotations
from gebd.annotations.sources import grouped, source_of
from gebd.annotations.values import shown
from gebd.dataset.dataset import GEBDDataset
from schemas.errors import UsageError
from schemas.manifest import MANIFEST_COLUMNS
from schemas.table_columns import shown_names
from schemas.wording import counted

Validation = Source | Annotations | Sequence[str]
"""Annotations of other videos, or ids of annotated videos."""

Sources = str | Mapping[str, str]
"""Column of the store's manifest, or source by video id."""


@dataclass(frozen=True, slots=True)
class Known:
    """How many videos a part has under their ids, and of how many others it has another stretch of their source."""

    videos: int
    stretches: int


@dataclass(frozen=True, slots=True)
class Parts:
    """Video ids of both parts, which are disjoint, and the names of every video's source (see `source_of`)."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    sources: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def known(self, sources: Mapping[str, Sequence[str]]) -> tuple[Known, Known]:
        """Return what training and what validation saw of videos with these sources."""
        return self._seen(self.training, sources), self._seen(self.validation, sources)

    def _seen(self, part: tuple[str, ...], sources: Mapping[str, Sequence[str]]) -> Known:
        ids = set(part)
        names = {name for video_id in part for name in self.sources.get(video_id, source_of(video_id))}
        return Known(
            videos=sum(video_id in ids for video_id in sources),
            stretches=sum(video_id not in ids and not names.isdisjoint(of) for video_id, of in sources.items()),
        )


def with_validation(truth: Annotations, validation: Validation | None) -> tuple[Annotations, tuple[str, ...] | None]:
    """Return all annotations together, and the ids of the validation part if it is given.

    Raises UsageError if a video is annotated in both.
    """
    if validation is None:
        return truth, None
    if isinstance(validation, Sequence) and not isinstance(validation, str):
        return truth, tuple(validation)
    other = load_annotations(validation)
    both = [video_id for video_id in other if video_id in truth]
    if both:
        raise UsageError(
            f"expected different videos in training and validation annotations; got {len(both)} in common, "
            f"{shown(both[0])} among them. Remove them from one"
        )
    left_out = truth.left_out | other.left_out
    together = [*truth.values(), *other.values()]
    return Annotations(together, format=truth.format, left_out=left_out), tuple(other)


def sources_of(dataset: GEBDDataset, given: Sources | None = None) -> dict[str, tuple[str, ...]]:
    """Return the names of the source of every video of a dataset (see `source_of`).

    given: source by video id, or the name of a column of the store's manifest. Raises UsageError if a video has none.
    """
    inventory = read_inventory(dataset.store.paths).drop_duplicates("video_id", keep="last")
    files = dict(zip(inventory["video_id"], inventory["path"], strict=True))
    stated = _column(dataset, given) if isinstance(given, str) else given
    items, found = dataset.items, {}
    for video_id in dataset.video_ids:
        item = items[video_id]
        if stated is not None and video_id not in stated:
            raise UsageError(f"sources: expected one for every video; got none for {shown(video_id)}. Add it")
        path = None if dataset.annotations is None else dataset.annotations[video_id].source_path
        source = None if stated is None else stated[video_id]
        found[video_id] = source_of(video_id, source_path=path, file=files.get(item, item), given=source)
    return found


def _column(dataset: GEBDDataset, name: str) -> dict[str, str]:
    """Return the values of a column of the manifest, by the dataset's video ids; videos without a value are omitted."""
    manifest = dataset.store.manifest
    if name not in manifest:
        users = [column for column in manifest.columns if column not in MANIFEST_COLUMNS]
        raise UsageError(
            f"sources (--sources): expected a column of the manifest of {dataset.store.paths.root}; got {name!r:.80}. "
            + (f"Name one of {shown_names(users)}" if users else "Extract from a table that has it")
        )
    column = manifest.drop_duplicates("video_id").set_index("video_id")[name].dropna()
    return {video_id: str(column[item]) for video_id, item in dataset.items.items() if item in column.index}


def split_videos(
    sources: Mapping[str, Sequence[str]], validation: Sequence[str] | None, share: float, seed: int
) -> Parts:
    """Split the joined videos by the given validation ids, else draw about a share of them by seed, source by source.

    `sources`: see `sources_of`; no source has videos in both parts that are drawn. Given ids that did not join are not
    an error: the join report counts them; if they have sources in common with the others, a UserWarning says so.
    Raises UsageError if a part is empty.
    """
    group = grouped(sources)
    chosen = set(_drawn(group, share, seed)) if validation is None else set(validation)
    parts = Parts(
        tuple(video_id for video_id in sources if video_id not in chosen),
        tuple(video_id for video_id in sources if video_id in chosen),
        sources,
    )
    for name, part in (("training", parts.training), ("validation", parts.validation)):
        if not part:
            raise UsageError(
                f"expected at least one video in the {name} part; got none of the {len(sources)} with both features "
                f"and annotations, of {counted(len(set(group.values())), 'source')}. Annotate more videos, or split "
                "them otherwise (--validation, --sources)"
            )
    _warn_of_leak(parts, group)
    return parts


def _drawn(group: Mapping[str, str], share: float, seed: int) -> list[str]:
    """Draw whole sources that together hold at most a share of the videos; if all are larger, one of them."""
    members: dict[str, list[str]] = {}
    for video_id in sorted(group):  # the draw must not depend on the order of the store
        members.setdefault(group[video_id], []).append(video_id)
    videos = list(members.values())
    count = min(max(1, round(share * len(group))), len(group) - 1)
    order = [videos[n] for n in np.random.default_rng(seed).permutation(len(videos))]
    found: list[str] = []
    for source in order:
        if len(found) + len(source) <= count:
            found += source
    return found or (min(order, key=len) if len(order) > 1 else [])


def _warn_of_leak(parts: Parts, group: Mapping[str, str]) -> None:
    trained = {group[video_id] for video_id in parts.training}
    leaked = [video_id for video_id in parts.validation if group[video_id] in trained]
    if leaked:
        warnings.warn(
            f"{len(leaked)} of {counted(len(parts.validation), 'validation video')} share their source with training "
            f"videos, {shown(leaked[0])} among them: validation will promise more than a test holds. Keep every source "
            "on one side",
            UserWarning,
            stacklevel=4,
        )
