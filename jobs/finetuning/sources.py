"""What worker processes run: clips with their samples and labels for training, whole videos for validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extractor.video.sampling import plan_item
from extractor.video.transforms import Resizer
from gebd.dataset.index import Boundaries
from gebd.dataset.labels import HARD
from jobs.finetuning.config import FinetuneConfig, Form
from jobs.finetuning.stretches import Played, Taken, draw_instant, draw_stretch, inside, take_frames
from jobs.finetuning.videos import BoundaryVideo
from schemas.config import Sampling
from schemas.errors import FailureClass, VideoError
from schemas.records import Failure
from training.clips.augmentation import Augmentation, Box, augmented
from training.clips.config import ClipSettings
from training.clips.sources import Opened, ShareSource, VideoSource

_MOST_BYTES = 2**31  # of the frames of a video for validation: 14,000 of 224 x 224


class LabelledClip(NamedTuple):
    """A clip: frames (n, S, S, 3) uint8 RGB as shown, and its T samples.

    frame_row, pair_row (T,) int64: of each sample, its frame and the pair that it begins, pair_row -1 for none. valid,
    counted (T,) bool: samples that say something, and those whose loss counts. target (T,) float32: soft labels.
    """

    frames: Tensor
    frame_row: Tensor
    pair_row: Tensor
    valid: Tensor
    counted: Tensor
    target: Tensor


class WholeVideo(NamedTuple):
    """frames (n, S, S, 3) uint8 RGB that a dense extraction takes of a video; own_seconds (n,) on the video's clock."""

    frames: Tensor
    own_seconds: npt.NDArray[np.float64]


