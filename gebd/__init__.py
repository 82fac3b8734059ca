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
    from gebd.detection import DetectionConfig, detect
    from gebd.evaluation import Definition, Evaluation
    from gebd.heads import HeadName
    from gebd.identity import Join, JoinRule, join_videos, tapos_starts
    from gebd.intervals import Interval
    from gebd.joining import JoinReport
    from gebd.metric import TOLERANCES, evaluate, in_frames
    from gebd.picking import BoundaryPicker, PickingMethod
    from gebd.pictures import plot_run, plot_video
    from gebd.plots import Timeline, plot_comparison, plot_timeline
    from gebd.prediction import JoinOptions, Prediction, predict
    from gebd.predictions import ScoreTrack, load_predictions, load_scores, write_predictions
    from gebd.records import AnnotationFormat, Annotations, AnnotationSummary, VideoAnnotation
    from gebd.report import write_report
    from gebd.samples import Batch, Sample, collate
    from gebd.sampling import BalancedSampler, ShardSampler
    from gebd.stitching import stitch
    from gebd.targets import Raters
    from gebd.tracks import Track, load_tracks, write_tracks
    from gebd.trained import TrainedHead, load_head
    from gebd.training import TrainingResult, train_head
    from gebd.training_options import TrainingConfig, training_config

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
    "gebd.detection": ("DetectionConfig", "detect"),
    "gebd.evaluation": ("Definition", "Evaluation"),
    "gebd.heads": ("HeadName",),
    "gebd.identity": ("Join", "JoinRule", "join_videos", "tapos_starts"),
    "gebd.intervals": ("Interval",),
    "gebd.joining": ("JoinReport",),
    "gebd.metric": ("TOLERANCES", "evaluate", "in_frames"),
    "gebd.picking": ("BoundaryPicker", "PickingMethod"),
    "gebd.pictures": ("plot_run", "plot_video"),
    "gebd.plots": ("Timeline", "plot_comparison", "plot_timeline"),
    "gebd.prediction": ("JoinOptions", "Prediction", "predict"),
    "gebd.predictions": ("ScoreTrack", "load_predictions", "load_scores", "write_predictions"),
    "gebd.records": ("AnnotationFormat", "AnnotationSummary", "Annotations", "VideoAnnotation"),
    "gebd.report": ("write_report",),
    "gebd.samples": ("Batch", "Sample", "collate"),
    "gebd.sampling": ("BalancedSampler", "ShardSampler"),
    "gebd.stitching": ("stitch",),
    "gebd.targets": ("Raters",),
    "gebd.tracks": ("Track", "load_tracks", "write_tracks"),
    "gebd.trained": ("TrainedHead", "load_head"),
    "gebd.training": ("TrainingResult", "train_head"),
    "gebd.training_options": ("TrainingConfig", "training_config"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "TOLERANCES",
    "AnnotationFormat",
    "AnnotationSummary",
    "Annotations",
    "BalancedSampler",
    "Batch",
    "BoundaryPicker",
    "Comparison",
    "Conversion",
    "Definition",
    "DetectionConfig",
    "Evaluation",
    "GEBDDataset",
    "HeadName",
    "Interval",
    "Join",
    "JoinOptions",
    "JoinReport",
    "JoinRule",
    "LeftOut",
    "PickingMethod",
    "Prediction",
    "Raters",
    "Rules",
    "Sample",
    "ScoreTrack",
    "ShardSampler",
    "Timeline",
    "Track",
    "TrainedHead",
    "TrainingConfig",
    "TrainingResult",
    "VideoAnnotation",
    "collate",
    "compare_with_baselines",
    "convert",
    "detect",
    "evaluate",
    "in_frames",
    "join_videos",
    "leave_one_rater_out",
    "load_annotations",
    "load_head",
    "load_predictions",
    "load_scores",
    "load_tracks",
    "plot_comparison",
    "plot_run",
    "plot_timeline",
    "plot_video",
    "predict",
    "random_boundaries",
    "stitch",
    "tapos_starts",
    "train_head",
    "training_config",
    "uniform",
    "uniform_matched",
    "write_annotations",
    "write_predictions",
    "write_report",
    "write_tracks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
