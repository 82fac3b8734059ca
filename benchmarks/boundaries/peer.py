"""Real video: the detector's marks beside the cuts of PySceneDetect."""

from __future__ import annotations

from pathlib import Path

from extractor.extraction.request import Request
from extractor.store import FeatureStore
from gebd import detect
from jobs.run.extraction import extract
from schemas.config import Sampling

_EDGE_SECONDS = 0.5


def print_beside_peer(videos: Path, store: Path, size: int) -> None:
    """Print, per video, the peer's cuts with the distance of the nearest mark, and all marks."""
    extract(videos, store, Request(sampling=Sampling.DENSE, size=size))
    found = detect(FeatureStore(store)).boundaries
    print(
        f"{len(found)} real videos, input of {size} px: cut of the peer (distance of the nearest mark), then all marks"
    )
    distances: list[float] = []
    for video_id, marks in found.items():
        cuts = _cuts(videos / video_id)
        nearest = [min((abs(mark - cut) for mark in marks), default=float("inf")) for cut in cuts]
        distances += nearest
        beside = " ".join(f"{cut:.2f} ({distance:.2f})" for cut, distance in zip(cuts, nearest, strict=True)) or "none"
        print(f"  {video_id:<36} {beside:<60} {' '.join(f'{mark:.2f}' for mark in marks) or 'none'}")
    early = sum(mark < _EDGE_SECONDS for marks in found.values() for mark in marks)
    print(
        f"{sum(distance <= 0.1 for distance in distances)} of {len(distances)} cuts have a mark within 0.1 s, the "
        f"furthest {max(distances, default=0.0):.2f} s; {sum(map(len, found.values()))} marks, {early} of them in the "
        f"first {_EDGE_SECONDS:g} s"
    )


def _cuts(path: Path) -> list[float]:
    """Return the peer's cuts in seconds from the first frame."""
    try:
        from scenedetect import AdaptiveDetector, detect as detect_scenes
    except ImportError as error:
        raise SystemExit(
            "expected PySceneDetect; it is not installed. Run `pip install scenedetect opencv-python-headless`"
        ) from error
    return [start.seconds for start, _ in detect_scenes(str(path), AdaptiveDetector())[1:]]
