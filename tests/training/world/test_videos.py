"""Procedural videos in files, read back with the reference decoder."""

import json

import av
import numpy as np
import pytest

from extractor.video.encoding import available_codec, encode_video
from gebd import load_annotations
from training.world.videos import TRUTH_NAME, read_demo_videos, write_demo_videos


def decoded(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "videos"
    return folder, write_demo_videos(folder, 2, seed=3, height=48, width=64, fps=10, seconds=(2.0, 3.0))


def test_write_demo_videos_writes_videos_with_their_truth(demo):
    folder, videos = demo
    truth = json.loads((folder / TRUTH_NAME).read_text())
    assert sorted(path.name for path in folder.iterdir()) == [TRUTH_NAME, "demo_00.mp4", "demo_01.mp4"]
    for video, (name, entry) in zip(videos, truth["videos"].items(), strict=True):
        frames = decoded(video.path)
        assert len(frames) == video.frames == entry["num_frames"]
        assert frames[0].shape == (48, 64, 3)
        assert 2.0 <= video.duration_seconds <= 3.0
        assert (name, entry["fps"]) == (video.path.name, 10)
        assert len(video.boundaries) >= 2
        assert entry["boundaries_frames"] == [[b.frame for b in video.boundaries]]
        assert entry["boundaries_seconds"][0] == pytest.approx([b.frame / 10 for b in video.boundaries])
        assert set(entry["boundaries_kinds"][0]) <= {"direction", "speed", "actor", "camera", "cut", "fade"}


def test_the_truth_is_an_annotation_file(demo):
    folder, videos = demo
    annotations = load_annotations(folder / TRUTH_NAME)
    assert {name: found.rater_seconds for name, found in annotations.items()} == {
        video.path.name: (tuple(b.seconds for b in video.boundaries),) for video in videos
    }


def test_read_demo_videos_returns_what_was_written(demo, tmp_path):
    folder, written = demo
    assert read_demo_videos(folder) == written
    assert read_demo_videos(tmp_path) == []


def test_write_demo_videos_repeats_itself(demo, tmp_path):
    folder, _ = demo
    write_demo_videos(str(tmp_path), 1, seed=3, height=48, width=64, fps=10, seconds=(2.0, 3.0))
    assert (tmp_path / "demo_00.mp4").read_bytes() == (folder / "demo_00.mp4").read_bytes()


def test_write_demo_videos_refuses_no_videos(tmp_path):
    with pytest.raises(ValueError, match="count = 0"):
        write_demo_videos(tmp_path, 0)


def gradient(count):
    for index in range(count):
        frame = np.zeros((32, 48, 3), np.uint8)
        frame[:, :, 0] = np.linspace(0, 200, 48)
        frame[:, :, 1] = 10 * index
        yield frame


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "no_such_codec"])
def test_encode_video_keeps_every_frame(tmp_path, codec):
    path = tmp_path / "video.mp4"
    assert encode_video(path, gradient(12), fps=25, codec=codec) == 12
    frames = decoded(path)
    assert len(frames) == 12
    worst = max(np.abs(a.astype(int) - b.astype(int)).mean() for a, b in zip(frames, gradient(12), strict=True))
    assert worst < 6


def test_available_codec_falls_back():
    assert available_codec("no_such_codec") == "mpeg4"


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one frame"),
        ([np.zeros((31, 48, 3), np.uint8)], "even H and W"),
        ([np.zeros((32, 48, 3), np.uint8), np.zeros((32, 50, 3), np.uint8)], "frame 1 is uint8"),
        ([np.zeros((32, 48, 3), np.float32)], "frame 0 is float32"),
    ],
)
def test_encode_video_refuses_other_frames_and_leaves_nothing(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        encode_video(tmp_path / "video.mp4", frames, fps=25)
    assert list(tmp_path.iterdir()) == []
