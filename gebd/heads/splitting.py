"""Which videos a head is trained on, and which decide when it is best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gebd.annotations.loading import Source, load_annotations
from gebd.annotations.records import Annotations
from gebd.annotations.values import shown
from schemas.errors import UsageError

__all__ = ["Parts", "Validation", "split_videos", "with_validation"]

Validation = Source | Annotations | Sequence[str]
"""Annotations of other videos, or ids among the annotated ones."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Ids of the videos of both parts; none is in both."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def with_validation(truth: Annotations, validation: Validation | None) -> tuple[Annotations, tuple[str, ...] | None]:
    """All annotations together, and the ids of the validation part where it is given.

    Raises UsageError where a video is annotated in both.
    """
    if validation is None:
        return truth, None
    if isinstance(validation, Sequence) and not isinstance(validation, str):
        return truth, tuple(validation)
    other = load_annotations(validation)
    both = [video_id for video_id in other if video_id in truth]
    if both:
        raise UsageError(
            f"training and validation annotations were expected to be of different videos and have {len(both)} in "
            f"common, {shown(both[0])} among them: take them out of one"
        )
    left_out = truth.left_out | other.left_out
    together = [*truth.values(), *other.values()]
    return Annotations(together, format=truth.format, path=truth.path, left_out=left_out), tuple(other)


def split_videos(video_ids: Sequence[str], validation: Sequence[str] | None, share: float, seed: int) -> Parts:
    """Divide the videos that joined: by the ids given for validation, else a share of them drawn from the seed.

    Ids given that did not join are no error: the join report counts them. Raises UsageError where a part is empty.
    """
    if validation is None:
        ordered = sorted(video_ids)  # so that the draw depends on the videos alone, not on their order in the store
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
                f"at least one video was expected in the {name} part, and none of the {len(video_ids)} that have both "
                "features and annotations is: annotate more videos, or divide them otherwise"
            )
    return parts
