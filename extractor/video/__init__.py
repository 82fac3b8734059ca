"""From a file to frames: listing, sampling, preflight, decoding, resizing.

Names are imported on first use, so that listing and sampling load no decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.lazy import import_on_use

if TYPE_CHECKING:
    from extractor.video.decoding import decode, inspect_job, plan_items, suggested_deadline_seconds
    from extractor.video.listing import Listing, list_videos
    from extractor.video.preflight import Inspection, inspect_video
    from extractor.video.sampling import plan_item
    from extractor.video.transforms import Resizer, pixel_grid

__all__ = [
    "Inspection",
    "Listing",
    "Resizer",
    "decode",
    "inspect_job",
    "inspect_video",
    "list_videos",
    "pixel_grid",
    "plan_item",
    "plan_items",
    "suggested_deadline_seconds",
]

__getattr__, __dir__ = import_on_use(
    __name__,
    {
        "decoding": ("decode", "inspect_job", "plan_items", "suggested_deadline_seconds"),
        "listing": ("Listing", "list_videos"),
        "preflight": ("Inspection", "inspect_video"),
        "sampling": ("plan_item",),
        "transforms": ("Resizer", "pixel_grid"),
    },
)
