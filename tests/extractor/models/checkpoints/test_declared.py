from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from extractor.models.checkpoints.bundled import bundled_checkpoint, bundled_networks
from extractor.models.checkpoints.checkpoint import save_checkpoint
from extractor.models.checkpoints.declared import Declared, read_declared
from extractor.models.checkpoints.inspection import inspect_checkpoint
from extractor.models.msnet import build_network
from extractor.models.spec import describe_network
from schemas.config import Edges
from schemas.errors import WeightsError


@pytest.mark.parametrize("name", bundled_networks())
def test_a_bundled_checkpoint_fits_its_network_and_declares_what_its_inspection_finds(name: str) -> None:
    path = bundled_checkpoint(name)
    report = inspect_checkpoint(path, name)
    assert report.fit.fits
    assert read_declared(path) == Declared(report.sha256, report.num_classes, report.edges)


def test_classes_and_edges_are_those_of_the_file(tmp_path: Path) -> None:
    spec = replace(describe_network("tsm_resnet18", num_classes=7), edges=Edges.ZEROS)
    save_checkpoint(tmp_path / "a.safetensors", build_network(spec, seed=0), licence="none")
    found = read_declared(tmp_path / "a.safetensors")
    assert (found.num_classes, found.edges) == (7, Edges.ZEROS)


def test_what_is_no_file_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(WeightsError, match=r"expected one of our own files of weights at .*; got No such file"):
        read_declared(path)
    path.write_bytes(bytes(100))
    with pytest.raises(WeightsError, match=r"expected one of our own files of weights at .*Copy or install it again"):
        read_declared(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="expected format version 1"):
        read_declared(path)
