"""Generic event boundary detection on extracted features. Needs neither Ray nor a decoder.

The names below are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.lazy import import_on_use

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
    from gebd.evaluation import Definition, Evaluation, Interval
    from gebd.heads import HeadName
    from gebd.identity import Join, JoinRule, join_videos, tapos_starts
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

__getattr__, __dir__ = import_on_use(
    __name__,
    {
        "annotations": ("convert", "load_annotations", "write_annotations"),
        "baselines": (
            "Comparison",
            "LeftOut",
            "compare_with_baselines",
            "leave_one_rater_out",
            "random_boundaries",
            "uniform",
            "uniform_matched",
        ),
        "conversion": ("Conversion", "Rules"),
        "dataset": ("GEBDDataset",),
        "detection": ("DetectionConfig", "detect"),
        "evaluation": ("Definition", "Evaluation", "Interval"),
        "heads": ("HeadName",),
        "identity": ("Join", "JoinRule", "join_videos", "tapos_starts"),
        "joining": ("JoinReport",),
        "metric": ("TOLERANCES", "evaluate", "in_frames"),
        "picking": ("BoundaryPicker", "PickingMethod"),
        "pictures": ("plot_run", "plot_video"),
        "plots": ("Timeline", "plot_comparison", "plot_timeline"),
        "prediction": ("JoinOptions", "Prediction", "predict"),
        "predictions": ("ScoreTrack", "load_predictions", "load_scores", "write_predictions"),
        "records": ("AnnotationFormat", "AnnotationSummary", "Annotations", "VideoAnnotation"),
        "report": ("write_report",),
        "samples": ("Batch", "Sample", "collate"),
        "sampling": ("BalancedSampler", "ShardSampler"),
        "stitching": ("stitch",),
        "targets": ("Raters",),
        "tracks": ("Track", "load_tracks", "write_tracks"),
        "trained": ("TrainedHead", "load_head"),
        "training": ("TrainingResult", "train_head"),
        "training_options": ("TrainingConfig", "training_config"),
    },
)

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
