"""Clips of labelled videos: the same however they are asked for, each video once an epoch, broken ones replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from schemas.errors import FailureClass, InventoryError
from schemas.records import Failure
from tests.videos import write_images, write_video
from training.clips.config import ClipSampling, ClipSettings
from training.clips.loader import TrainingClips, evaluation_clips
from training.clips.records import Example
from training.clips.sources import ClipBatch, TrainingSource

SETTINGS = ClipSettings(size_px=32)
PLAIN = ClipSettings(size_px=96, scales=(1.0,), flip=0)
"""Whole frames of the test videos' height: their numbers can be read."""


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Example, ...]:
    """Seven videos, the last one a part of the first one's file; labels are their numbers."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [
        write_video(folder / f"{number}.mp4", frames=20 + number, seed=number, options={"g": "8"})
        for number in range(6)
    ]
    found = [Example(f"v{number}", str(path), label=number) for number, path in enumerate(paths)]
    return (*found, Example("part", str(paths[0]), 0.2, 0.6, label=6))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Example, ...]:
    """A text, a missing file and a video of one frame."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "text.mp4").write_text("not a video")
    write_video(folder / "one.mp4", frames=1)
    return tuple(Example(name, str(folder / f"{name}.mp4"), label=9) for name in ("text", "gone", "one"))


def clips(
    examples: Sequence[Example],
    *,
    shares: int = 1,
    workers: int = 0,
    seed: int = 5,
    clips_per_step: int = 6,
    settings: ClipSettings = SETTINGS,
    unflippable: frozenset[int] = frozenset(),
    mirrored: Mapping[int, int] | None = None,
    broken: Mapping[str, Failure] | None = None,
) -> TrainingClips[ClipBatch]:
    source = TrainingSource(
        examples,
        settings,
        num_frames=4,
        seed=seed,
        clips_per_step=clips_per_step,
        shares=shares,
        unflippable=unflippable,
        mirrored=mirrored,
    )
    return TrainingClips(source, workers, broken)


def steps(source: TrainingClips[ClipBatch], numbers: range, shares: int) -> list[ClipBatch]:
    """Whole steps, joined from their shares."""
    found = []
    for step in numbers:
        parts = [source.batch(step, share) for share in range(shares)]
        found.append(ClipBatch(*(torch.cat(tensors) for tensors in zip(*parts, strict=True))))
    return found


