from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from extractor.store import FeatureStore
from jobs.pages.page import PageReport, write_page
from jobs.pages.pictures import PictureMaker
from jobs.stores.import_features import import_features
from jobs.stores.oddities import FLAGS
from jobs.stores.run_times import RunTimes, write_run_times
from schemas.errors import StorageError, UsageError
from schemas.layout import StorePaths
from schemas.tensors import NetworkShape
from tests.extractor.store.making import SHAPE, make_store
from tests.jobs.conftest import snapshot
from tests.jobs.pages.making import NASTY, data_folder, page_of, read_script, store_with_videos
from tests.jobs.stores.importing.making import save_i3d

TIMES = RunTimes("2026-01-01T00:00:00+00:00", 9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 2, 1, 16)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> StorePaths:
    paths = store_with_videos(tmp_path_factory.mktemp("one"), ("a.mp4", "b.mp4", "bad.mp4"))
    (paths.root / "logs").mkdir()
    write_run_times(paths.logs / "20260101T000000-1.log", TIMES)
    return paths


@pytest.fixture(scope="module")
def page(store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> PageReport:
    folder = tmp_path_factory.mktemp("page")
    (folder / "found.json").write_text(json.dumps({"a.mp4": [0.5, 0.1], "b.mp4": [], "elsewhere.mp4": [1]}))
    truth = {"duration_seconds": 0.8, "boundaries_seconds": [[0.2], [0.3, 0.6]]}
    annotations = {"format": "gebd-annotations", "version": 1, "videos": {"a": truth, "z": truth}}
    (folder / "truth.json").write_text(json.dumps(annotations))
    return page_of(store, folder / "page", boundaries=folder / "found.json", annotations=folder / "truth.json")


def image(uri: str) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_index_names_existing_files_and_forbids_all_others(page: PageReport) -> None:
    text = page.index.read_text()
    for name in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert name == "data:," or (page.index.parent / name).is_file()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy.startswith("default-src 'none'; script-src 'self' file:;") and "http" not in policy
    assert "http:" not in text and "https:" not in text and not re.search(r"\son\w+\s*=", text)
    own = b"".join((data_folder(page) / name).read_bytes() for name in ("main.js", "page.css", "store.js"))
    assert b"http:" not in own and b"https:" not in own and b"innerHTML" not in own and b"eval(" not in own


def test_overview_has_a_row_for_every_video(page: PageReport) -> None:
    data = read_script(page, "store")
    assert data["columns"]["id"] == ["a.mp4", "b.mp4", "bad.mp4"] and data["done"] == 2
    assert [data["statuses"][n] for n in data["columns"]["status"]] == ["done", "done", "corrupt"]
    assert data["messages"] == {"2": "bad.mp4 is broken"}
    assert data["totals"]["videos"] == 3 and data["totals"]["clips"] == 4 and data["totals"]["seconds"] == 1.6
    assert data["columns"]["boundaries"] == [2, 0, None]
    assert data["columns"]["seconds"] == [0.8, 0.8, None]
    assert data["runs"] == [{name: getattr(TIMES, name) for name in TIMES.__slots__}]
    assert data["notes"][0] == "1 of 2 annotated videos have no features here."
    assert data["notes"][1] == "1 of 3 videos with boundaries have no features here."
    assert page.videos == 3 and page.pictured == 2 and page.without_frames == 0
    assert page.bytes == sum(path.stat().st_size for path in page.index.parent.rglob("*") if path.is_file())


def test_curves_are_those_of_the_stored_tensors(store: StorePaths, page: PageReport) -> None:
    features = FeatureStore(store.root)
    found = features.video("a.mp4")
    curves, other = read_script(page, "curves-0")
    lengths = np.linalg.norm(found["displacement"].astype(np.float64), axis=1)
    weight = found["confidence"][:, 0].astype(np.float64)
    energy = (lengths * weight).sum((1, 2)) / np.maximum(weight.sum((1, 2)), 1e-9) / 0.1
    times, values = curves["motion"]
    # Two clips of four frames: three pairs each, none between the clips.
    np.testing.assert_allclose(times, [0.05, 0.15, 0.25, 0.45, 0.55, 0.65])
    np.testing.assert_allclose(values, energy, rtol=1e-3, atol=1e-3)
    unit = found["frame"].astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    change = 1 - (unit[1:] * unit[:-1]).sum(axis=1)
    assert set(np.round(change, 4)) >= set(curves["change"][1])
    assert [(row["name"], row["times"]) for row in curves["marks"]] == [
        ("predicted", [0.1, 0.5]),
        ("rater 1", [0.2]),
        ("rater 2", [0.3, 0.6]),
    ]
    assert other["marks"] == [{"name": "predicted", "times": []}]
    data = read_script(page, "store")
    assert data["columns"]["motion"][0] == pytest.approx(energy.mean(), abs=1e-3)


def test_pictures_are_the_frames_at_the_stored_times(store: StorePaths, page: PageReport) -> None:
    pictures = read_script(page, "pictures-0")
    assert pictures["times"] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7] and pictures["missing"] is None
    sheet = image(pictures["frames"])
    assert sheet.shape == (160, 1600, 3)
    shown = [sheet[:, n * 160 : (n + 1) * 160].astype(int) for n in range(8)]
    assert all(np.abs(one - other).mean() > 5 for one, other in pairwise(shown))  # they move
    assert np.abs(shown[0] - 255).mean() > 5 and sheet[:, 8 * 160 + 8 :].min() > 240  # the rest of the line is white
    cells = image(pictures["displacement"])
    assert pictures["cells"] == [5, 11] and cells.shape == (5, 110, 3) == image(pictures["confidence"]).shape
    assert pictures["pairs"] == [True, True, True, False] * 2
    assert (cells[:, 33:44] == 255).all() and not (cells[:, :11] == 255).all()  # a clip's last frame begins no pair
    assert pictures["aspect"] == 1.2 and pictures["largest_px"] >= 1


