from .annotations.identity import tapos_starts as tapos_starts
from .annotations.loading import (
    convert as convert,
    load_annotations as load_annotations,
    write_annotations as write_annotations,
)
from .annotations.records import (
    AnnotationFormat as AnnotationFormat,
    Annotations as Annotations,
    VideoAnnotation as VideoAnnotation,
)
from .dataset.dataset import GEBDDataset as GEBDDataset
from .dataset.samplers import BalancedSampler as BalancedSampler, ShardSampler as ShardSampler
from .dataset.samples import Batch as Batch, Sample as Sample, collate as collate
from .dataset.stitching import stitch as stitch
from .detection.config import DetectionConfig as DetectionConfig
from .detection.detector import detect as detect
from .heads.config import HeadConfig as HeadConfig, head_config as head_config
from .heads.predict import JoinOptions as JoinOptions, Prediction as Prediction, predict as predict
from .heads.train import TrainingResult as TrainingResult, train_head as train_head
from .heads.trained import TrainedHead as TrainedHead, load_head as load_head
from .metric.baselines import (
    Comparison as Comparison,
    compare_with_baselines as compare_with_baselines,
    leave_one_rater_out as leave_one_rater_out,
    random_boundaries as random_boundaries,
    uniform as uniform,
    uniform_matched as uniform_matched,
)
from .metric.clock import Clock as Clock, fit_clock as fit_clock
from .metric.evaluation import Evaluation as Evaluation
from .metric.f1 import TOLERANCES as TOLERANCES, evaluate as evaluate, in_frames as in_frames
from .metric.picking import BoundaryPicker as BoundaryPicker, PickingMethod as PickingMethod
from .metric.predictions import (
    load_predictions as load_predictions,
    load_scores as load_scores,
    write_predictions as write_predictions,
)
from .metric.tracks import Track as Track, load_tracks as load_tracks, write_tracks as write_tracks
from .pictures.plots import (
    VideoTimeline as VideoTimeline,
    plot_comparison as plot_comparison,
    plot_timeline as plot_timeline,
)
from .pictures.views import plot_run as plot_run, plot_video as plot_video

__version__: str
