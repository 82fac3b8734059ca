"""Names in place of paths: what they mean, and that no file passes for another."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch

from extractor.extraction.request import Request
from extractor.extraction.resolving import resolve
from extractor.models.checkpoints.bundled import checkpoint_path
from extractor.models.checkpoints.checkpoint import read_checkpoint
from extractor.models.checkpoints.inspection import inspect_checkpoint
from extractor.models.loading import load_model
from extractor.models.public import catalogue
from extractor.models.public.cache import is_fetched, is_public_name, named_checkpoint, weights_folder
from extractor.models.public.catalogue import PUBLIC_WEIGHTS, PublicWeights, public_weights
from extractor.models.public.fetching import fetch_weights
from extractor.models.spec import NETWORK_NAMES
from jobs.weights.loading import load_weights
from schemas.errors import WeightsError
from tests.extractor.models.checkpoint_factory import random_state
from tests.extractor.models.public.server import NAME, FileServer, serving, weights_of


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An ImageNet MobileNetV2 as torchvision publishes it, with random weights."""
    state = random_state("mobilenetv2", motion=False, classes=1000)
    named = {name.replace("new_fc.", "classifier.1."): tensor for name, tensor in state.items()}
    path = tmp_path_factory.mktemp("published") / "net-abc.pth"
    torch.save(named, path)
    return path.read_bytes()


@pytest.fixture
def known(published: bytes, monkeypatch: pytest.MonkeyPatch) -> PublicWeights:
    """These weights have a name."""
    weights = weights_of(published)
    monkeypatch.setattr(catalogue, "PUBLIC_WEIGHTS", {NAME: weights})
    return weights


@pytest.mark.parametrize("weights", PUBLIC_WEIGHTS.values(), ids=str)
def test_catalogue_entries_are_whole(weights: PublicWeights) -> None:
    assert re.fullmatch(r"https://download\.pytorch\.org/models/[\w-]+\.pth", weights.url)
    assert re.fullmatch("[0-9a-f]{64}", weights.sha256)
    assert weights.sha256.startswith(weights.file_name.removesuffix(".pth").rpartition("-")[2])
    assert 10e6 < weights.size_bytes < weights.most_bytes < 200e6
    assert weights.network in NETWORK_NAMES and weights.licence and weights.about
    assert is_public_name(weights.name)


def test_catalogue_has_no_hash_and_no_file_name_twice() -> None:
    entries = PUBLIC_WEIGHTS.values()
    assert len({weights.sha256 for weights in entries}) == len({weights.file_name for weights in entries}) == 8


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"MSNET_CACHE": "/a"}, "/a/weights"),
        ({"MSNET_CACHE": "", "XDG_CACHE_HOME": "/b"}, "/b/msnet-features/weights"),
        ({"XDG_CACHE_HOME": "b", "HOME": "/c"}, "/c/.cache/msnet-features/weights"),
    ],
)
def test_weights_folder_follows_the_environment(
    variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MSNET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert weights_folder() == Path(folder)


def test_weights_folder_without_a_home_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MSNET_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError))
    with pytest.raises(WeightsError, match="Name one in MSNET_CACHE"):
        weights_folder()
    assert not is_fetched(PUBLIC_WEIGHTS["imagenet_resnet18_v1"])


def test_a_name_that_was_not_fetched_says_how_to_and_asks_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *arguments: pytest.fail("the network was used"))
    for load in (
        lambda name: load_model("tsn_resnet18", weights=name),
        inspect_checkpoint,
        lambda name: load_weights(name, None, "cpu"),
        lambda name: resolve(Request(model="tsn_resnet18", weights=name)),
    ):
        with pytest.raises(
            WeightsError, match=r"^expected .*; there is no .*\. Run `msnet weights fetch imagenet_resn"
        ):
            load("imagenet_resnet18_v1")


def test_a_name_that_is_not_known_lists_those_that_are() -> None:
    with pytest.raises(WeightsError, match=r"got 'imagenet_resnet50'\. Choose one of imagenet_resnet18_v1, "):
        read_checkpoint(Path("imagenet_resnet50"))
    with pytest.raises(WeightsError, match="expected the name of public weights"):
        public_weights("../../etc/passwd\x1b")


@pytest.mark.parametrize("path", ["imagenet_resnet18_v1.pth", "a/imagenet_resnet18_v1", "imagenet_" + "x" * 300, "tsm"])
def test_a_path_is_no_name(path: str) -> None:
    assert not is_public_name(path) and named_checkpoint(Path(path)) == Path(path)


def test_an_existing_file_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("imagenet_resnet18_v1").write_bytes(b"mine")
    assert named_checkpoint(Path("imagenet_resnet18_v1")) == Path("imagenet_resnet18_v1")


def test_a_fetched_name_is_taken_wherever_weights_are(known: PublicWeights, published: bytes, cache: Path) -> None:
    with serving(FileServer(published)) as server:
        path = fetch_weights(known, url=server.address)
    report = inspect_checkpoint(NAME)
    assert (report.path, report.kind, report.sha256) == (path, "imagenet", known.sha256) and is_fetched(known)
    assert load_model("msnet_mobilenetv2", weights=NAME).spec.weights_sha256 == known.sha256
    loaded, _ = load_weights(checkpoint_path(NAME, "msnet_resnet18"), None, "cpu")
    assert (loaded.model, loaded.weights, loaded.sha256) == ("msnet_mobilenetv2", NAME, known.sha256)
    resolved = resolve(Request(model="msnet_mobilenetv2", weights=NAME))
    assert (resolved.weights, resolved.config.weights) == (NAME, known.sha256)  # a store names no folder of this user


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("hash_matches", [False, True])
def test_a_pickle_that_runs_code_does_not(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hash_matches: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    cache.mkdir(parents=True)
    torch.save({"layer1.0.conv1.weight": Bomb()}, cache / "net-abc.pth")
    expected = (cache / "net-abc.pth").read_bytes() if hash_matches else b"another file of about this size" * 40
    monkeypatch.setattr(catalogue, "PUBLIC_WEIGHTS", {NAME: weights_of(expected)})
    said = "can be read safely" if hash_matches else "with the SHA-256"
    with pytest.raises(WeightsError, match=said):
        load_model("tsn_resnet18", weights=NAME)
    assert not Path("exploded").exists()


@pytest.mark.parametrize("obstacle", ["a folder", "a pipe", "too large", "a link to nowhere"])
def test_what_is_no_file_of_weights_is_said(known: PublicWeights, cache: Path, obstacle: str) -> None:
    cache.mkdir(parents=True)
    path = cache / known.file_name
    if obstacle == "a folder":
        path.mkdir()
    elif obstacle == "a pipe":
        os.mkfifo(path)
    elif obstacle == "too large":
        with path.open("wb") as file:
            file.truncate(10**12)
    else:
        path.symlink_to("nowhere")
    with pytest.raises(WeightsError, match=r"got (something that is not a file|1,000,000,000,000 bytes, which)"):
        read_checkpoint(Path(NAME))
