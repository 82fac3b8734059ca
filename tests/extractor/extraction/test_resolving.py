from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
import torch

from extractor.extraction.request import Request
from extractor.extraction.resolving import resolve
from extractor.models.checkpoints.bundled import bundled_checkpoint
from extractor.models.checkpoints.checkpoint import save_checkpoint
from extractor.models.msnet import build_network
from extractor.models.spec import NETWORK_NAMES, member_frames
from schemas.config import Edges, Sampling
from schemas.errors import ConfigurationError, MSNetError, WeightsError
from schemas.tensors import NetworkShape
from tests.extractor.models.checkpoint_factory import random_state, save_reference


def asked(**fields: object) -> Request:
    return Request(**({"weights": "random"} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_every_network_resolves_with_defaults(name: str) -> None:
    ensemble = name.startswith("msnet_en_")
    found = resolve(asked(model=name, sampling=Sampling.SEGMENTS if ensemble else Sampling.WINDOWS))
    motion = name.startswith("msnet")
    assert member_frames(found.config) == ((8, 16) if ensemble else (8,))
    assert found.config.num_frames == (None if ensemble else 8)
    assert (found.config.weights, found.config.seed, found.weights) == ("random", 0, "random")
    assert ("motion" in found.config.outputs) is motion
    assert (found.shape.motion_channels > 0) is motion
    assert "logits" not in found.config.outputs
    assert found.shape.cells == (28, 28)
    assert found.shape.members == (2 if ensemble else 1)


def test_defaults_of_the_samplings() -> None:
    windows = resolve(asked()).config
    assert (windows.num_frames, windows.rate_hz, windows.hop, windows.clips) == (8, 10.0, 8, None)
    segments = resolve(asked(sampling=Sampling.SEGMENTS)).config
    assert (segments.num_frames, segments.rate_hz, segments.hop, segments.clips) == (8, None, None, 1)
    dense = resolve(asked(sampling=Sampling.DENSE)).config
    assert (dense.num_frames, dense.rate_hz, dense.hop, dense.clips) == (None, 10.0, None, None)


def test_edges_are_those_the_checkpoint_declares_unless_given(tmp_path: Path) -> None:
    assert resolve(asked()).config.edges is Edges.REPEAT
    assert resolve(asked(weights=None)).config.edges is Edges.REPEAT
    assert resolve(asked(weights=None, edges=Edges.ZEROS)).config.edges is Edges.ZEROS
    path = save_reference(tmp_path / "reference.pth", random_state("resnet18"))
    assert resolve(asked(weights=str(path))).config.edges is Edges.ZEROS
    with pytest.raises(ConfigurationError, match=r"expected --edges only .* temporal shift; got tsn_resnet18, which"):
        resolve(asked(model="tsn_resnet18", edges=Edges.ZEROS))
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, build_network("msnet_resnet18", num_classes=11), licence="CC0-1.0")
    both = {"model": "msnet_en_resnet18", "sampling": Sampling.SEGMENTS, "weights": f"{path},{other}"}
    with pytest.raises(ConfigurationError, match=r"different edges \(zeros and repeat\)\. Choose with --edges"):
        resolve(asked(**both))
    assert resolve(asked(**both, edges=Edges.ZEROS)).config.edges is Edges.ZEROS


def test_what_was_asked_for_is_kept() -> None:
    found = resolve(asked(num_frames=16, rate_hz=25.0, hop=4, size=64, seed=7, outputs=("motion:4", "clip"))).config
    assert (found.num_frames, found.rate_hz, found.hop, found.size, found.seed) == (16, 25.0, 4, 64, 7)
    assert (found.outputs, found.motion_form) == (("clip", "motion"), "4")
    assert resolve(asked(rate_hz=0)).config.rate_hz is None
    assert resolve(asked(size=64)).shape == NetworkShape(512, 512, 128, (8, 8), 0, 1)


def test_equal_requests_have_equal_digests_however_they_are_spelled() -> None:
    spelled = asked(
        num_frames=8, rate_hz=10.0, hop=8, outputs=("motion", "clip", "frame", "confidence", "displacement")
    )
    assert resolve(asked()).config.digest() == resolve(spelled).config.digest()
    assert resolve(asked()).config.digest() != resolve(asked(seed=1)).config.digest()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "msnet_resnet19"}, "expected the name of a network; got 'msnet_resnet19'"),
        ({"model": ""}, "expected the name of a network; got ''"),
        ({"num_frames": 1}, "--num-frames: expected"),
        ({"num_frames": 0}, "--num-frames: expected"),
        ({"num_frames": 5000}, "--num-frames: expected"),
        ({"hop": 0}, "hop"),
        ({"sampling": Sampling.SEGMENTS, "clips": 0}, "clips"),
        ({"rate_hz": -1.0}, "expected a rate in frames per second, or 0"),
        ({"rate_hz": float("nan")}, "expected a rate in frames per second, or 0"),
        ({"rate_hz": float("inf")}, "expected a rate in frames per second, or 0"),
        ({"rate_hz": 1e9}, "--rate-hz: expected at most 1000"),
        ({"size": 8}, "size"),
        ({"outputs": ()}, "expected at least one tensor"),
        ({"outputs": ("clips",)}, "got 'clips'"),
        ({"outputs": ("clip:4",)}, "got 'clip:4'"),
        ({"outputs": ("motion:0",)}, "motion"),
        ({"outputs": ("motion:big",)}, "motion"),
        ({"outputs": ("motion:29",)}, "at most 28 cells"),
        ({"outputs": ("clip", "logits")}, "has no classifier"),
        ({"model": "tsm_resnet18", "outputs": ("motion",)}, "no MotionSqueeze module"),
        ({"model": "msnet_en_resnet18"}, "--sampling segments"),
        ({"model": "msnet_en_resnet18", "sampling": Sampling.SEGMENTS, "num_frames": 8}, "leave --num-frames out"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(fields: dict, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        resolve(asked(**fields))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("sampling", "meaningless"),
    [
        (Sampling.WINDOWS, {"clips": 2}),
        (Sampling.SEGMENTS, {"hop": 4, "rate_hz": 5.0}),
        (Sampling.DENSE, {"hop": 4, "clips": 2, "num_frames": 8}),
    ],
)
def test_options_without_meaning_for_a_sampling_are_refused(sampling: Sampling, meaningless: dict) -> None:
    for name, value in meaningless.items():
        with pytest.raises(ConfigurationError, match=f"expected --{name.replace('_', '-')} only .*; got {sampling}"):
            resolve(asked(sampling=sampling, **{name: value}))
    for name, value in {"num_frames": 6, "rate_hz": 5.0, "hop": 4, "clips": 2}.items():
        if name not in meaningless:
            assert getattr(resolve(asked(sampling=sampling, **{name: value})).config, name) == value


def test_seed_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected --seed only with --weights random"):
        resolve(asked(weights=str(write_checkpoint(tmp_path / "a.pth", "msnet_resnet18")), seed=0))


@pytest.mark.parametrize("weights", [None, "", "bundled"])
def test_weights_are_the_bundled_ones_where_there_are_some(weights: str | None) -> None:
    resolved = resolve(asked(weights=weights))
    assert resolved.weights == "bundled"  # a path would differ on another machine
    assert resolved.config.weights == sha256(bundled_checkpoint("msnet_resnet18").read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match=r"none comes with this package.*random"):
        resolve(asked(model="msnet_resnet50", weights=weights))


def write_checkpoint(path: Path, name: str, classes: int | None = 5) -> Path:
    torch.save({"state_dict": build_network(name, num_classes=classes).state_dict()}, path)
    return path


def test_missing_or_unreadable_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("not a checkpoint")
    for path in (tmp_path / "missing.pth", tmp_path / "text.pth", tmp_path):
        with pytest.raises(MSNetError) as caught:
            resolve(asked(weights=str(path)))
        assert str(path) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_ensemble_wants_a_checkpoint_for_each_member() -> None:
    segments = {"model": "msnet_en_resnet18", "sampling": Sampling.SEGMENTS}
    with pytest.raises(WeightsError, match="expected 2 checkpoints, A,B, for msnet_en_resnet18; got 1"):
        resolve(asked(weights="a.pth", **segments))
    with pytest.raises(WeightsError, match="expected 2 checkpoints, A,B, for msnet_en_resnet18; got 3"):
        resolve(asked(weights="a.pth,b.pth,c.pth", **segments))


def test_member_frames_are_those_of_the_configuration() -> None:
    assert member_frames(resolve(asked(num_frames=16)).config) == (16,)
    assert member_frames(resolve(asked(sampling=Sampling.DENSE)).config) == (8,)
