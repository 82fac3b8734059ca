"""The benchmark of learning without labels: its films, its labelled pictures, and its intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.contrast import films
from benchmarks.contrast.looks import SHAPE_FAMILIES, shapes, textures
from benchmarks.contrast.probes import Split, accuracy, lead, probe
from extractor.models.msnet import build_network
from extractor.video.frames import read_frames
from schemas.records import FileJob, Item
from training.world.draw import Draw
from training.world.looks.atlas import Atlas
from training.world.looks.patterns import FAMILIES


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "_TEXTURES", 8)
    monkeypatch.setattr(films, "_SHAPES", 8)


@pytest.mark.usefixtures("small")
def test_films_get_lighter_and_do_not_depend_on_their_number(tmp_path: Path) -> None:
    films.write_films(tmp_path / "one", 1)
    films.write_films(tmp_path / "two", 2)
    first, again = ((tmp_path / name / "0000.mp4") for name in ("one", "two"))
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != (tmp_path / "two/0001.mp4").read_bytes()
    pixels = read_frames(FileJob(str(first), (Item("v"),)), rate_hz=films.FPS, size=64).pixels
    assert len(pixels) == films.FRAMES
    light = pixels.astype(float).mean((1, 2, 3))
    assert light[-6:].mean() > 1.4 * light[:6].mean()
    films.write_films(tmp_path / "one", 1)  # what exists is kept


def test_a_film_shows_other_parts_of_its_ground() -> None:
    generator = torch.Generator().manual_seed(0)
    ground = Atlas(torch.rand(64, 3, 128, 128, generator=generator), periodic=True)
    outlines = Atlas(torch.ones(64, 1, 96, 96), periodic=False)  # nothing is inside
    frames = films.film(ground, outlines, Draw(3))
    assert frames.shape == (films.FRAMES, 3, *films.SIZE) and 0 <= float(frames.min()) <= float(frames.max()) <= 1
    change = (frames[1:] / frames[1:].mean() - frames[:-1] / frames[:-1].mean()).abs().mean((1, 2, 3))
    assert float(change.min()) > 0.02


def test_labelled_pictures_have_all_families_alike() -> None:
    for found, families in ((textures(2, 32, 0), len(FAMILIES)), (shapes(2, 32, 0), len(SHAPE_FAMILIES))):
        assert found.pixels.shape == (2 * families, 2, 32, 32, 3) and found.pixels.dtype == torch.uint8
        assert found.labels.tolist() == [family for family in range(families) for _ in range(2)]
    assert torch.equal(shapes(2, 32, 0).pixels, shapes(2, 32, 0).pixels)
    assert not torch.equal(shapes(2, 32, 0).pixels, shapes(2, 32, 1).pixels)


def test_probe_finds_what_features_tell() -> None:
    random = np.random.default_rng(0)
    labels = torch.tensor([0, 1] * 12)
    light = torch.from_numpy(random.integers(0, 60, (24, 2, 32, 32, 3), dtype=np.uint8)) + 160 * labels.byte().view(
        -1, 1, 1, 1, 1
    )
    network = build_network("tsn_resnet18", seed=0)
    right = probe(network, Split(light[:16], labels[:16], light[16:], labels[16:]))
    assert right.tolist() == [True] * 8


def test_leads_are_paired() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(400, generator=generator) < 0.6
    other = one.clone()
    other[:40] = False
    ahead, interval = lead(one, other)
    assert ahead == pytest.approx(float(one[:40].sum()) / 400) and 0 < interval.low < ahead < interval.high
    mean, of_one = accuracy(one)
    assert of_one.low < mean < of_one.high and interval.high - interval.low < of_one.high - of_one.low
    assert lead(one, one)[1].low == lead(one, one)[1].high == 0
