"""Views are taken of the frames that decoding from the start has, and broken videos are replaced."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.videos import frame_number, write_video
from training.clips.loader import TrainingClips
from training.clips.records import Example
from training.tasks.contrast.config import ContrastConfig
from training.tasks.contrast.source import ViewSource
from training.tasks.contrast.views import parted

PLAIN = {"size_px": 96, "least_area": 1.0, "flip": 0.0, "colour": 0.0, "grey": 0.0, "blur": 0.0, "frame_stride": 2}
"""Whole frames, unchanged: their numbers can be read."""


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Example, ...]:
    """Four videos, one of them a part of a file, and a broken one."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [
        write_video(folder / f"{n}.mp4", frames=36 + n, size=(96, 96), seed=n, options={"g": "6"}) for n in (0, 1, 2)
    ]
    (folder / "broken.mp4").write_text("no video")
    whole = [Example(path.name, str(path)) for path in paths]
    part = Example("part", str(paths[0]), 0.4, 1.2)  # frames 10 to 29
    return (*whole, part, Example("broken.mp4", str(folder / "broken.mp4")))


def _config(**changes: object) -> ContrastConfig:
    return ContrastConfig.model_validate({"clips_per_step": 4, "clips_per_share": 2, "views": PLAIN, **changes})


def test_views_are_of_the_frames_that_were_drawn(examples: tuple[Example, ...]) -> None:
    config = _config()
    with TrainingClips(ViewSource(examples[:4], config)) as clips:
        batches = [clips.batch(0, share) for share in (0, 1)]
    assert sorted(torch.cat([batch.examples for batch in batches]).tolist()) == [0, 1, 2, 3]
    for batch in batches:
        views = parted(batch.frames, config.views, of_frames=True, of_clips=True)
        for number, example in enumerate(batch.examples.tolist()):
            first, count = (10, 20) if example == 3 else (0, 36 + example)
            single = [frame_number(view[number].numpy()) - first for view in views[:3] if view is not None]
            assert single[0] == single[1] != single[2] and 0 <= min(single) <= max(single) < count
            assert single[0] * 3 // count != single[2] * 3 // count
            for clip in (views.query_clip, views.key_clip):
                assert clip is not None
                shown = np.array([[frame_number(frame.numpy()) - first for frame in part] for part in clip[number]])
                assert (np.diff(shown, axis=1) == np.diff(shown, axis=1)[0, 0]).all() or count == 20
                assert all(part * count // 3 <= low for part, low in enumerate(shown.min(1)))
                assert all(high < (part + 1) * count // 3 for part, high in enumerate(shown.max(1)))


def test_a_broken_video_is_replaced_and_named(examples: tuple[Example, ...]) -> None:
    with TrainingClips(ViewSource(examples, _config(clips_per_step=5, clips_per_share=5))) as clips:
        batch = clips.batch(0, 0)
    assert 4 not in batch.examples and set(clips.broken) == {"broken.mp4"}


@pytest.mark.slow
def test_views_are_the_same_from_any_number_of_workers(examples: tuple[Example, ...]) -> None:
    config = _config(views=PLAIN | {"flip": 0.5, "colour": 0.4, "grey": 0.2, "blur": 0.5, "least_area": 0.2})
    found = []
    for workers in (0, 2):
        with TrainingClips(ViewSource(examples, config), workers) as clips:
            clips.expect(0, [0, 1])
            batches = [clips.batch(step, share) for step in (0, 1) for share in (0, 1)]
            found.append((batches, clips.broken))
    for one, other in zip(found[0][0], found[1][0], strict=True):
        assert torch.equal(one.frames, other.frames) and torch.equal(one.examples, other.examples)
    assert set(found[0][1]) == set(found[1][1]) == {"broken.mp4"}
