"""The video that the limit of decoding is measured on, and the shape of what is measured."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from benchmarks.decoding.limit import decode_costs, write_scene
from extractor.video.containers.preflight import inspect_video
from extractor.video.decoders.sparse import leaves_frames_out
from schemas.config import DecoderPolicy


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.mp4", (96, 128), seconds=1)


def test_scene_is_textured_h264_with_b_frames_that_moves(scene: Path) -> None:
    assert leaves_frames_out(inspect_video(scene))
    with av.open(str(scene)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 30
    assert {"B", "P"} <= {av.video.frame.PictureType(frame.pict_type).name for frame in frames}
    pixels = np.stack([frame.to_ndarray(format="gray") for frame in frames]).astype(float)
    assert pixels.std(axis=(1, 2)).min() > 20
    assert np.abs(np.diff(pixels, axis=0)).mean(axis=(1, 2)).min() > 1


def test_ratios_are_one_for_each_policy_and_leave_the_threads_alone(scene: Path) -> None:
    threads = torch.get_num_threads()
    costs = decode_costs(scene, [DecoderPolicy.PYAV, DecoderPolicy.SPARSE], 1)
    assert len(costs) == 2
    assert all(cost.ratio > 0 and cost.ms_a_frame > 0 for cost in costs)
    assert torch.get_num_threads() == threads
