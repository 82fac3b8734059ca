"""Moments of a video: the right frame and the right pair, anywhere in the video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from extractor.models.loading import load_model
from extractor.models.msnet import MSNet
from extractor.video import list_videos
from extractor.video.frames import read_frames
from jobs.cli.main import main
from jobs.weights.picture import see_moments
from schemas.errors import ConfigurationError, InventoryError
from tests.videos import write_video
from training.evaluation.passes import run_sequence

SIZE = 64


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 seconds at 20 frames a second."""
    path = tmp_path_factory.mktemp("pictures") / "a.mp4"
    write_video(path, frames=80, size=(64, 96), fps=20)
    return path


def network(name: str) -> MSNet:
    loaded = load_model(name, weights="random")
    assert isinstance(loaded, MSNet)
    return loaded


def test_see_moments_are_those_of_the_whole_video(video: Path) -> None:
    whole = read_frames(list_videos(video).jobs[0], size=SIZE)
    output = run_sequence(network("msnet_resnet18"), torch.from_numpy(whole.pixels))
    assert output.displacement is not None and output.confidence is not None
    found = see_moments(network("msnet_resnet18"), video, (0.0, 0.34, 2.0, 3.8), size=SIZE)
    for moment, frame in zip(found, (0, 3, 20, 38), strict=True):
        near = np.abs(moment.displacement - output.displacement[frame].numpy()).max()
        if moment.title != "a.mp4, 0.3 s":  # sampled at other instants than the whole
            np.testing.assert_array_equal(moment.frame, whole.pixels[frame])
            assert near < 1e-2
            np.testing.assert_allclose(moment.confidence, output.confidence[frame].numpy(), atol=1e-4)
        assert moment.interval_seconds == pytest.approx(0.1, abs=1e-6)
        assert moment.grid == whole.grid
    assert [moment.title for moment in found] == [f"a.mp4, {at} s" for at in ("0.0", "0.3", "2.0", "3.8")]


def test_see_moments_refuses_what_cannot_be_shown(video: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"with displacement; got tsn_resnet18\. Choose an msnet_ network"):
        see_moments(network("tsn_resnet18"), video, (1.0,), size=SIZE)
    for at in (3.95, 7.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match=r"where .*a\.mp4 has none\. Give another --at"):
            see_moments(network("msnet_resnet18"), video, (at,), size=SIZE)
    table = video.parent / "two.csv"
    table.write_text("path,video_id\na.mp4,one\nb.mp4,two\n")
    for no_video in (video.parent, video.parent / "missing.mp4", table):
        with pytest.raises(InventoryError, match="expected a single video file; got"):
            see_moments(network("msnet_resnet18"), no_video, (1.0,), size=SIZE)


def test_picture_command_draws(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.png"
    options = ("--weights", "random", "--model", "msnet_resnet18", "--size", "64", "--device", "cpu")
    with pytest.raises(SystemExit) as ended:
        main(["weights", "picture", str(video), *options, "--at", "1", "--at", "2.5", "--out", str(out)])
    assert ended.value.code == 0 and out.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.split()[-1] == str(out)


@pytest.mark.parametrize(("option", "value"), [("--rate-hz", 0), ("--rate-hz", -3), ("--size", 7), ("--size", 2000)])
def test_picture_command_refuses_rates_and_sizes(
    option: str, value: int, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["weights", "picture", str(video), "--at", "1", "--out", str(tmp_path / "a.png"), option, str(value)])
    assert ended.value.code == 1 and option in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
