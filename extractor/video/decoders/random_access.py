"""Given frames of a file, again and again, as training asks for them: exact, and near the cost of a jump to each.

The frames are those of decoding from the start (docs/decoding.md). What demuxing says of a file is remembered, and so
is the proof that decoding from its keyframes is exact, which `jumping_frames` makes once a pass.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from extractor.video.containers.preflight import Inspection, inspect_video
from extractor.video.decoders.backends import DecodingRequest, Misbehaved, NativeFrames
from extractor.video.decoders.decord_backend import HELD_BYTES, decord_frames, held_bytes
from extractor.video.decoders.jumping import (
    FAULTS,
    Entry,
    Run,
    comparison_cost,
    frames_of_runs,
    kinds_of,
    numbered_entries,
    probes_for,
    prove,
    runs_over,
)
from extractor.video.decoders.pyav_backend import pyav_frames, pyav_image_frames
from extractor.video.decoders.sparse import leaves_frames_out, sparse_frames
from extractor.video.fingerprints import check_job
from schemas.errors import VideoError
from schemas.records import FileJob

T = TypeVar("T")

_MOST_FRAMES = 2_000_000  # of all files that are remembered: some 50 MB
_FRAMES_OF_A_FILE = 200  # what a file takes beside its frames, in frames
_FRAMES_OF_A_PLACE = 16  # what an entry point takes, or the name of an image
_LEAST_GAP = 4  # frames that a jump saves, at least: what a jump costs in frames
_LEAST_SAVED = 8  # frames that all jumps of a clip save, at least
_SPARSE_COST = 0.8  # of a frame, on average, where those that no other refers to are left out on the way


@dataclass(slots=True)
class _Kind:
    """Entry points. probes: what proves that decoding from them is exact. owed: frames that they would have saved."""

    entries: list[Entry]
    probes: tuple[Run, ...]
    owed: float = 0
    proven: bool = False


@dataclass(slots=True)
class _Known:
    """What is remembered of a file. kinds: of entry points, to choose from; none where no jump may be trusted.

    careful: neither decord is trusted with the file, nor leaving frames out.
    """

    inspection: Inspection
    kinds: list[_Kind]
    careful: bool = False


class FrameReader:
    """Reads given frames of files. One serves a process, and remembers files until they have _MOST_FRAMES frames."""

    def __init__(self, most_frames: int = _MOST_FRAMES) -> None:
        self._most_frames = most_frames
        self._frames = 0
        self._files: OrderedDict[tuple[str, int | None, int | None, float | None], _Known] = OrderedDict()

    def inspect(self, job: FileJob) -> Inspection:
        """What demuxing says of the file of a job. Raises VideoError, as `inspect_video` does."""
        return self._known(check_job(job)).inspection

    def read(
        self, job: FileJob, index: npt.NDArray[np.int64], convert: Callable[[npt.NDArray[np.uint8]], T]
    ) -> list[T]:
        """`convert` of each frame of `index`, ascending numbers in output order, which it gets as (H, W, 3) uint8 RGB.

        Frames are upright. At any doubt the file is decoded anew from its start, and `convert` called again. Raises
        VideoError where the file is damaged before the last of these frames, or changes meanwhile.
        """
        return self.read_places(job, index, lambda _, pixels: convert(pixels))

    def read_places(
        self, job: FileJob, index: npt.NDArray[np.int64], convert: Callable[[int, npt.NDArray[np.uint8]], T]
    ) -> list[T]:
        """As `read`; `convert` also gets the place of its frame in `index`."""
        now = check_job(job)
        known = self._known(now)
        covered = np.stack([index, index + 1], 1)
        request = DecodingRequest(Path(job.path), known.inspection, index, to_end=False, covered=covered)
        try:
            found = self._read(known, request, convert)
        except VideoError:
            check_job(now)  # a file that is being written to looks damaged, and is not
            raise
        check_job(now)
        return found

    def _read(
        self, known: _Known, request: DecodingRequest, convert: Callable[[int, npt.NDArray[np.uint8]], T]
    ) -> list[T]:
        for way in self._ways(known, request):
            try:
                found = [convert(place, frame.pixels) for place, frame in enumerate(way)]
            except Misbehaved:
                known.careful, known.kinds = True, []
                continue
            if len(found) != len(request.index):
                raise AssertionError(f"expected {len(request.index)} frames; got {len(found)}")
            return found
        raise AssertionError("expected PyAV to decode the file, or to say why not")

    def _known(self, job: FileJob) -> _Known:
        """What is remembered of the file of a job that `check_job` has returned."""
        key = (job.path, job.size_bytes, job.mtime_ns, job.fps)
        if (known := self._files.get(key)) is not None:
            self._files.move_to_end(key)
            return known
        inspection = inspect_video(job.path, fps=job.fps)
        known = _Known(inspection, _kinds(inspection))
        self._files[key] = known
        self._frames += _weight(inspection)
        while self._frames > self._most_frames and len(self._files) > 1:
            self._frames -= _weight(self._files.popitem(last=False)[1].inspection)
        return known

    def _ways(self, known: _Known, request: DecodingRequest) -> Iterator[NativeFrames]:
        """How to decode, most promising first; the next is for where one misbehaves."""
        inspection = known.inspection
        if inspection.images:
            yield pyav_image_frames(request)
            return
        if (runs := self._jumps(known, request)) is not None:
            yield frames_of_runs(request, runs)
        flags = set(inspection.info.flags) - {"long"}
        if not flags and not known.careful:
            if leaves_frames_out(inspection):
                yield sparse_frames(request)
            elif held_bytes(inspection.info.num_frames, inspection.info.width, inspection.info.height) <= HELD_BYTES:
                yield decord_frames(request)
        yield pyav_frames(request)

    def _jumps(self, known: _Known, request: DecodingRequest) -> tuple[Run, ...] | None:
        """The runs that decode these frames, where jumps save enough and are proven to be exact.

        A proof is made once what it would have saved so far exceeds what it costs.
        """
        sparse = leaves_frames_out(known.inspection) and not known.careful
        forward = (int(request.index[-1]) + 1) * (_SPARSE_COST if sparse else 1)
        plans = [runs_over(request.covered, kind.entries, _LEAST_GAP) for kind in known.kinds]
        costs = [sum(run.end - run.first for run in runs) + _LEAST_GAP * len(runs) for runs in plans]
        for cost, kind, plan in sorted(zip(costs, known.kinds, plans, strict=True), key=itemgetter(0)):
            if forward - cost < _LEAST_SAVED:
                break
            kind.owed += forward - cost
            if not kind.proven and kind.owed >= comparison_cost(kind.probes):
                try:
                    prove(request, kind.probes)
                except (Misbehaved, *FAULTS):
                    known.kinds = []  # none of the file's entry points is trusted
                    break
                kind.proven = True
            if kind.proven:
                return plan
        return None


def _weight(inspection: Inspection) -> int:
    """How much memory a file takes, in frames."""
    places = len(inspection.entry_points) + len(inspection.images)
    return inspection.info.num_frames + _FRAMES_OF_A_FILE + _FRAMES_OF_A_PLACE * places


def _kinds(inspection: Inspection) -> list[_Kind]:
    """The entry points of a file, to choose from; of each kind it is proven for all that behind the start."""
    found: list[_Kind] = []
    for entries in kinds_of([entry for entry in numbered_entries(inspection) if entry.number > 0]):
        if any(entries == other.entries for other in found):  # all of them are of one kind
            continue
        runs = [Run(entry.point, entry.number, entry.number + 1) for entry in entries]
        found.append(_Kind(entries, probes_for(runs, entries, inspection.info.num_frames)))
    return found
