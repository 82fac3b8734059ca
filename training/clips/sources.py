"""What worker processes run: sources that turn numbers into decoded clips."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extractor.video import FrameReader, Inspection, item_frames
from schemas.errors import FailureClass, InventoryError, VideoError
from schemas.records import Failure
from training.clips.augmentation import Box, augmented, cropped, draw_augmentation, evaluation_boxes
from training.clips.config import ClipSettings
from training.clips.records import Example
from training.clips.sampling import evaluation_positions, training_positions
from training.clips.workers import Watch

MOST_ATTEMPTS = 50
"""Videos in a row that are broken, before all are taken to be."""


class ClipBatch(NamedTuple):
    """Clips: frames (B, T, S, S, 3) uint8 RGB, labels (B,) int64, numbers (B,) int64 of their examples."""

    frames: Tensor
    labels: Tensor
    examples: Tensor


Batch = TypeVar("Batch")
Clip = TypeVar("Clip")
Made = TypeVar("Made")
LoadedShare: TypeAlias = tuple[Batch | None, tuple[Failure, ...]]
"""A share of a step and the videos that were found to be broken meanwhile; None if no other could be found."""


class Opened(NamedTuple):
    """An example whose file is known. first: its first frame. length: in frames. width, height: as displayed.

    inspection: what demuxing says of the whole file.
    """

    number: int
    first: int
    length: int
    width: float
    height: float
    inspection: Inspection

    @property
    def times_seconds(self) -> npt.NDArray[np.float64]:
        """(length,) times of its frames on the container's clock."""
        return self.inspection.times_seconds[self.first : self.first + self.length]


class VideoSource:
    """What all kinds of sources share. The reader is made in the process that decodes."""

    def __init__(self, examples: Sequence[Example], settings: ClipSettings, num_frames: int) -> None:
        self.examples = tuple(examples)
        self.settings, self.num_frames = settings, num_frames
        self.broken: dict[str, Failure] = {}
        self.watch = Watch(0)
        self._reader: FrameReader | None = None

    @property
    def clip_bytes(self) -> int:
        """Bytes of a clip."""
        return self.num_frames * self.settings.size_px**2 * 3

    def opened(self, number: int) -> Opened:
        """What demuxing says of an example's file; from now on, this worker is at that example.

        Raises VideoError, as `inspect_video` does, and for fewer than two frames (too_short).
        """
        self._reader = self._reader or FrameReader()
        self.watch.note(number)
        example = self.examples[number]
        inspection = self._reader.inspect(example.job)
        first, last = item_frames(inspection.times_seconds, inspection.info.end_seconds, example.item)
        if (count := max(0, last - first + 1)) < 2:
            raise VideoError(
                FailureClass.TOO_SHORT, f"{example.video_id}: expected at least two frames; got {count}. Leave it out"
            )
        width, height = inspection.info.displayed_size
        return Opened(number, first, count, width * inspection.info.pixel_aspect, height, inspection)

    def read_each(
        self, opened: Opened, positions: npt.NDArray[np.int64], convert: Callable[[npt.NDArray[np.uint8]], Made]
    ) -> list[Made]:
        """`convert` of the frames at ascending positions (n,) of an example, which it gets as (H, W, 3) uint8."""
        assert self._reader is not None
        return self._reader.read(self.examples[opened.number].job, positions + opened.first, convert)

    def read(self, opened: Opened, positions: npt.NDArray[np.int64], boxes: Sequence[Box]) -> Tensor:
        """Frames at positions (n,), in any order, of an example, once for each box: (boxes, n, S, S, 3) uint8."""
        size = self.settings.size_px
        index, places = np.unique(positions, return_inverse=True)
        frames = self.read_each(opened, index, lambda pixels: np.stack([cropped(pixels, box, size) for box in boxes]))
        return torch.from_numpy(np.stack([frames[place] for place in places], 1))

    def read_places(
        self, opened: Opened, index: npt.NDArray[np.int64], convert: Callable[[int, npt.NDArray[np.uint8]], Made]
    ) -> list[Made]:
        """`convert` of the places in `index`, ascending positions, and their frames (H, W, 3) uint8, of an example."""
        assert self._reader is not None
        return self._reader.read_places(self.examples[opened.number].job, index + opened.first, convert)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_reader": None}