def test_displacement_is_coloured_as_on_the_wheel(store: StorePaths, page: PageReport) -> None:
    """A displacement of d px stands d / edge of the way from the middle of the wheel to its edge."""
    pictures, wheel = read_script(page, "pictures-0"), image(read_script(page, "store")["legends"]["wheel"])
    features = FeatureStore(store.root)
    first = features.manifest.iloc[0]
    scale = 8 * np.array([first["scale_x"], first["scale_y"]]).reshape(2, 1, 1)
    moved = features.video("a.mp4")["displacement"][0].astype(np.float64) * scale / pictures["largest_px"]
    cells = image(pictures["displacement"])[:5, :11].astype(int)
    middle = (len(wheel) - 1) / 2
    length = np.hypot(*moved)
    inside = (length > 0.05) & (length < 0.95)
    assert inside.sum() > 10
    x, y = np.round(middle * (1 + moved[:, inside])).astype(int)
    assert np.abs(cells[inside] - wheel[y, x, :3]).max() <= 20
    saturation = 1 - cells.min(axis=-1) / 255
    np.testing.assert_allclose(saturation[inside], np.sqrt(length[inside]), atol=0.01)
    assert (saturation[length > 1] == 1).all()


def test_neither_a_cut_nor_a_fast_moment_makes_small_motion_white() -> None:
    """16 pairs: a cut, five fast ones, and ten in which all moves by a tenth of that; some cells match nothing."""
    rng = np.random.default_rng(0)
    lengths = np.repeat([0.0, 30.0, 3.0], [1, 5, 10])
    moved = np.stack((np.tile(lengths[:, None, None], (1, 28, 28)), np.zeros((16, 28, 28))), axis=1)
    moved[0] = rng.uniform(-200, 200, (2, 28, 28))
    moved[:, :, rng.random((28, 28)) < 0.03] = 200.0
    tracks = SimpleNamespace(maps=lambda number, pairs: (moved[pairs], np.ones((len(pairs), 28, 28))))
    maker = PictureMaker(tracks, pd.DataFrame(), Path())  # type: ignore[arg-type]
    found = maker._maps(0, np.arange(16), np.ones(2))
    assert found["largest_px"] == 30.0
    saturation = 1 - image(found["displacement"]).min(axis=-1).reshape(2, 28, 10, 28) / 255
    shown = [float(np.median(saturation[n // 10, :, n % 10])) for n in range(16)]
    np.testing.assert_allclose(shown[1:], [1.0] * 5 + [0.1**0.5] * 10, atol=0.01)


def test_flags_are_handed_over_with_what_they_mean(
    store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FeatureStore.of_videos

    def of_videos(self: FeatureStore, columns: Sequence[str]) -> pd.DataFrame:
        found = original(self, columns)
        return found.assign(flags=["codec:gif,long", ""], times_made_up=[False, True]) if "flags" in found else found

    monkeypatch.setattr(FeatureStore, "of_videos", of_videos)
    data = read_script(page_of(store, tmp_path / "page", pictures=0), "store")
    assert dict(zip(data["flags"], data["meanings"], strict=True)) == {
        "times made up": "",  # says it itself
        "codec:gif": FLAGS["codec"],
        "long": FLAGS["long"],
    }


def test_names_are_escaped_and_never_become_paths(tmp_path: Path) -> None:
    store = make_store(tmp_path / "<b>store", [[*NASTY, "../bad.mp4"]])
    page = page_of(store, tmp_path / "page")
    text = page.index.read_text()
    assert "<b>" not in text and "&lt;b&gt;store" in text
    shown = read_script(page, "store")["columns"]["id"]
    assert shown[:2] == list(NASTY[:2]) and shown[2] == r"right\u202eto left.mp4" and shown[3] == r"two\nlines.mp4"
    for path in page.index.parent.rglob("*.js"):
        if path.name != "plotly.min.js":
            assert path.read_bytes().isascii()
        assert re.fullmatch(r"(store|main|plotly\.min|curves-\d+|pictures-\d+)\.js", path.name)


def test_missing_videos_leave_maps_and_the_reason(tmp_path: Path) -> None:
    page = page_of(make_store(tmp_path / "store"), tmp_path / "page", pictures=1)
    assert (page.videos, page.pictured, page.without_frames) == (5, 1, 1)
    data = read_script(page, "store")
    (number,) = data["pictured"]
    pictures = read_script(page, f"pictures-{number}")
    assert pictures["frames"] is None and "it is missing. Give --videos" in pictures["missing"]
    assert pictures["displacement"].startswith("data:image/png;base64,")
    assert data["notes"] == [
        "Frames and maps are shown of 1 of 4 videos, spread evenly; msnet report --html --pictures N shows those of N.",
        "1 video could not be decoded again, and has no frames here: opening one says why.",
    ]
    assert data["runs"] == []


@pytest.mark.parametrize(
    ("options", "curves", "said"),
    [
        ({"outputs": ("clip", "frame")}, ("change",), "holds no displacement"),
        ({"outputs": ("displacement", "confidence", "motion"), "motion_form": "2"}, ("motion", "confidence"), ""),
        ({"sampling": "segments", "clips": 2, "rate_hz": None, "hop": None}, ("motion", "confidence", "change"), ""),
        (
            {"model": "msnet_en_resnet18", "shape": NetworkShape(16, 16, 4, (5, 11), members=2)},
            ("motion", "confidence", "change"),
            "first network",
        ),
    ],
)
def test_stores_of_other_kinds(options: dict[str, Any], curves: tuple[str, ...], said: str, tmp_path: Path) -> None:
    try:
        store = make_store(tmp_path / "store", [["a.mp4"]], **options)
    except ValueError as error:
        pytest.fail(str(error))
    page = page_of(store, tmp_path / "page")
    data = read_script(page, "store")
    assert {"motion", "confidence", "change"} & data["columns"].keys() == set(curves)
    assert said in " ".join(data["notes"])
    assert ("displacement" in read_script(page, "pictures-0")) == ("motion" in curves)


def test_second_page_replaces_the_first_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path / "store", [["a.mp4"]])
    first = page_of(store, tmp_path / "page")
    before = snapshot(tmp_path / "page")
    monkeypatch.setattr("jobs.pages.page._plotly", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        page_of(store, tmp_path / "page")
    assert snapshot(tmp_path / "page") == before
    monkeypatch.setattr("jobs.pages.page._plotly", lambda: None)  # fails at the very end
    with pytest.raises(TypeError):
        page_of(store, tmp_path / "page")
    assert snapshot(tmp_path / "page") == before
    monkeypatch.setattr("jobs.pages.page._plotly", lambda: b"")
    left_over = tmp_path / "page" / "data-0123456789ab"
    left_over.mkdir()
    (left_over / "made-by-msnet-features").touch()  # a stop left it
    old = data_folder_of(first)
    page_of(store, tmp_path / "page")
    assert not old.exists() and not left_over.exists() and data_folder(first).is_dir()


def data_folder_of(page: PageReport) -> Path:
    found = re.search(r'data-folder="([^"]+)"', page.index.read_text())
    assert found is not None
    return page.index.parent / found[1]


def test_other_folders_are_refused_and_left_alone(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", [["a.mp4"]])
    for name, content in (("notes.txt", "mine"), ("index.html", "<html>mine</html>"), ("data-0123456789ab/x", "mine")):
        folder = tmp_path / name.replace("/", "-") / "page"
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(content)
        before = snapshot(folder)
        with pytest.raises(StorageError, match="Give another --html"):
            page_of(store, folder)
        assert snapshot(folder) == before
    for folder in (store.root, store.root / "page"):
        with pytest.raises(UsageError, match="outside the store"):
            page_of(store, folder)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        page_of(store, tmp_path / "file")


def test_plotly_is_asked_for_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("jobs.pages.page.files", missing)
    with pytest.raises(UsageError, match=r"pip install 'msnet-features\[plot\]'"):
        write_page(tmp_path, tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_longest_curve_keeps_its_peaks(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", [["a.mp4"]], clips=300, shape=SHAPE)
    curves = read_script(page_of(store, tmp_path / "page"), "curves-0")[0]
    times, values = curves["change"]
    assert len(times) == len(values) == 400 and times == sorted(times)
    features = FeatureStore(store.root).video("a.mp4", ["frame"])["frame"].astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    # make_store lets the clock run on over all clips, so that neighbouring frames of all clips count but for gaps
    assert max(values) == pytest.approx(1 - (features[1:] * features[:-1]).sum(1).min(), abs=0.2)


def test_store_without_any_features_has_a_page(tmp_path: Path) -> None:
    page = page_of(make_store(tmp_path / "store", [["bad.mp4", "bad2.mp4"]]), tmp_path / "page")
    data = read_script(page, "store")
    assert (page.videos, page.pictured, data["done"], data["totals"]["failed"]) == (2, 0, 0, 2)


def test_imported_features_have_curves_and_no_frames(tmp_path: Path) -> None:
    save_i3d(tmp_path / "i3d", "a", 5)
    import_features(tmp_path / "i3d", tmp_path / "store")
    page = write_page(tmp_path / "store", tmp_path / "page")
    assert (page.videos, page.pictured) == (1, 0)
    data = read_script(page, "store")
    assert data["notes"][0] == "These features were imported, so there are no frames to show."
    assert (
        data["columns"]["size"] == [""]
        and data["decoders"] == {"video_features": 1}
        and ", imported, " in data["configuration"]
    )
    assert len(read_script(page, "curves-0")[0]["change"][0]) == 4
