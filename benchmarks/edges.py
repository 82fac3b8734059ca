"""Whether the ends of clips and videos show in features: on a still video, and of windows against dense.

    python -m benchmarks.edges FOLDER [--weights CHECKPOINT]

For each sampling, over 200 identical frames: the largest feature norm over the median, and the longest displacement.
Over the videos of the folder: how far the features of windows are from those of dense on the same frames, and whether
`gebd detect` finds the same boundaries on both. Then the network's CPU time with hop 1 over that with hop T.
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from extractor.extraction.request import Request
from extractor.extraction.resolving import ResolvedRequest, resolve
from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS
from extractor.models.spec import member_frames
from extractor.pipeline.devices import CPUDevice
from extractor.pipeline.feeder import Feeder
from extractor.pipeline.files import FileFrames
from extractor.pipeline.messages import Message
from extractor.pipeline.network import load_network
from extractor.pipeline.writing import RowsWriter
from extractor.store import FeatureStore, StagingLog, commit_shard, new_attempt, write_inventory, write_run
from extractor.store.commits.run import Run
from extractor.video.decoding import decode
from extractor.video.listing import Listing, list_videos
from extractor.video.sampling import plan_for, window_ranges
from gebd import detect
from jobs.run.planning import planned_inventory
from schemas.config import Edges, Sampling, StorageFloat
from schemas.errors import VideoError
from schemas.layout import StorePaths, shard_name
from schemas.records import Decoded, DecodingEvent, FileJob, FrameChunk, Header, Item, PixelGrid, VideoInfo

__all__ = ["main"]

_STILL_FRAMES = 200
_FPS = 10.0
_CHUNK = 50
_BATCH_FRAMES = 64
_TURNS = 8


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default=BUNDLED_WEIGHTS)
    options = parser.parse_args(arguments)
    listing = list_videos(options.folder)
    with tempfile.TemporaryDirectory() as place:
        stores = itertools.count()

        def extracted(found: Listing, **fields: Any) -> FeatureStore:
            request = Request(weights=options.weights, store_dtype=StorageFloat.FLOAT32, **fields)
            return _extract(found, request, Path(place) / str(next(stores)))

        still = Listing(Path(), (FileJob(str(listing.jobs[0].path), (Item("still"),)),))
        print(
            f"{_STILL_FRAMES} identical frames     largest feature norm over the median   longest displacement, cells"
        )
        for edges, sampling in itertools.product((None, Edges.ZEROS), Sampling):
            video = extracted(still, sampling=sampling, edges=edges).video("still")
            norms = np.linalg.norm(video["frame"], axis=1)
            longest = np.linalg.norm(video["displacement"], axis=1).max()
            print(f"  {sampling:<10} {edges or 'declared':<10} {norms.max() / np.median(norms):24.3f} {longest:26.2f}")
        windows = extracted(listing, sampling=Sampling.WINDOWS)
        _print_beside_dense(windows, extracted(listing, sampling=Sampling.DENSE))
    print(f"CPU time of the network, windows with hop 1 over hop 8: {_hop_one_over_hop_t(options.weights):.3f}")


def _print_beside_dense(windows: FeatureStore, dense: FeatureStore) -> None:
    furthest = 0.0
    for video_id in dense.video_ids:
        found, expected = windows.video(video_id), dense.video(video_id)
        assert (found["index"] == expected["index"]).all()
        gap = np.linalg.norm(found["frame"] - expected["frame"], axis=1)
        furthest = max(furthest, float((gap / np.linalg.norm(expected["frame"], axis=1)).max()))
    print(
        f"{len(dense.video_ids)} videos, windows against dense: features differ by at most {furthest:.1e} of their norm"
    )
    alike = detect(windows).boundaries == detect(dense).boundaries
    print(f"gebd detect finds {'the same' if alike else 'OTHER'} boundaries on both")


def _hop_one_over_hop_t(weights: str) -> float:
    """Ratio of the least CPU times over several turns on one thread; the hops take turns."""
    torch.set_num_threads(1)
    resolved = resolve(Request(weights=weights))
    network = load_network(resolved.config, resolved.weights, "cpu")
    feeder = Feeder(network, resolved.config, (), CPUDevice(), lambda rows: None)
    frames = np.random.default_rng(0).integers(0, 256, (_CHUNK, 224, 224, 3), np.uint8)
    least = {8: math.inf, 1: math.inf}
    for hop in [8, 1] * _TURNS:
        started = time.process_time()
        feeder.push(feeder.open(0, 0, 0, window_ranges(_CHUNK, 8, hop)), [frames], last=True)
        feeder.flush()
        least[hop] = min(least[hop], time.process_time() - started)
    return least[1] / least[8]


def _extract(listing: Listing, request: Request, root: Path) -> FeatureStore:
    """Extract these videos in this process and return the store."""
    resolved = resolve(request)
    root.mkdir()
    paths = StorePaths(root)
    run = write_run(paths, Run(resolved.config, resolved.shape, "none", 1 << 40, str(listing.root), ""))
    write_inventory(paths, planned_inventory(listing, run))
    network = load_network(run.config, resolved.weights, "cpu")
    attempt = new_attempt(paths, run, shard_name(0), "benchmark")
    with StagingLog(attempt) as log:
        writer = RowsWriter(lambda shard: log)

        def tell(message: Message) -> None:
            writer.handle([message])

        feeder = Feeder(network, run.config, run.datasets, CPUDevice(), tell, batch_frames=_BATCH_FRAMES)
        for job in listing.jobs:
            file = FileFrames(job, attempt.shard, feeder, tell)
            try:
                for event in _events(job, resolved):
                    file.handle(event)
            except VideoError as error:
                raise SystemExit(
                    f"expected videos that can be extracted; {job.path} cannot: {error}. Leave it out of the folder"
                ) from error
        feeder.flush()
    commit_shard(attempt, [item.video_id for job in listing.jobs for item in job.items])
    return FeatureStore(root)


def _events(job: FileJob, resolved: ResolvedRequest) -> Iterable[DecodingEvent]:
    if job.items[0].video_id != "still":
        return decode(job, resolved.config, members=member_frames(resolved.config))
    return _stand_still(_first_frame(job, resolved), resolved)


def _first_frame(job: FileJob, resolved: ResolvedRequest) -> npt.NDArray[np.uint8]:
    chunks = (event for event in decode(job, resolved.config) if isinstance(event, FrameChunk))
    frame: npt.NDArray[np.uint8] = next(chunks).frames[0]
    return frame


def _stand_still(frame: npt.NDArray[np.uint8], resolved: ResolvedRequest) -> Iterable[DecodingEvent]:
    """The events of a decoder for a video that shows only this frame."""
    count, seconds = _STILL_FRAMES, _STILL_FRAMES / _FPS
    plan = plan_for(np.arange(count) / _FPS, seconds, Item("still"), resolved.config, member_frames(resolved.config))
    height, width = frame.shape[:2]
    info = VideoInfo("none", "none", width, height, 0, _FPS, count, 0.0, seconds)
    yield Header(info, PixelGrid(1.0, 1.0, 0.0, 0.0), (plan,))
    for index in _pieces(plan.index, _CHUNK):
        yield FrameChunk(index, np.repeat(frame[None], len(index), axis=0), np.ones(len(index), np.bool_))
    yield Decoded("none", "none")


def _pieces(values: npt.NDArray[np.int64], size: int) -> Sequence[npt.NDArray[np.int64]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


if __name__ == "__main__":
    main()
