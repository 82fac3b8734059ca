"""Split videos into a training and a validation part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gebd.annotations.loading import Source, load_annotations
from gebd.annotations.records import Annotations
from gebd.annotations.values import shown
from schemas.errors import UsageError

Validation = Source | Annotations | Sequence[str]
"""Annotations of other videos, or ids of annotated videos."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Video ids of both parts, which are disjoint."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


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


def split_videos(video_ids: Sequence[str], validation: Sequence[str] | None, share: float, seed: int) -> Parts:
    """Split the joined videos by the given validation ids, else draw a share of them by seed.

    Given ids that did not join are not an error: the join report counts them. Raises UsageError if a part is empty.
    """
    if validation is None:
        ordered = sorted(video_ids)  # the draw must not depend on the order of the store
        count = min(max(1, round(share * len(ordered))), len(ordered) - 1)
        chosen = {ordered[n] for n in np.random.default_rng(seed).permutation(len(ordered))[:count]}
    else:
        chosen = set(validation)
    parts = Parts(
        tuple(video_id for video_id in video_ids if video_id not in chosen),
        tuple(video_id for video_id in video_ids if video_id in chosen),
    )
    for name, part in (("training", parts.training), ("validation", parts.validation)):
        if not part:
            raise UsageError(
                f"expected at least one video in the {name} part; got none of the {len(video_ids)} with both features "
                "and annotations. Annotate more videos, or split them otherwise"
            )
    return parts
