"""Checkpoints of all kinds: recognised, loaded whole, or refused with a message."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from extractor import build_network, load_model
from extractor.models.checkpoints.checkpoint import read_checkpoint, save_checkpoint
from extractor.models.checkpoints.fitting import restore
from extractor.models.checkpoints.inspection import inspect_checkpoint
from extractor.models.checkpoints.names import canonical_name
from extractor.models.spec import describe_network
from schemas.config import Edges
from schemas.errors import WeightsError
from tests.extractor.models.checkpoint_factory import blocks_of, random_state, save_reference, save_tsm
from tests.extractor.models.reference import INVERTED, read_reference_checkpoint, run_clip

FLAT_FIRST = {"conv.0.0": "conv.0", "conv.0.1": "conv.1", "conv.1": "conv.3", "conv.2": "conv.4"}
FLAT_OTHER = {
    "conv.0.0": "conv.0",
    "conv.0.1": "conv.1",
    "conv.1.0": "conv.3",
    "conv.1.1": "conv.4",
    "conv.2": "conv.6",
    "conv.3": "conv.7",
}


def frames(length: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, length, 3, 48, 48, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_load_model_reads_the_reference_format(tmp_path: Path, prefix: str) -> None:
    path = save_reference(tmp_path / "any_name", random_state("resnet18"), prefix=prefix)
    network = load_model("msnet_resnet18", weights=path, num_segments=16)
    assert network.spec.weights_kind == "reference" and network.spec.num_classes == 11
    assert network.spec.num_segments == 16 and network.notes == ()
    assert len(network.spec.weights_sha256) == 64
    expected = run_clip(frames()[0].double().numpy(), read_reference_checkpoint(path), "resnet18")
    torch.testing.assert_close(
        network(frames()).logits[0].double(), torch.from_numpy(expected.logits), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("head", ["new_fc", "base_model.fc1", "base_model.fc"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_load_model_reads_every_form_of_classifier(tmp_path: Path, head: str, ndim: int) -> None:
    state = random_state("resnet18")
    weight, bias = state.pop("new_fc.weight"), state.pop("new_fc.bias")
    named = {f"base_model.{name}": tensor for name, tensor in state.items()}
    named[f"{head}.weight"] = weight.unsqueeze(-1) if ndim == 3 else weight
    named[f"{head}.bias"] = bias
    torch.save(named, tmp_path / "flat.pth")  # no nesting
    network = load_model("msnet_resnet18", weights=tmp_path / "flat.pth")
    assert torch.equal(network.classifier.weight, weight) and torch.equal(network.classifier.bias, bias)


def test_load_model_without_a_classifier_has_no_logits(tmp_path: Path) -> None:
    state = random_state("resnet18")
    del state["new_fc.weight"], state["new_fc.bias"]
    network = load_model("msnet_resnet18", weights=save_reference(tmp_path / "a.pth", state))
    assert network(frames()).logits is None and network.spec.num_classes is None


def test_load_model_reads_tsm_releases_and_says_what_they_lack(tmp_path: Path) -> None:
    state = random_state("resnet18", motion=False)
    path = save_tsm(tmp_path / "tsm.pth", state, set(blocks_of(state)))
    tsm = load_model("tsm_resnet18", weights=path)
    assert tsm.spec.weights_kind == "tsm" and tsm.notes == () and len(tsm.spec.shifted_blocks) == 8
    msnet = load_model("msnet_resnet18", weights=path, seed=4)
    assert len(msnet.notes) == 1 and "no MotionSqueeze module" in msnet.notes[0] and "\n" not in msnet.notes[0]
    converted = tmp_path / "own.safetensors"
    save_checkpoint(converted, restore(describe_network("msnet_resnet18"), read_checkpoint(path)), licence="CC0-1.0")
    assert load_model("msnet_resnet18", weights=converted).notes[0].startswith("tsm.pth (tsm) has no MotionSqueeze")
    again = load_model("msnet_resnet18", weights=path, seed=4)
    assert torch.equal(msnet(frames()).motion, again(frames()).motion)
    with pytest.raises(WeightsError, match="trained with the temporal shift"):
        load_model("tsn_resnet18", weights=path)


def test_load_model_shifts_the_blocks_that_the_checkpoint_names(tmp_path: Path) -> None:
    state = random_state("resnet101", motion=False)
    every_second = {block for block in blocks_of(state) if int(block.rpartition(".")[2]) % 2 == 0}
    path = save_tsm(tmp_path / "tsm.pth", state, every_second)
    network = load_model("tsm_resnet101", weights=path)
    assert set(network.spec.shifted_blocks) == every_second and network.spec.reach == (18, 18)
    weights = {name: tensor.double().numpy() for name, tensor in state.items()}
    expected = run_clip(frames()[0].double().numpy(), weights, "resnet101", shifted=every_second.__contains__)
    got = network(frames()).frame_features[0].double()
    error = (got - torch.from_numpy(expected.frame_features)).norm() / got.norm()
    assert error < 1e-5


@pytest.mark.parametrize("name", ["tsn_resnet18", "tsm_resnet18", "msnet_resnet18"])
def test_load_model_reads_imagenet_weights(tmp_path: Path, name: str) -> None:
    state = random_state("resnet18", motion=False, classes=1000)
    state["fc.weight"], state["fc.bias"] = state.pop("new_fc.weight"), state.pop("new_fc.bias")
    torch.save(state, tmp_path / "resnet18.pth")
    network = load_model(name, weights=tmp_path / "resnet18.pth")
    assert network.spec.weights_kind == "imagenet" and network(frames()).logits.shape == (1, 1000)
    assert len(network.notes) == (name != "tsn_resnet18")


@pytest.mark.parametrize("flat", [False, True])
def test_load_model_reads_both_spellings_of_mobilenet(tmp_path: Path, flat: bool) -> None:
    state = random_state("mobilenetv2", motion=False)
    weight, bias = state.pop("new_fc.weight"), state.pop("new_fc.bias")
    if flat:
        for i in range(1, len(INVERTED) + 1):
            spelled = FLAT_FIRST if i == 1 else FLAT_OTHER
            names = [name for name in state if name.startswith(f"features.{i}.conv.")]
            renamed = {}
            for name in names:
                layer, _, part = name.removeprefix(f"features.{i}.").rpartition(".")
                renamed[f"features.{i}.{spelled[layer]}.{part}"] = state.pop(name)
            state |= renamed
    torch.save({**state, "classifier.1.weight": weight, "classifier.1.bias": bias}, tmp_path / "mobilenet.pth")
    network = load_model("msnet_mobilenetv2", weights=tmp_path / "mobilenet.pth")
    assert network.spec.weights_kind == "imagenet"
    assert inspect_checkpoint(tmp_path / "mobilenet.pth").architecture == "msnet_mobilenetv2"
    assert torch.equal(network.classifier.weight, weight)


def test_save_checkpoint_keeps_everything(tmp_path: Path) -> None:
    path = save_reference(tmp_path / "reference.pth", random_state("resnet18"))
    network = restore(describe_network("msnet_resnet18", num_segments=16), read_checkpoint(path))
    own = tmp_path / "own.safetensors"
    save_checkpoint(own, network, licence="Apache-2.0", recipe={"steps": 10})
    report = inspect_checkpoint(own)
    assert (report.kind, report.architecture, report.num_classes) == ("msnet", "msnet_resnet18", 11)
    assert report.metadata["licence"] == "Apache-2.0" and json.loads(report.metadata["recipe"]) == {"steps": 10}
    assert json.loads(report.metadata["numbers"])["num_segments"] == 16
    assert report.fit is not None and report.fit.fits
    before, after = (load_model("msnet_resnet18", weights=w)(frames()) for w in (path, own))
    assert torch.equal(before.logits, after.logits)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_a_checkpoint_declares_the_edges_it_was_made_for(tmp_path: Path) -> None:
    """Ours say it; those of the reference, of TSM and of ImageNet, and ours of before, were made with zeros."""
    state, backbone = random_state("resnet18"), random_state("resnet18", motion=False)
    reference = save_reference(tmp_path / "reference.pth", state)
    paths = [reference, save_tsm(tmp_path / "tsm.pth", backbone, set(blocks_of(backbone)))]
    for path in paths:
        assert inspect_checkpoint(path).edges is Edges.ZEROS
        assert load_model("msnet_resnet18", weights=path).spec.edges is Edges.ZEROS
        assert load_model("msnet_resnet18", weights=path, edges=Edges.REPEAT).spec.edges is Edges.REPEAT
    for edges in Edges:
        own = tmp_path / f"{edges}.safetensors"
        network = restore(describe_network("msnet_resnet18"), read_checkpoint(reference), edges=edges)
        save_checkpoint(own, network, licence="CC0-1.0")
        assert inspect_checkpoint(own).edges is load_model("msnet_resnet18", weights=own).spec.edges is edges
    with safetensors.safe_open(own, "pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(own)
    numbers = json.loads(metadata["numbers"])
    for value, expected in ((None, Edges.ZEROS), ("mirror", None)):
        numbers.pop("edges", None)
        numbers |= {"edges": value} if value else {}
        safetensors.torch.save_file(tensors, own, metadata | {"numbers": json.dumps(numbers)})
        if expected:
            assert inspect_checkpoint(own).edges is expected
        else:
            with pytest.raises(WeightsError, match="which edges"):
                inspect_checkpoint(own)


def test_save_checkpoint_keeps_which_blocks_shift(tmp_path: Path) -> None:
    spec = describe_network("tsm_resnet18", shifted_blocks=["layer1.0", "layer3.1"])
    save_checkpoint(tmp_path / "own.safetensors", build_network(spec), licence="Apache-2.0")
    network = load_model("tsm_resnet18", weights=tmp_path / "own.safetensors")
    assert network.spec.shifted_blocks == ("layer1.0", "layer3.1")
    with pytest.raises(WeightsError, match="it is a tsm_resnet18"):
        load_model("tsn_resnet18", weights=tmp_path / "own.safetensors")


def test_ensemble_loads_two_checkpoints(tmp_path: Path) -> None:
    paths = [save_reference(tmp_path / f"{seed}.pth", random_state("resnet18", seed=seed)) for seed in (0, 1)]
    network = load_model("msnet_en_resnet18", weights=f"{paths[0]},{paths[1]}")
    clip = frames()
    for path, member in zip(paths, network.members, strict=True):
        assert torch.equal(load_model("msnet_resnet18", weights=path)(clip).logits, member(clip).logits)
    assert network.spec.weights_sha256.count(",") == 1 and network.spec.num_classes == 11
    with pytest.raises(WeightsError, match="expected 2 checkpoints for msnet_en_resnet18; got 1"):
        load_model("msnet_en_resnet18", weights=str(paths[0]))
    other = save_reference(tmp_path / "other.pth", random_state("resnet18", classes=5))
    with pytest.raises(WeightsError, match="the same classes; got 11 and 5"):
        load_model("msnet_en_resnet18", weights=(paths[0], other))


def test_misfit_lists_missing_unexpected_and_misshapen_names(tmp_path: Path) -> None:
    state = random_state("resnet18")
    del state["layer3.0.conv2.weight"]
    state["layer9.0.weight"] = torch.zeros(3)
    state["layer4.1.bn2.bias"] = torch.zeros(7)
    path = save_reference(tmp_path / "a.pth", state)
    with pytest.raises(WeightsError) as caught:
        load_model("msnet_resnet18", weights=path)
    message = str(caught.value)
    assert "1 missing (layer3.0.conv2.weight)" in message
    assert "1 unexpected (module.base_model.layer9.0.weight)" in message
    assert "1 wrongly shaped (module.base_model.layer4.1.bn2.bias (7,), expected (512,))" in message
    report = inspect_checkpoint(path, "msnet_resnet18")
    assert report.fit is not None and not report.fit.fits
    assert report.fit.missing == ("layer3.0.conv2.weight",)


def test_misfit_message_is_bounded(tmp_path: Path) -> None:
    path = save_reference(tmp_path / "a.pth", random_state("resnet50"))
    with pytest.raises(WeightsError, match=r"and [0-9]+ more") as caught:
        load_model("msnet_resnet18", weights=path)
    assert len(str(caught.value)) < 6000


def test_reference_without_its_motion_weights_is_refused(tmp_path: Path) -> None:
    path = save_reference(tmp_path / "a.pth", random_state("resnet18", motion=False))
    with pytest.raises(WeightsError, match=r"missing \(chnl_reduction"):
        load_model("msnet_resnet18", weights=path)
    assert load_model("tsm_resnet18", weights=path).spec.weights_kind == "reference"
    with pytest.raises(WeightsError, match="unexpected"):
        load_model("tsm_resnet18", weights=save_reference(tmp_path / "b.pth", random_state("resnet18")))


def test_number_of_classes_must_be_the_checkpoints(tmp_path: Path) -> None:
    path = save_reference(tmp_path / "a.pth", random_state("resnet18"))
    assert load_model("msnet_resnet18", weights=path, num_classes=11).spec.num_classes == 11
    with pytest.raises(WeightsError, match="expected 12 classes; got 11"):
        load_model("msnet_resnet18", weights=path, num_classes=12)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, poison: float) -> None:
    state = random_state("resnet18")
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = poison
    with pytest.raises(
        WeightsError,
        match=r"expected finite floating-point weights.* got others in 1 \(module.base_model.layer1.0.conv1.weight\)",
    ):
        load_model("msnet_resnet18", weights=save_reference(tmp_path / "a.pth", state))


def test_canonical_names_cover_every_tensor_once() -> None:
    for name, backbone in (("msnet_resnet50", "resnet50"), ("msnet_mobilenetv2", "mobilenetv2")):
        ours = [canonical_name(key) for key in build_network(name, num_classes=2).state_dict()]
        known = [key for key in ours if key is not None]
        expected = {key.replace("new_fc", "fc") for key in random_state(backbone) if "num_batches" not in key}
        assert len(known) == len(set(known)) and set(known) == expected


class _Bomb:
    """A pickle that writes a file when it is loaded unsafely."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.target), "w")


