"""Clips of videos for training and for evaluation, decoded by worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Generic, Self

from torch import Tensor

from schemas.errors import InventoryError
from schemas.records import Failure
from training.clips.config import ClipSettings
from training.clips.records import Example
from training.clips.sources import MOST_ATTEMPTS, Batch, EvaluationSource, LoadedShare
from training.clips.workers import ClipWorkers, Source


class TrainingClips(Generic[Batch]):
    """Random clips of videos: for each step its shares, the same whoever asks for them and however.

    broken: videos known to be broken, which are not tried. Close it, or use it in a `with` statement.
    """

    def __init__(
        self,
        source: Source[tuple[int, int], LoadedShare[Batch]],
        workers: int = 0,
        broken: Mapping[str, Failure] | None = None,
    ) -> None:
        self._source = source
        self._source.broken.update(broken or {})
        self._workers: ClipWorkers[tuple[int, int], LoadedShare[Batch]] = ClipWorkers(source, workers)
        self._expected: tuple[int, int] | None = None  # step and share that come next
        self._shares: list[int] = []
        self._results: Iterator[LoadedShare[Batch]] = iter(())

    @property
    def broken(self) -> dict[str, Failure]:
        """Videos met so far that cannot be decoded, by id."""
        return self._source.broken

    def expect(self, step: int, shares: Sequence[int]) -> None:
        """From now on, `batch` will be asked for these shares of a step, then for those of the steps behind it."""
        if self._expected == (step, shares[0]) and self._shares == list(shares):
            return
        self._shares, self._expected = list(shares), (step, shares[0])
        self._results = self._workers.results((at, share) for at in count(step) for share in self._shares)

    def batch(self, step: int, share: int) -> Batch:
        """A share of a step. Raises InventoryError where 50 videos in a row are broken."""
        if self._expected != (step, share):
            self.expect(step, [share])
        self._expected = None  # where this raises, the next call begins anew
        batch, failures = next(self._results)
        self.broken.update((failure.video_id, failure) for failure in failures)
        place = self._shares.index(share) + 1
        last = place == len(self._shares)
        self._expected = (step + 1, self._shares[0]) if last else (step, self._shares[place])
        if batch is None:
            failure = failures[-1]
            raise InventoryError(
                f"expected videos that can be decoded; got {MOST_ATTEMPTS} broken ones in a row, the last one with:"
                f" {failure.message}. Check them with `msnet plan`"
            )
        return batch

    def close(self) -> None:
        """End the workers. Another batch would start them again."""
        self._expected, self._results = None, iter(())
        self._workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def evaluation_clips(
    examples: Sequence[Example],
    settings: ClipSettings,
    *,
    num_frames: int,
    clips: int = 1,
    crops: int = 1,
    workers: int = 0,
) -> Iterator[tuple[int, Tensor | Failure]]:
    """The number of each example with its views (clips * crops, T, S, S, 3) uint8, or why it cannot be decoded.

    clips are evenly spread over the video; crops: 1 for the centre, 3 for three along the longer side.
    """
    source = EvaluationSource(examples, settings, num_frames, clips, crops)
    decoders: ClipWorkers[int, Tensor | Failure] = ClipWorkers(source, workers)
    try:
        yield from enumerate(decoders.results(range(len(examples))))
    finally:
        decoders.close()