class ShareSource(VideoSource, ABC, Generic[Clip, Batch]):
    """Clips of a share, by (step, share), whatever a clip is: `clip` draws one, `together` makes a batch of them.

    A clip depends on the seed, the number of its step and its place in it. Each epoch takes the videos in another
    order, each once. A broken video is replaced by another one, drawn from the same numbers; one whose damage lies in a
    part of it may serve until a clip needs that part. Raises InventoryError without examples.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        settings: ClipSettings,
        *,
        num_frames: int,
        seed: int,
        clips_per_step: int,
        shares: int,
    ) -> None:
        if not examples:
            raise InventoryError("expected videos to take clips from; got none. Check the list")
        if clips_per_step % shares:
            raise ValueError(f"expected clips_per_step to be a multiple of shares; got {clips_per_step} and {shares}")
        super().__init__(examples, settings, num_frames)
        self._seed, self._clips_per_step = seed, clips_per_step
        self._per_share = clips_per_step // shares
        self._steps_per_epoch = max(1, len(examples) // clips_per_step)
        self._order: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        self.result_bytes = self.clip_bytes * self._per_share

    @abstractmethod
    def clip(self, number: int, generator: np.random.Generator) -> Clip:
        """A random clip of an example. Raises VideoError where it cannot be decoded."""

    @abstractmethod
    def together(self, clips: Sequence[Clip]) -> Batch:
        """The batch of the clips of a share."""

    def load(self, key: tuple[int, int]) -> LoadedShare[Batch]:
        """The clips of a share."""
        step, share = key
        known = len(self.broken)
        clips: list[Clip] = []
        for place in range(share * self._per_share, (share + 1) * self._per_share):
            clip = self._clip(step, place)
            if clip is None:
                found = tuple(self.broken.values())
                return None, found[known:] or found[-1:]
            clips.append(clip)
        self.watch.note(-1)
        return self.together(clips), tuple(self.broken.values())[known:]

    def _clip(self, step: int, place: int) -> Clip | None:
        for attempt in range(MOST_ATTEMPTS):
            generator = np.random.default_rng((self._seed, step, place, attempt))
            number = int(generator.integers(len(self.examples))) if attempt else self._example(step, place)
            example = self.examples[number]
            if example.video_id in self.broken:
                continue
            try:
                return self.clip(number, generator)
            except VideoError as error:
                self.broken[example.video_id] = Failure(example.video_id, error.failure, error.message)
        return None

    def _example(self, step: int, place: int) -> int:
        """Number of the example at a place of a step; a step with more clips than there are videos takes them again."""
        epoch, within = divmod(step, self._steps_per_epoch)
        turn, place = divmod(within * self._clips_per_step + place, len(self.examples))
        if self._order[0] != (part := epoch * self._clips_per_step + turn):
            self._order = part, np.random.default_rng((self._seed, epoch, turn)).permutation(len(self.examples))
        return int(self._order[1][place])


class TrainingSource(ShareSource[tuple[Tensor, int, int], ClipBatch]):
    """Random clips with their labels; see `ShareSource`.

    Labels of `unflippable` classes stay unflipped; a flip turns a label into that of `mirrored`.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        settings: ClipSettings,
        *,
        num_frames: int,
        seed: int,
        clips_per_step: int,
        shares: int,
        unflippable: Collection[int] = (),
        mirrored: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__(
            examples, settings, num_frames=num_frames, seed=seed, clips_per_step=clips_per_step, shares=shares
        )
        self._unflippable, self._mirrored = frozenset(unflippable), dict(mirrored or {})

    def clip(self, number: int, generator: np.random.Generator) -> tuple[Tensor, int, int]:
        """A random clip (T, S, S, 3) uint8 of an example, its label (-1 without one), and the example's number."""
        opened, label = self.opened(number), self.examples[number].label
        positions = training_positions(opened.length, self.num_frames, self.settings, generator)
        draw = draw_augmentation(
            opened.width, opened.height, self.settings, generator, may_flip=label not in self._unflippable
        )
        clip = augmented(self.read(opened, positions, [draw.box])[0], draw)
        if label is None:
            label = -1
        return clip, self._mirrored.get(label, label) if draw.flipped else label, number

    def together(self, clips: Sequence[tuple[Tensor, int, int]]) -> ClipBatch:
        """Clips, labels and numbers side by side."""
        frames, labels, numbers = zip(*clips, strict=True)
        return ClipBatch(torch.stack(frames), torch.tensor(labels), torch.tensor(numbers))


class EvaluationSource(VideoSource):
    """All views of an example, by its number."""

    def __init__(
        self,
        examples: Sequence[Example],
        settings: ClipSettings,
        num_frames: int,
        clips: int,
        crops: int,
    ) -> None:
        super().__init__(examples, settings, num_frames)
        self._clips, self._crops = clips, crops
        self.result_bytes = self.clip_bytes * clips * crops

    def load(self, key: int) -> Tensor | Failure:
        """Views (clips * crops, T, S, S, 3) of an example, or why it has none."""
        example = self.examples[key]
        if example.video_id in self.broken:
            return self.broken[example.video_id]
        try:
            opened = self.opened(key)
            positions = evaluation_positions(opened.length, self.num_frames, self.settings, self._clips)
            boxes = evaluation_boxes(opened.width, opened.height, self._crops)
            frames = self.read(opened, positions.ravel(), boxes)  # (crops, clips * T, S, S, 3)
        except VideoError as error:
            return Failure(example.video_id, error.failure, error.message)
        finally:
            self.watch.note(-1)
        views = torch.unflatten(frames, 1, positions.shape).transpose(0, 1)  # (clips, crops, T, S, S, 3)
        return views.flatten(0, 1).contiguous()
