"""What worker processes run for this task: all views of the videos of a share, decoded in one pass over each video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.clips.augmentation import cropped
from training.clips.config import ClipSettings
from training.clips.records import Example
from training.clips.sources import TrainingSource
from training.tasks.contrast.config import ContrastConfig
from training.tasks.contrast.views import draw_change, draw_positions, num_frames


class ViewSource(TrainingSource):
    """Views of the videos of a share, by (step, share), each video's as one clip, view behind view (`views.parted`).

    Order of the videos, and what becomes of broken ones, as in `TrainingSource`.
    """

    def __init__(self, examples: Sequence[Example], config: ContrastConfig) -> None:
        self._views = config.views
        self._wanted = {"frames": config.losses.of_frames, "clips": config.losses.of_clips}
        super().__init__(
            examples,
            ClipSettings(size_px=config.views.size_px),
            num_frames=num_frames(config.views, **self._wanted),
            seed=config.seed,
            clips_per_step=config.clips_per_step,
            shares=config.share_count,
        )

    def clip(self, number: int, generator: np.random.Generator) -> tuple[Tensor, int, int]:
        """All frames of the views of an example (N, S, S, 3), no label, and its number."""
        opened = self.opened(number)
        positions = draw_positions(opened.length, self._views, generator, **self._wanted)
        changes = [draw_change(opened.width, opened.height, self._views, generator) for _ in positions]
        index, places = np.unique(np.concatenate(positions), return_inverse=True)
        views = np.repeat(np.arange(len(positions)), [len(taken) for taken in positions])
        size = self._views.size_px

        def crops(place: int, pixels: npt.NDArray[np.uint8]) -> dict[int, npt.NDArray[np.uint8]]:
            wanted = set(views[places == place].tolist())
            return {view: cropped(pixels, changes[view].augmentation.box, size) for view in wanted}

        found = self.read_places(opened, index, crops)
        frames = [torch.from_numpy(found[place][view]) for place, view in zip(places, views, strict=True)]
        parts = torch.split(torch.stack(frames), [len(taken) for taken in positions])
        return torch.cat([change.of(part) for change, part in zip(changes, parts, strict=True)]), -1, number
