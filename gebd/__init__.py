"""Generic event boundary detection on extracted features. Needs neither Ray nor a decoder.

The names below are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gebd.annotations import convert, load_annotations, write_annotations
    from gebd.baselines import (
        Comparison,
        LeftOut,
        compare_with_baselines,
        leave_one_rater_out,
        random_boundaries,
        uniform,
        uniform_matched,
    )
    from gebd.conversion import Conversion, Rules
    from gebd.dataset import GEBDDataset
    from gebd.evaluation import Definition, Evaluation
    from gebd.identity import Join, JoinRule, join_videos, tapos_starts
    from gebd.intervals import Interval
    from gebd.joining import JoinReport
    from gebd.metric import TOLERANCES, evaluate, in_frames
    from gebd.predictions import ScoreTrack, load_predictions, load_scores, write_predictions
    from gebd.records import AnnotationFormat, Annotations, AnnotationSummary, VideoAnnotation
    from gebd.samples import Batch, Sample, collate
    from gebd.sampling import BalancedSampler, ShardSampler
    from gebd.stitching import stitch
    from gebd.targets import Raters

_NAMES = {
    "gebd.annotations": ("convert", "load_annotations", "write_annotations"),
    "gebd.baselines": (
        "Comparison",
        "LeftOut",
        "compare_with_baselines",
        "leave_one_rater_out",
        "random_boundaries",
        "uniform",
        "uniform_matched",
    ),
    "gebd.conversion": ("Conversion", "Rules"),
    "gebd.dataset": ("GEBDDataset",),
    "gebd.evaluation": ("Definition", "Evaluation"),
    "gebd.identity": ("Join", "JoinRule", "join_videos", "tapos_starts"),
    "gebd.intervals": ("Interval",),
    "gebd.joining": ("JoinReport",),
    "gebd.metric": ("TOLERANCES", "evaluate", "in_frames"),
    "gebd.predictions": ("ScoreTrack", "load_predictions", "load_scores", "write_predictions"),
    "gebd.records": ("AnnotationFormat", "AnnotationSummary", "Annotations", "VideoAnnotation"),
    "gebd.samples": ("Batch", "Sample", "collate"),
    "gebd.sampling": ("BalancedSampler", "ShardSampler"),
    "gebd.stitching": ("stitch",),
    "gebd.targets": ("Raters",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "TOLERANCES",
    "AnnotationFormat",
    "AnnotationSummary",
    "Annotations",
    "BalancedSampler",
    "Batch",
    "Comparison",
    "Conversion",
    "Definition",
    "Evaluation",
    "GEBDDataset",
    "Interval",
    "Join",
    "JoinReport",
    "JoinRule",
    "LeftOut",
    "Raters",
    "Rules",
    "Sample",
    "ScoreTrack",
    "ShardSampler",
    "VideoAnnotation",
    "collate",
    "compare_with_baselines",
    "convert",
    "evaluate",
    "in_frames",
    "join_videos",
    "leave_one_rater_out",
    "load_annotations",
    "load_predictions",
    "load_scores",
    "random_boundaries",
    "stitch",
    "tapos_starts",
    "uniform",
    "uniform_matched",
    "write_annotations",
    "write_predictions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