@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
def test_hostile_pickles_are_refused_and_nothing_runs(tmp_path: Path, form: str) -> None:
    target, path = tmp_path / "ran", tmp_path / "hostile.pth"
    content = {"state_dict": {"conv1.weight": _Bomb(target)}}
    if form == "plain":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(WeightsError, match="can be read safely"):
        load_model("msnet_resnet18", weights=path)
    assert not target.exists()
    pickle.loads(pickle.dumps(_Bomb(target))).close()  # the bomb does work
    assert target.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a checkpoint"),
        (b"just some text, no weights at all", "not a checkpoint"),
        (b"PK\x03\x04 and then nothing", "truncated or damaged"),
        (b"\xff" * 8 + b"{", "not a checkpoint"),
        ((1 << 30).to_bytes(8, "little") + b'{"a": 1}' + b" " * 64, "not a checkpoint"),
        ((64).to_bytes(8, "little") + b"{" + b"x" * 80, "damaged safetensors"),
    ],
)
def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "weights"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        inspect_checkpoint(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        load_model("tsn_resnet18", weights=tmp_path / "nowhere.pth")
    with pytest.raises(WeightsError, match="not a file"):
        load_model("tsn_resnet18", weights=tmp_path)


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = save_reference(tmp_path / "a.pth", random_state("resnet18"))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="truncated or damaged"):
        load_model("msnet_resnet18", weights=path)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}, {"state_dict": {"layer1.0.conv1.weight": "text"}}])
