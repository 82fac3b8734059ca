"""What fine-tuning adds: backbone and head together beside the same head on frozen features, on procedural video.

    python -m benchmarks.boundaries.finetuned FOLDER [--start tsn] [--worlds 8] [--training 480] [--test 160]

Writes videos of the demonstration's kind, fine-tunes on some, predicts those of another world with both heads, and
prints F1 and the paired difference with its interval over the same resampled videos. Each step goes on where an earlier
run stopped. --start: the first weights, the bundled ones, which know this kind of video, or those of weights/ that know
single frames alone. --worlds: among how many the training videos are divided; a world has 24 textures and 32 shapes.
--config overrides the settings below, which are for a single core. --head: a run on the features
of the first weights to start from, instead of training one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

from gebd.annotations.loading import load_annotations
from gebd.heads.predict import predict
from gebd.heads.trained import load_head
from gebd.metric.baselines import Comparison
from gebd.metric.f1 import evaluate
from jobs.finetuning.config import FinetuneConfig, read_config
from jobs.finetuning.features import extract_for_head
from jobs.finetuning.finetune import FROZEN, FinetuneRequest, Reports, finetune
from jobs.run.watcher import Watcher
from training.train import Loop, Progress
from training.world.videos import TRUTH_NAME, read_demo_videos, write_demo_videos

_SEEDS = {"train": 5_000_000, "test": 5_200_000}  # worlds that share no texture and no shape
_SIZE_PX, _SECONDS = (128, 160), (8.0, 12.0)  # as in `msnet gebd demo`
_COMMON = FinetuneConfig(frozen_stages=2, clips_per_step=2, warmup_epochs=0.1, colour=0.3, least_scale=0.75)
_STARTS = {
    "msnet": (None, _COMMON.model_copy(update={"size_px": 112, "epochs": 2.0, "learning_rate": 2e-4})),
    "tsn": (
        "weights/tsn_resnet18.safetensors",
        _COMMON.model_copy(
            update={
                "model": "tsn_resnet18",
                "size_px": 80,
                "epochs": 3.0,
                "clips_per_step": 4,
                "learning_rate": 1e-4,
                "head_rate": 1.0,
                "warmup_epochs": 0.2,
                "colour": 0.2,
                "least_scale": 0.85,
            }
        ),
    ),
}
"""By the name of the start: its weights, None for the bundled ones, and the settings."""


def main(arguments: list[str] | None = None) -> None:
    """Write, learn, predict, compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.boundaries.finetuned", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--start", choices=_STARTS, default="msnet")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--worlds", type=int, default=1)
    parser.add_argument("--training", type=int, default=240)
    parser.add_argument("--test", type=int, default=160)
    parser.add_argument("--head", type=Path)
    options = parser.parse_args(arguments)
    if options.training % options.worlds:
        parser.error("expected --training to be a multiple of --worlds; got another number. Change one of them")
    for part, count, worlds in (("train", options.training, options.worlds), ("test", options.test, 1)):
        _write(options.folder / "videos" / part, count, _SEEDS[part], worlds)
    weights, config = _STARTS[options.start]
    if options.config is not None:
        config = read_config(options.config)
    run = options.folder / "run"
    videos = options.folder / "videos" / "train"
    request = FinetuneRequest(config, videos, videos / TRUTH_NAME, run, weights, head=options.head, loader_workers=0)
    finetune(request, Loop(report=_tell), Reports())
    frozen = run / FROZEN if options.head is None else options.head
    print(compare(options.folder, {"fine-tuned": run, FROZEN: frozen}).table.round(3).to_string())


def compare(folder: Path, runs: dict[str, Path]) -> Comparison:
    """Test runs on the test videos; the first is compared with the others."""
    videos = folder / "videos" / "test"
    truth = load_annotations(videos / TRUTH_NAME)
    evaluations = {}
    for name, run in runs.items():
        trained, store = load_head(run), folder / f"store-{name}"
        extract_for_head(run, trained, videos, store, device="cpu", watcher=Watcher())
        evaluations[name] = evaluate(predict(trained, store, truth).boundaries, truth)
    return Comparison(evaluations)


def _write(folder: Path, count: int, seed: int, worlds: int) -> None:
    """Videos of all worlds with one file of boundaries, unless they are there."""
    if read_demo_videos(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    truth: dict[str, Any] = {}
    for world in range(worlds):
        part, (height, width) = folder.parent / f"world-{world}", _SIZE_PX
        write_demo_videos(part, count // worlds, seed + 1000 * world, height=height, width=width, seconds=_SECONDS)
        found = json.loads((part / TRUTH_NAME).read_text(encoding="utf-8"))
        videos = {f"{world}_{name}": entry for name, entry in found["videos"].items()}
        for name in found["videos"]:
            (part / name).replace(folder / f"{world}_{name}")
        truth = {**found, "videos": {**truth.get("videos", {}), **videos}}
        shutil.rmtree(part)
    (folder / TRUTH_NAME).write_text(json.dumps(truth), encoding="utf-8")  # last: the videos are complete


def _tell(progress: Progress) -> None:
    if progress.held_out is not None or progress.step % 8 == 0:
        losses = {name: round(value, 3) for name, value in progress.losses.items()}
        cpu = time.process_time()
        print(
            f"step {progress.step} of {progress.steps}: {losses} {progress.held_out or ''}, {cpu:.0f} CPU s", flush=True
        )


if __name__ == "__main__":
    main()