class ClipSource(ShareSource[LabelledClip, tuple[LabelledClip, ...]]):
    """Random clips of a share; see `ShareSource` for the order of the videos, and what becomes of broken ones."""

    def __init__(self, videos: Sequence[BoundaryVideo], config: FinetuneConfig) -> None:
        super().__init__(
            [video.example for video in videos],
            ClipSettings(size_px=config.size_px),
            num_frames=config.clip_frames,
            seed=config.seed,
            clips_per_step=config.clips_per_step,
            shares=config.share_count,
        )
        self._videos, self._config = tuple(videos), config
        head = config.head
        self._boundaries = Boundaries([video.annotation for video in videos], head.label_sigma_seconds, head.raters)

    def clip(self, number: int, generator: np.random.Generator) -> LabelledClip:
        """A random clip of a video."""
        opened, video = self.opened(number), self._videos[number]
        own = opened.times_seconds - video.start_seconds
        own = own[inside(own, video.until_seconds)]
        if len(own) < 2:
            raise VideoError(FailureClass.TOO_SHORT, f"{video.video_id}: expected two frames; got fewer. Leave it out")
        first = int(np.searchsorted(opened.times_seconds - video.start_seconds, own[0]))
        length = float(own[-1] + np.median(np.diff(own)))
        draw = self._stretch if self._config.form is Form.STRETCHES else self._window
        taken, counted = draw(number, own, length, generator)
        target = self._boundaries.targets(number, taken.seconds)[self._config.form is Form.WINDOWS]
        samples = taken.samples
        return LabelledClip(
            self._augmented(opened, taken.positions + first, taken.backwards, generator),
            torch.from_numpy(samples.frame_row),
            torch.from_numpy(samples.pair_row),
            torch.from_numpy(samples.valid),
            torch.from_numpy(samples.valid & counted),
            torch.from_numpy(target),
        )

    def together(self, clips: Sequence[LabelledClip]) -> tuple[LabelledClip, ...]:
        """The clips side by side: they have different lengths."""
        return tuple(clips)

    def _stretch(
        self, number: int, own: npt.NDArray[np.float64], length: float, generator: np.random.Generator
    ) -> tuple[Taken, npt.NDArray[np.bool_]]:
        head = self._config.head
        played = draw_stretch(length, head.window_seconds, head.stretch, head.reverse, generator)
        taken = take_frames(own, length, played, self._config.clip_frames, head.rate_hz)
        return taken, np.ones(len(taken.seconds), np.bool_)

    def _window(
        self, number: int, own: npt.NDArray[np.float64], length: float, generator: np.random.Generator
    ) -> tuple[Taken, npt.NDArray[np.bool_]]:
        """The frames around an instant, which alone counts."""
        head, count = self._config.head, self._config.clip_frames
        phase = generator.random()
        instants = (np.arange(max(1, int(length * head.rate_hz)), dtype=np.float64) + phase) / head.rate_hz
        soft = self._boundaries.targets(number, instants)[0]
        centre = float(instants[draw_instant(soft >= HARD, generator)])
        backwards = bool(head.reverse and generator.random() < 0.5)
        played = Played(centre - (count // 2) / head.rate_hz, 1.0, backwards)
        taken = take_frames(own, length, played, count, head.rate_hz)
        return taken, np.arange(len(taken.seconds)) == np.abs(taken.seconds - centre).argmin()

    def _augmented(
        self, opened: Opened, positions: npt.NDArray[np.int64], backwards: bool, generator: np.random.Generator
    ) -> Tensor:
        """Frames at positions (n,), one random change for all of them."""
        config = self._config
        wide, high = generator.uniform(config.least_scale, 1.0, 2)
        x, y = generator.random(2)
        box = Box(x * (1 - wide), y * (1 - high), wide, high)
        flipped = bool(generator.random() < config.flip)
        brightness, contrast, saturation = (1 + config.colour * generator.uniform(-1, 1, 3)).tolist()
        colour = (brightness, contrast, saturation) if config.colour else None
        resizer = _resizer(config, opened)
        found = self.read_each(opened, positions, lambda pixels: resizer(np.ascontiguousarray(box.of(pixels))))
        clip = augmented(torch.from_numpy(np.stack(found)), Augmentation(box, flipped, colour))
        return clip.flip(0) if backwards else clip


class WholeSource(VideoSource):
    """Whole videos, by their number, without augmentation: the frames of a dense extraction."""

    def __init__(self, videos: Sequence[BoundaryVideo], config: FinetuneConfig) -> None:
        super().__init__([video.example for video in videos], ClipSettings(size_px=config.size_px), config.clip_frames)
        self._videos, self._config = tuple(videos), config
        self.result_bytes = self.clip_bytes

    def load(self, key: int) -> WholeVideo | Failure:
        """A video, or why it cannot be read."""
        video = self._videos[key]
        name = video.example.video_id
        if name in self.broken:
            return self.broken[name]
        try:
            return self._load(key, video)
        except VideoError as error:
            return Failure(name, error.failure, error.message)
        finally:
            self.watch.note(-1)

    def _load(self, number: int, video: BoundaryVideo) -> WholeVideo:
        opened, rate_hz = self.opened(number), self._config.head.rate_hz
        found = opened.inspection
        plan = plan_item(
            found.times_seconds,
            found.info.end_seconds,
            video.example.item,
            sampling=Sampling.DENSE,
            num_frames=None,
            rate_hz=rate_hz,
        )
        own = plan.time_seconds - video.start_seconds
        chosen = inside(own, video.until_seconds)
        if (needed := int(chosen.sum()) * self.settings.size_px**2 * 3) > _MOST_BYTES or chosen.sum() < 2:
            raise VideoError(
                FailureClass.TOO_LARGE if needed > _MOST_BYTES else FailureClass.TOO_SHORT,
                f"{video.video_id}: expected two frames or more, of at most {_MOST_BYTES} bytes; got {chosen.sum()} of"
                f" {needed}. Leave it out, or annotate stretches of it",
            )
        frames = self.read_each(opened, plan.index[chosen] - opened.first, _resizer(self._config, opened))
        return WholeVideo(torch.from_numpy(np.stack(frames)), own[chosen])


def _resizer(config: FinetuneConfig, opened: Opened) -> Resizer:
    return Resizer(config.resize, config.size_px, opened.inspection.info.pixel_aspect)