def assert_same(one: Sequence[ClipBatch], other: Sequence[ClipBatch]) -> None:
    for mine, theirs in zip(one, other, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_a_batch_holds_frames_labels_and_numbers_of_examples(examples: tuple[Example, ...]) -> None:
    with clips(examples) as source:
        batch = source.batch(0, 0)
    assert batch.frames.shape == (6, 4, 32, 32, 3)
    assert batch.frames.dtype == torch.uint8
    assert batch.labels.dtype == batch.examples.dtype == torch.int64
    assert torch.equal(batch.labels, batch.examples)
    assert len(set(batch.examples.tolist())) == 6


@pytest.mark.parametrize("shares", [2, 3, 6])
def test_any_division_into_shares_makes_the_same_steps(examples: tuple[Example, ...], shares: int) -> None:
    with clips(examples) as whole, clips(examples, shares=shares) as divided:
        divided.expect(0, range(shares))
        assert_same(steps(whole, range(2), 1), steps(divided, range(2), shares))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_workers_makes_the_same_steps(
    examples: tuple[Example, ...], damaged: tuple[Example, ...], workers: int
) -> None:
    videos = (*examples, *damaged)
    with clips(videos, shares=3) as here, clips(videos, shares=3, workers=workers) as there:
        there.expect(0, range(3))
        assert_same(steps(here, range(5), 3), steps(there, range(5), 3))
        assert {name: failure.failure for name, failure in here.broken.items()} == {
            name: failure.failure for name, failure in there.broken.items()
        }
        assert_same([here.batch(40, 1), here.batch(2, 0)], [there.batch(40, 1), there.batch(2, 0)])  # out of order


def test_batches_out_of_order_are_those_of_their_numbers(examples: tuple[Example, ...]) -> None:
    with clips(examples, shares=2) as source, clips(examples, shares=2) as other:
        in_order = {(step, share): source.batch(step, share) for step in range(3) for share in range(2)}
        for key in ((2, 1), (0, 0), (2, 0), (0, 1), (1, 1)):
            assert_same([in_order[key]], [other.batch(*key)])


def test_expecting_what_is_expected_keeps_what_is_prepared(examples: tuple[Example, ...]) -> None:
    with clips(examples, shares=2) as source:
        source.expect(0, [0, 1])
        results = source._results
        source.expect(0, [0, 1])
        source.batch(0, 0)
        source.batch(0, 1)
        source.expect(1, [0, 1])
        assert source._results is results
        source.expect(1, [1])  # another process's share
        assert source._results is not results
        source.batch(1, 1)
        source.batch(2, 1)


def test_each_epoch_takes_each_video_once_in_another_order(examples: tuple[Example, ...]) -> None:
    with clips(examples[:6], clips_per_step=2) as source:
        taken = [source.batch(step, 0).examples.tolist() for step in range(9)]
    epochs = [list(chain(*taken[first : first + 3])) for first in (0, 3, 6)]
    assert [sorted(epoch) for epoch in epochs] == [[0, 1, 2, 3, 4, 5]] * 3
    assert epochs[0] != epochs[1]


def test_a_step_larger_than_the_list_takes_all_videos_again(examples: tuple[Example, ...]) -> None:
    with clips(examples[:3], clips_per_step=8) as source:
        taken = source.batch(0, 0).examples.tolist()
        assert sorted(Counter(taken).values()) == [2, 3, 3]
        assert sorted(taken[:3]) == sorted(taken[3:6]) == [0, 1, 2]
        assert source.batch(1, 0).examples.tolist() != taken


def test_other_seeds_steps_and_places_make_other_clips(examples: tuple[Example, ...]) -> None:
    with clips(examples[:1], clips_per_step=2) as source, clips(examples[:1], clips_per_step=2, seed=6) as other:
        first, second = source.batch(0, 0), source.batch(1, 0)
        different = [*first.frames, *second.frames, *other.batch(0, 0).frames]
    assert len({bytes(clip.numpy()) for clip in different}) == 6


def test_clips_show_frames_of_their_parts(examples: tuple[Example, ...]) -> None:
    with clips(examples, settings=PLAIN, clips_per_step=7) as source:
        batch = source.batch(0, 0)
    for frames, number in zip(batch.frames, batch.examples.tolist(), strict=True):
        # the part from 0.2 to 0.6 s, at 25 frames a second, has 10 frames
        first, length = (5, 10) if number == 6 else (0, 20 + number)
        truth = whole_frames(examples[number])
        for part, frame in enumerate(frames):
            low, high = (first + length * edge // 4 for edge in (part, part + 1))
            assert any(np.array_equal(frame.numpy(), shown) for at in range(low, high) for shown in truth[at])


def whole_frames(example: Example) -> list[list[np.ndarray]]:
    """Squares of every frame of an example's file at the three places along its longer side, and between."""
    import av

    with av.open(example.path) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [[frame[:, left : left + 96] for left in (0, 8, 16, 24, 32)] for frame in frames]


def test_broken_videos_are_replaced_and_named(examples: tuple[Example, ...], damaged: tuple[Example, ...]) -> None:
    with clips((*examples[:4], *damaged), clips_per_step=7) as source:
        batch = source.batch(0, 0)
        again = source.batch(0, 0)
    assert set(batch.examples.tolist()) <= {0, 1, 2, 3}
    assert {name: failure.failure for name, failure in source.broken.items()} == {
        "text": FailureClass.CANNOT_OPEN,
        "gone": FailureClass.MISSING,
        "one": FailureClass.TOO_SHORT,
    }
    assert_same([batch], [again])  # knowing them changes nothing
    with clips((*examples[:4], *damaged), clips_per_step=7, broken=source.broken) as resumed:
        assert_same([batch], [resumed.batch(0, 0)])


def test_only_broken_videos_end_the_training(damaged: tuple[Example, ...]) -> None:
    with clips(damaged, clips_per_step=2) as source:
        for _ in range(2):
            with pytest.raises(InventoryError, match="got 50 broken ones in a row, the last one with: "):
                source.batch(0, 0)


def test_no_videos_and_shares_of_unequal_size_are_refused(examples: tuple[Example, ...]) -> None:
    with pytest.raises(InventoryError, match="expected videos to take clips from; got none"):
        clips(())
    with pytest.raises(ValueError, match="expected clips_per_step to be a multiple of shares; got 6 and 4"):
        clips(examples, shares=4)


def test_classes_that_name_a_side_are_not_flipped_or_become_their_mirror_image(
    examples: tuple[Example, ...], tmp_path: Path
) -> None:
    always = SETTINGS.model_copy(update={"flip": 1.0})
    never = SETTINGS.model_copy(update={"flip": 0.0})
    videos = [Example(str(label), examples[0].path, label=label) for label in (0, 1, 2)] + [examples[5]]
    with (
        clips(videos, settings=always, clips_per_step=4, unflippable=frozenset({0}), mirrored={1: 2, 2: 1}) as flipped,
        clips(videos, settings=never, clips_per_step=4) as plain,
    ):
        mirrors, originals = flipped.batch(0, 0), plain.batch(0, 0)
    for flip, clip, label, number in zip(
        mirrors.frames, originals.frames, mirrors.labels.tolist(), mirrors.examples.tolist(), strict=True
    ):
        assert label == {0: 0, 1: 2, 2: 1, 3: 5}[number]
        assert torch.equal(flip, clip if number == 0 else clip.flip(2))


def test_short_videos_and_folders_of_images_make_clips(tmp_path: Path) -> None:
    two = Example("two", str(write_video(tmp_path / "two.mp4", frames=2)), label=0)
    images = Example("images", str(write_images(tmp_path / "images", frames=9)), fps=25.0)
    for sampling in ClipSampling:
        settings = PLAIN.model_copy(update={"sampling": sampling})
        with clips((two, images), settings=settings, clips_per_step=2) as source:
            batch = source.batch(0, 0)
            assert not source.broken
        assert sorted(batch.labels.tolist()) == [-1, 0]


def evaluated(examples: Sequence[Example], **options: int) -> Iterator[tuple[int, Tensor | Failure]]:
    return evaluation_clips(examples, PLAIN, num_frames=4, **options)


def test_views_of_evaluation_are_those_of_each_clip_and_crop_in_order(examples: tuple[Example, ...]) -> None:
    video, part = examples[4], examples[6]
    ((_, views), (_, of_part)) = evaluated((video, part), clips=2, crops=3)
    assert isinstance(views, Tensor)
    assert isinstance(of_part, Tensor)
    assert views.shape == of_part.shape == (6, 4, 96, 96, 3)
    truth = whole_frames(video)
    expected = [[1, 7, 13, 19], [4, 10, 16, 22]]  # 24 frames: quarters of 6, a quarter and three quarters into each
    for clip in range(2):
        for crop, place in enumerate((0, 2, 4)):
            for shown, number in zip(views[3 * clip + crop], expected[clip], strict=True):
                assert np.array_equal(shown.numpy(), truth[number][place])
    assert np.array_equal(of_part[0, 0].numpy(), whole_frames(part)[5][0])  # of 10 from frame 5 on, the first


def test_evaluation_names_broken_videos_in_their_places(
    examples: tuple[Example, ...], damaged: tuple[Example, ...]
) -> None:
    found = list(evaluated((examples[0], *damaged, examples[1])))
    assert [number for number, _ in found] == [0, 1, 2, 3, 4]
    assert [views.failure.value if isinstance(views, Failure) else tuple(views.shape) for _, views in found] == [
        (1, 4, 96, 96, 3),
        "cannot_open",
        "missing",
        "too_short",
        (1, 4, 96, 96, 3),
    ]


@pytest.mark.slow
def test_evaluation_is_the_same_with_workers(examples: tuple[Example, ...], damaged: tuple[Example, ...]) -> None:
    videos = (*examples, *damaged)
    here, there = (list(evaluated(videos, clips=2, crops=3, workers=workers)) for workers in (0, 2))
    for (number, mine), (other, theirs) in zip(here, there, strict=True):
        assert number == other
        same = torch.equal(mine, theirs) if isinstance(mine, Tensor) and isinstance(theirs, Tensor) else mine == theirs
        assert same
