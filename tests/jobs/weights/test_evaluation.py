"""`msnet weights evaluate`: every part runs, JSON and tables agree, and invalid requests fail at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from extractor.models.checkpoints.checkpoint import save_checkpoint
from extractor.models.msnet import build_network
from extractor.video.encoding import encode_video
from jobs.weights.defaults import Sizes
from jobs.weights.evaluation import AGAINST, NETWORK, PIXELS, SPREAD, Report, WeightsEvaluation, evaluate_weights
from schemas.errors import ConfigurationError, UsageError
from tests.jobs.conftest import Call
from training.evaluation.matching import ZERO
from training.evaluation.procedural import DIS
from training.world import WorldConfig

SIZES = Sizes(matching_clips=6, clips=4, videos=2, real_seconds=1.0, size_px=32)


@pytest.fixture
def call(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Runs `msnet weights evaluate` in a folder of its own; exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    return partial(call, "weights", "evaluate")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with checkpoints and real videos: one that moves by a cell and a half, and one that is not a video."""
    folder = tmp_path_factory.mktemp("evaluation")
    for seed, name in enumerate(("msnet_resnet18", "tsn_resnet18")):
        save_checkpoint(folder / f"{name}.safetensors", build_network(name, seed=seed), licence="CC0-1.0", recipe={})
    (folder / "videos").mkdir()
    noise = torch.rand(1, 1, 12, 60, generator=torch.Generator().manual_seed(0))
    texture = (torch.nn.functional.interpolate(noise, scale_factor=16, mode="bicubic").clamp(0, 1) * 255).byte()[0, 0]
    frames = [np.repeat(texture[:64, x : x + 64, None].numpy(), 3, 2) for x in range(300, 0, -24)]
    encode_video(folder / "videos" / "moving.mp4", frames, fps=10)
    (folder / "videos" / "broken.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_textures() -> Iterator[None]:
    """Worlds start quickly."""
    with pytest.MonkeyPatch.context() as patch:
        small = partial(WorldConfig, textures=6, texture_px=32, shapes=8)
        patch.setattr("jobs.weights.evaluation.WorldConfig", small)
        patch.setattr("training.evaluation.probe._MOST_ITERATIONS", 8)  # 81 fits to the end took two thirds of the time
        yield


@pytest.fixture(scope="module")
def found(place: Path, few_textures: None) -> WeightsEvaluation:
    return evaluate_weights(
        place / "msnet_resnet18.safetensors",
        against=place / "tsn_resnet18.safetensors",
        real=place / "videos",
        sizes=SIZES,
    )


def test_evaluation_has_every_part(found: WeightsEvaluation) -> None:
    assert found.network.model == "msnet_resnet18" and len(found.network.sha256 or "") == 64
    assert found.against is not None and found.against.model == "tsn_resnet18"
    assert found.procedural is not None and found.procedural.clips == 6
    assert list(found.motion) == [NETWORK, AGAINST, PIXELS]
    assert list(found.boundaries.scores) == [NETWORK, AGAINST, PIXELS, SPREAD]
    scores = found.boundaries.scores
    assert scores[SPREAD].boundaries_per_video == scores[NETWORK].boundaries_per_video
    assert found.boundaries.videos == 2 and 2 <= found.boundaries.boundaries <= 12
    assert found.real is not None and found.real.together is not None
    assert list(found.real.videos) == ["moving.mp4"] and list(found.real.left_out) == ["broken.mp4"]
    assert found.real.together.moving > 0
    assert found.real.together.moving_zero_cells == pytest.approx(1.5, abs=0.2)


@pytest.mark.slow
def test_evaluation_is_the_same_again_with_less_beside_it(
    place: Path, found: WeightsEvaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.evaluation.dis.find_spec", lambda name: None)
    again = evaluate_weights(place / "msnet_resnet18.safetensors", sizes=SIZES)
    assert found.procedural is not None and again.procedural is not None
    assert list(found.procedural.errors) == [NETWORK, DIS, ZERO] and list(again.procedural.errors) == [NETWORK, ZERO]
    assert again.procedural.errors[NETWORK] == found.procedural.errors[NETWORK]
    assert again.procedural.confidence == found.procedural.confidence
    assert again.boundaries.scores[NETWORK] == found.boundaries.scores[NETWORK]
    assert again.motion[NETWORK] == found.motion[NETWORK]
    assert again.against is None and again.real is None and not again.dis


@pytest.mark.slow
def test_network_without_motion_is_judged_by_its_features(place: Path) -> None:
    found = evaluate_weights(place / "tsn_resnet18.safetensors", sizes=SIZES)
    assert found.procedural is None
    assert list(found.boundaries.scores) == [NETWORK, PIXELS, SPREAD]


def test_command_prints_what_the_json_has(
    call: Call, found: WeightsEvaluation, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def evaluated(weights: Path, *, report: Report, **options: Any) -> WeightsEvaluation:
        asked.update(options, weights=weights)
        report("matching", 1, 2)
        report("matching", 2, 2)
        report("boundaries", 1, 1)
        return found

    monkeypatch.setattr("jobs.weights.evaluation.evaluate_weights", evaluated)
    out = tmp_path / "found.json"
    code, text, err = call(
        *("a.safetensors", "--against", "b.safetensors", "--out", out, "--real", place / "videos"),
        *("--matching-clips", 6, "--probe-clips", 4, "--probe-videos", 2, "--size", 32, "--device", "cpu"),
    )
    assert code == 2, "a real video was left out"
    assert asked.pop("sizes") == Sizes(matching_clips=6, clips=4, videos=2, size_px=32)
    paths = {"weights": Path("a.safetensors"), "against": Path("b.safetensors"), "real": place / "videos"}
    assert asked == {**paths, "model": None, "device": "cpu"}
    content = json.loads(out.read_text())
    assert max(len(line) for line in text.splitlines() if str(place) not in line and str(tmp_path) not in line) <= 80
    inside = content["procedural"]["errors"]["network"]
    line = next(line for line in text.splitlines() if line.split()[:1] == ["msnet_resnet18"])
    interval = inside["mean_interval"]
    assert line.split()[1:3] == [f"{inside['mean_cells']:.3f}", f"{interval['low']:.2f}..{interval['high']:.2f}"]
    assert line.split()[3] == f"{inside['zero_share']:.2f}" and f"{inside['cells']} cells" in text
    assert f"{content['boundaries']['scores']['network']['f1']:.3f}" in text
    assert f"{content['motion']['against']['camera']['accuracy']:.3f}" in text
    assert "left out: broken.mp4:" in text and f"written to {out}" in text
    assert content["definitions"]["real_consistent_px"] == 1.0 and content["versions"]["torch"]
    assert content["sizes"] == {"matching_clips": 6, "clips": 4, "videos": 2, "real_seconds": 1.0, "size_px": 32}
    assert err.splitlines() == ["evaluating: matching", "evaluating: boundaries"]


def test_command_takes_the_twin_that_lies_in_weights(
    call: Call, found: WeightsEvaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path | None] = []

    def evaluated(weights: Path, *, against: Path | None, **_: Any) -> WeightsEvaluation:
        asked.append(against)
        return found

    monkeypatch.setattr("jobs.weights.evaluation.evaluate_weights", evaluated)
    twin = Path("weights/tsn_resnet18.safetensors")
    call("a.safetensors")
    (tmp_path / twin).parent.mkdir()
    (tmp_path / twin).touch()
    call("a.safetensors")
    call("a.safetensors", "--against", "b.safetensors")
    assert asked == [None, twin, Path("b.safetensors")]
    assert (tmp_path / "a.evaluation.json").is_file()


def test_command_without_opencv_says_how_to_get_it(
    call: Call, found: WeightsEvaluation, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.evaluation.dis.find_spec", lambda name: None)
    code, text, err = call(place / "msnet_resnet18.safetensors", "--real", place / "videos")
    assert (code, text) == (1, "") and len(err.splitlines()) == 1 and "msnet-features[evaluate]" in err
    without = replace(found, dis=False, real=None)
    monkeypatch.setattr("jobs.weights.evaluation.evaluate_weights", lambda *_, **__: without)
    code, text, _ = call("a.safetensors")
    assert code == 0
    assert "DIS optical flow is left out" in text and "'msnet-features[evaluate]'" in text


def test_what_does_not_fit_is_refused_before_anything_is_computed(place: Path, call: Call, tmp_path: Path) -> None:
    def report(*_: object) -> None:
        pytest.fail("something was computed")

    tsn = place / "tsn_resnet18.safetensors"
    with pytest.raises(ConfigurationError, match=r"with displacement, .*got tsn_resnet18\. Leave --real out"):
        evaluate_weights(tsn, real=place / "videos", sizes=SIZES, report=report)
    with pytest.raises(ConfigurationError, match="that 8 divides; got 100"):
        evaluate_weights(tsn, sizes=Sizes(size_px=100), report=report)
    with pytest.raises(UsageError, match="does not exist"):
        evaluate_weights(place / "msnet_resnet18.safetensors", real=place / "none", sizes=SIZES, report=report)
    code, text, err = call(tsn, "--out", tmp_path / "nowhere" / "a.json")
    assert (code, text) == (1, "") and "Make it first" in err