def test_pickles_without_weights_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="expected a state_dict"):
        inspect_checkpoint(tmp_path / "a.pth")


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"encoder.weight": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="expected weights of a network of this family"):
        inspect_checkpoint(tmp_path / "a.safetensors")


def test_tensors_that_claim_more_than_the_file_has_are_refused(tmp_path: Path) -> None:
    state = random_state("resnet18")
    state["new_fc.weight"] = torch.zeros(1, 1).expand(1_000_000, 1_000_000)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="not a plain dense tensor"):
        inspect_checkpoint(tmp_path / "a.pth")


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    (tmp_path / "bomb.pth").write_bytes(buffer.getvalue())
    with pytest.raises(WeightsError, match="claim more bytes"):
        inspect_checkpoint(tmp_path / "bomb.pth")


def test_inspect_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    path = save_reference(tmp_path / "a.pth", random_state("resnet34"))
    report = inspect_checkpoint(path)
    assert (report.kind, report.architecture, report.num_classes) == ("reference", "msnet_resnet34", 11)
    assert report.has_motion and report.fit is not None and report.fit.fits and report.shifted_blocks is None
    unfit = inspect_checkpoint(path, "msnet_resnet18").fit
    assert unfit is not None and not unfit.fits and unfit.unexpected and "unexpected" in unfit.describe()
