"""`msnet gebd demo`: boundary detection on procedural videos with known boundaries, from files to an F1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extractor.extraction.request import Request
from extractor.extraction.resolving import resolve
from extractor.models.checkpoints.bundled import RANDOM_WEIGHTS
from extractor.models.checkpoints.inspection import inspect_checkpoint
from extractor.store.reader import FeatureStore
from gebd.annotations.loading import write_annotations
from gebd.annotations.records import Annotations, VideoAnnotation
from gebd.detection.detector import detect
from gebd.heads.networks.spec import HeadName
from gebd.heads.predict import predict
from gebd.heads.run_folder import Epoch
from gebd.heads.train import train_head
from gebd.metric.baselines import Comparison, compare_with_baselines
from gebd.metric.f1 import evaluate
from gebd.metric.predictions import write_predictions
from gebd.metric.report import write_report
from gebd.pictures.plots import plot_comparison
from gebd.pictures.views import plot_video
from jobs.cluster.devices import choose_device
from jobs.cluster.options import Options
from jobs.demos.folder import begin_demo
from jobs.demos.gebd_plan import GEBDDemoPlan
from jobs.run.extraction import extract
from jobs.run.outcome import Outcome
from jobs.run.watcher import Watcher
from jobs.stores.thumbnails import thumbnails
from schemas.config import Sampling
from schemas.errors import WeightsError
from training.world.videos import TRUTH_NAME, DemoVideo, read_demo_videos, write_demo_videos

_LEVELS, _FEATURES, _TEMPORAL, _DETECTOR = "msnet+levels", "msnet", "temporal head", "no labels"
_TWIN_MODEL = "tsn_resnet18"  # of random weights
_ALONE = ("frame",)
_OUTPUTS = ("frame", "stage3_2x2", "motion_2x2", "displacement", "confidence")
_TEMPORAL_HEAD = {
    "head": HeadName.TEMPORAL,
    "tensors": ("frame", "displacement", "confidence"),
    "width": 32,
    "stretch": 0.0,
    "reverse": False,
    "noise": 0.0,
}
_SIZE_PX = (128, 160)
_OF_VIDEOS = ("training_videos", "test_videos", "seconds", "seed")  # of a plan; stores and runs record the rest
_WORLD_SEED = 3_000_000  # apart from the worlds that weights are trained and evaluated on


@dataclass(frozen=True, slots=True)
class GEBDDemoResult:
    """Outcome of the last extraction, and the comparison, None if an extraction did not finish.

    The methods of `comparison`: the default head on MSNet's features, maps of its levels and displacement; on its
    features alone; the temporal head on features and displacement, without varied windows; the default head on the
    features of each of the networks trained alike; the detector without labels; then the baselines. `pictures` is empty
    without matplotlib.
    """

    outcome: Outcome
    comparison: Comparison | None
    pictures: tuple[Path, ...] = ()


def run_gebd_demo(
    out: Path,
    plan: GEBDDemoPlan | None = None,
    watcher: Watcher | None = None,
    tell: Callable[[str, Epoch], None] | None = None,
) -> GEBDDemoResult:
    """Write videos, extract them dense at 10 Hz, train heads on one part, and evaluate all methods on the other.

    A second call continues; videos of another seed, number or length are refused (see `begin_demo`).
    `tell(method, epoch)` is called after every epoch of every training.
    """
    return _DemoFolder(out, plan or GEBDDemoPlan(), watcher or Watcher(), tell).run()


class _DemoFolder:
    """The folder of a demonstration: videos/train, videos/test, annotations, a store per network, a run per head."""

    def __init__(
        self, out: Path, plan: GEBDDemoPlan, watcher: Watcher, tell: Callable[[str, Epoch], None] | None
    ) -> None:
        self._out, self._plan, self._watcher, self._tell = out, plan, watcher, tell
        self._videos = out / "videos"

    def run(self) -> GEBDDemoResult:
        """All of it; see `run_gebd_demo`."""
        plan = self._plan
        requests = self._requests()
        begin_demo(self._out, {name: getattr(plan, name) for name in _OF_VIDEOS})
        training = self._write("train", plan.training_videos, _WORLD_SEED + 2 * plan.seed)
        test = self._write("test", plan.test_videos, _WORLD_SEED + 2 * plan.seed + 1)
        for name, request in requests.items():
            options = Options(device=plan.device)
            outcome = extract(self._videos, self._store(name), request, options, self._watcher)
            if not outcome.complete:
                return GEBDDemoResult(outcome, None)
        found = {_LEVELS: self._head(_LEVELS, "msnet", training, test, tensors=_OUTPUTS)}
        found[_FEATURES] = self._head(_FEATURES, "msnet", training, test)
        found[_TEMPORAL] = self._head(_TEMPORAL, "msnet", training, test, **_TEMPORAL_HEAD)
        for name in requests:
            if name != "msnet":
                found[name] = self._head(name, name, training, test)
        found[_DETECTOR] = detect(self._store("msnet"), test).boundaries
        comparison = self._compare(found, test, training)
        return GEBDDemoResult(outcome, comparison, self._draw(comparison, test))

    def _write(self, part: str, count: int, seed: int) -> Annotations:
        """Write the videos of a part, unless they exist, and their annotations. Worlds of other seeds share nothing."""
        folder, plan = self._videos / part, self._plan
        truth = self._out / f"{part}-{TRUTH_NAME}"  # not among the videos, which are extracted by their folder
        videos = read_demo_videos(folder, truth)
        if not videos:
            self._watcher.say(f"writing {count} procedural videos to {folder}")
            height, width = _SIZE_PX
            videos = write_demo_videos(
                folder, count, seed, height=height, width=width, seconds=plan.seconds, truth=truth
            )
        annotations = Annotations(_annotation(part, video) for video in videos)
        return write_annotations(annotations, self._out / f"{part}.json")

    def _requests(self) -> dict[str, Request]:
        """Requests by network; refuses weights that do not fit before anything is made."""
        plan = self._plan
        networks = {"msnet": (plan.model, plan.weights)}
        for weights in plan.against:
            model = _TWIN_MODEL if weights == RANDOM_WEIGHTS else inspect_checkpoint(weights).architecture
            if model is None:
                raise WeightsError(f"expected weights of a known network; got {weights}. Give others for --against")
            networks[model.partition("_")[0]] = model, weights
        if not plan.against:
            self._watcher.say(
                "no checkpoint of a network trained alike (a checkout has two in its folder weights; --against names "
                "others): such rows are left out"
            )
        requests = {
            name: Request(
                model=model,
                weights=weights,
                seed=plan.seed if weights == RANDOM_WEIGHTS else None,
                sampling=Sampling.DENSE,
                size=plan.size,
                outputs=_OUTPUTS if name == "msnet" else _ALONE,
            )
            for name, (model, weights) in networks.items()
        }
        for request in requests.values():
            resolve(request)
        return requests

    def _store(self, name: str) -> Path:
        return self._out / f"store-{name}"

    def _run(self, method: str) -> Path:
        return self._out / f"run-{_file_name(method)}"

    def _head(
        self, method: str, store: str, training: Annotations, test: Annotations, **changes: Any
    ) -> dict[str, list[float]]:
        """Train a head on one part and predict the other; `changes` to the plan's configuration."""
        config = self._plan.config.model_copy(update={"tensors": _ALONE} | changes)
        device = choose_device(self._plan.device)
        tell = self._tell
        result = train_head(
            self._store(store),
            training,
            self._run(method),
            config,
            device=device,
            tell=None if tell is None else lambda epoch: tell(method, epoch),
        )
        return predict(result.trained, self._store(store), test, device=device).boundaries

    def _compare(
        self, found: dict[str, dict[str, list[float]]], test: Annotations, training: Annotations
    ) -> Comparison:
        """All methods and the baselines of the first, over the same resampled videos."""
        for method, boundaries in found.items():
            write_predictions(boundaries, self._out / f"predictions-{_file_name(method)}.json")
        first, *others = found
        with_baselines = compare_with_baselines(found[first], test, name=first, training=training)
        baselines = dict(with_baselines.evaluations)
        evaluations = {first: baselines.pop(first)}
        evaluations |= {method: evaluate(found[method], test) for method in others}
        comparison = Comparison(evaluations | baselines, with_baselines.clock)
        write_report(comparison, self._out / "report.json")
        return comparison

    def _draw(self, comparison: Comparison, test: Annotations) -> tuple[Path, ...]:
        """F1 against tolerance, and one video over time."""
        try:
            import matplotlib  # noqa: F401  an optional dependency
        except ImportError:
            self._watcher.say("pictures are left out: pip install 'msnet-features[plot]'")
            return ()
        video_id = next(iter(test))
        store = FeatureStore(self._store("msnet"))
        strip = thumbnails(store, video_id, self._videos)
        timeline = plot_video(
            store,
            video_id,
            self._out / "timeline.png",
            run=self._run(_LEVELS),
            annotations=test,
            frames=strip.frames,
            frame_aspect=strip.aspect,
        )
        return plot_comparison(comparison, self._out / "f1.png"), timeline


def _file_name(method: str) -> str:
    return method.replace(" ", "-")


def _annotation(part: str, video: DemoVideo) -> VideoAnnotation:
    return VideoAnnotation(
        f"{part}/{video.path.name}",
        video.duration_seconds,
        (tuple(boundary.seconds for boundary in video.boundaries),),
        fps=float(video.fps),
        num_frames=video.frames,
    )
