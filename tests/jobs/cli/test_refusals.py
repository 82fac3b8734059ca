"""Refusals of the command line: one sentence, nothing is damaged, nothing starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from extractor.models.msnet import build_network
from extractor.store import Lease, write_inventory, write_run
from jobs.run.extraction import resume
from schemas.errors import FailureClass
from schemas.layout import StorePaths
from tests.extractor.store.making import make_inventory, make_run, make_store
from tests.jobs.conftest import Call, refused, snapshot

RANDOM = ("--weights", "random", "--device", "cpu")


@pytest.mark.parametrize("command", ["extract", "plan"])
def test_missing_and_empty_folders_are_refused(command: str, call: Call, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "store") if command == "extract" else ()
    (tmp_path / "empty").mkdir()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "notes.doc").touch()
    for name, words in (("missing", "does not exist"), ("empty", "holds no videos"), ("others", "holds no videos")):
        line = refused(call, tmp_path, command, tmp_path / name, *out, *RANDOM)
        assert str(tmp_path / name) in line and words in line and ": give " in line


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("no_column.csv", b"file,name\na.mp4,b\n"),
        ("binary.csv", bytes(range(256))),
        ("empty.csv", b""),
        ("header.csv", b"path\n"),
        ("broken.parquet", b"PAR1 but no more"),
        ("order.csv", b"path,start_seconds,end_seconds\na.mp4,5,2\n"),
        ("words.csv", b"path,start_seconds\na.mp4,soon\n"),
        ("twice.csv", b"path,video_id\na.mp4,x\nb.mp4,x\n"),
        ("empty.txt", b"\n\n"),
        ("list.json", b"[]"),
    ],
)
def test_unusable_tables_are_refused(name: str, content: bytes, call: Call, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    line = refused(call, tmp_path, "extract", tmp_path / name, "--out", tmp_path / "store", *RANDOM)
    assert name in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "msnet_resnet19"), "the name of a network; got 'msnet_resnet19'"),
        (("--outputs", "clips"), "got 'clips'"),
        (("--outputs", ""), "at least one tensor"),
        (("--outputs", "motion:40"), "at most 28 cells"),
        (("--model", "tsn_resnet18", "--outputs", "motion"), "no MotionSqueeze module"),
        (("--outputs", "logits"), "no classifier"),
        (("--model", "msnet_en_resnet18"), "--sampling segments"),
        (("--num-frames", "0"), "--num-frames: expected"),
        (("--hop", "0"), "--hop: expected at least 1; got 0"),
        (("--rate-hz", "-5"), "a rate in frames per second, or 0 for every frame; got -5. Give --rate-hz"),
        (("--rate-hz", "nan"), "expected a rate in frames per second, or 0 for every frame; got nan"),
        (
            ("--sampling", "dense", "--num-frames", "8"),
            "expected --num-frames only with --sampling windows, segments or clips; got dense",
        ),
        (
            ("--sampling", "segments", "--rate-hz", "10"),
            "expected --rate-hz only with --sampling windows, dense or clips; got segments",
        ),
        (
            ("--sampling", "segments", "--hop", "8"),
            "expected --hop only with --sampling windows or clips; got segments",
        ),
        (("--clips", "1"), "expected --clips only with --sampling segments; got windows"),
        (("--shard-bytes", "much"), "Give one like 256MiB"),
        (("--decoder-memory", "0"), "Give one like 256MiB"),
        (("--decoder-memory", "1"), "at least 256MiB"),
        (("--size", "7"), "--size: expected at least 32; got 7"),
        (("--model", "msnet_resnet19"), "Did you mean msnet_resnet18?"),
        (("--part", "3/2"), "Give one like 1/4"),
        (("--device", "gpu", "--extractors", "99"), "expected"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: tuple[str, ...], words: str, call: Call, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = refused(call, videos, "extract", videos, "--out", videos.parent / "store", "--weights", "random", *options)
    assert words in line
    assert leftovers(videos.parent / "store") == set()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("extract", "V", "--out", "S", "--sampling", "windwos"), "'windwos' is not one of 'windows', 'dense'"),
        (("export", "S", "--out", "E", "--format", "csv"), "'csv' is not one of 'npy', 'safetensors'"),
        (("weights", "picture", "v.mp4", "--out", "p.png", "--at", "1", "--at", "x"), "'x'"),
        (("extract", "V", "--out", "S", "--num-frames", "six"), "'six'"),
        (("extract", "V", "--out", "S", "--threads", "0"), "expected at least 1; got '0'"),
    ],
)
def test_values_of_another_kind_are_refused_by_option_and_value(
    arguments: tuple[str, ...], words: str, call: Call
) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (1, "")
    line = err.splitlines()[-1]
    option = next(one for one in reversed(arguments) if one.startswith("--"))
    assert f"Invalid value for '{option}'" in line and words in line
    assert "Value error" not in line and "Input should" not in line and "parse" not in line


def leftovers(store: Path) -> set[str]:
    """What a run that could not start left in the store, except its log, which may stay."""
    return {path.name for path in store.iterdir()} - {"logs", "leases"} if store.is_dir() else set()


def test_weights_are_required_of_networks_that_none_come_along_for(call: Call, videos: Path) -> None:
    model = ("--model", "msnet_resnet50")
    line = refused(call, videos.parent, "extract", videos, "--out", videos.parent / "store", *model)
    assert "expected a checkpoint for msnet_resnet50" in line and '"random"' in line


def test_checkpoints_that_do_not_fit_are_refused(call: Call, videos: Path) -> None:
    checkpoint = videos.parent / "r34.pth"
    torch.save({"state_dict": build_network("msnet_resnet34", num_classes=3).state_dict()}, checkpoint)
    (videos.parent / "text.pth").write_text("no checkpoint")
    for path, words in (
        (checkpoint, "r34.pth"),
        (videos.parent / "text.pth", "text.pth"),
        (videos.parent / "missing.pth", "missing.pth"),
    ):
        line = refused(call, videos.parent, "extract", videos, "--out", videos.parent / "store", "--weights", path)
        assert words in line
        assert len(line) < 2000


def test_store_of_another_configuration_is_refused_by_the_field(call: Call, videos: Path) -> None:
    store = make_store(videos.parent / "store", model="msnet_resnet34", num_frames=8)
    command = ("extract", videos, "--out", store.root, *RANDOM, "--size", "128", "--model", "msnet_resnet34")
    line = refused(call, videos.parent, *command)
    assert "size: expected 224, got 128" in line
    line = refused(call, videos.parent, *command, "--sampling", "dense")
    assert "sampling: expected 'windows', got 'dense'" in line
    assert "None" not in line  # the hop, which dense lacks, is not a difference of its own


@pytest.mark.parametrize("rescan", [False, True])
def test_dataset_that_was_moved_is_asked_for(rescan: bool, call: Call, tmp_path: Path) -> None:
    settings = {"videos": str(tmp_path / "moved"), "weights": "random"}
    run = replace(make_run(), settings=settings, dataset_root=str(tmp_path / "moved"))
    paths = StorePaths(tmp_path / "store")
    paths.root.mkdir()
    write_run(paths, run)
    write_inventory(paths, make_inventory([["a.mp4"]]))
    line = refused(call, tmp_path, "resume", paths.root, *(["--rescan"] if rescan else []))
    assert f"expected the dataset at {tmp_path / 'moved'}; nothing is there" in line and "--videos" in line


@pytest.mark.parametrize("rescan", [False, True])
def test_resume_refuses_a_dataset_that_is_not_there(rescan: bool, call: Call, tmp_path: Path) -> None:
    """Even if nothing of it would be read, as in a finished store."""
    paths = make_store(tmp_path / "store")
    flags = ("--weights", "random", *(["--rescan"] if rescan else []))
    line = refused(call, tmp_path, "resume", paths.root, "--videos", tmp_path / "nowhere", *flags)
    assert str(tmp_path / "nowhere") in line


def test_a_table_that_is_gone_is_not_asked_for_once_it_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.run.extraction.run_extraction", lambda wanted: wanted)
    settings = {"videos": str(tmp_path / "gone.csv"), "weights": "random"}
    paths = StorePaths(tmp_path / "store")
    paths.root.mkdir()
    write_run(paths, replace(make_run(), settings=settings, dataset_root=str(tmp_path)))
    write_inventory(paths, make_inventory([["a.mp4"]]))
    wanted: Any = resume(paths.root)
    assert (wanted.root, wanted.listing) == (tmp_path, None)


def test_layout_of_a_store_that_is_there_is_not_given_again(call: Call, videos: Path) -> None:
    store = make_store(videos.parent / "store", num_frames=8)
    command = ("extract", videos, "--out", store.root, *RANDOM)
    for option, value in (("--shard-bytes", "2MB"), ("--limit", "1")):
        line = refused(call, videos.parent, *command, option, value)
        assert line.startswith(f"msnet: expected {option} only for a new store")
    assert "new store" not in refused(call, videos.parent, *command, "--shard-bytes", "1MB")  # the store's own value


def test_places_that_cannot_hold_a_store_are_refused(call: Call, videos: Path) -> None:
    (videos.parent / "file").write_text("mine")
    (videos.parent / "mine").mkdir()
    (videos.parent / "mine" / "thesis.tex").write_text("years of work")
    for out in (videos.parent / "file", videos.parent / "file" / "below", videos.parent / "mine", videos):
        line = refused(call, videos.parent, "extract", videos, "--out", out, *RANDOM)
        assert str(out) in line


def test_read_only_place_is_refused(call: Call, videos: Path) -> None:
    (videos.parent / "locked").mkdir(mode=0o555)
    try:
        (videos.parent / "locked" / "x").touch()
        pytest.skip("this user may write anywhere")
    except PermissionError:
        pass
    line = refused(call, videos.parent, "extract", videos, "--out", videos.parent / "locked" / "store", *RANDOM)
    assert "locked" in line


def test_store_in_use_is_refused(call: Call, videos: Path) -> None:
    store = make_store(videos.parent / "store")
    with Lease(store):
        before = snapshot(store.commits)
        code, out, err = call("resume", store.root, "--device", "cpu")
        assert (code, out, len(err.splitlines())) == (1, "", 1)
        assert snapshot(store.commits) == before


@pytest.mark.parametrize("command", ["resume", "status", "report", "verify", "show", "export", "compare"])
@pytest.mark.parametrize("kind", ["missing", "empty", "altered"])
def test_what_is_no_store_is_refused_by_every_command(command: str, kind: str, call: Call, tmp_path: Path) -> None:
    place = tmp_path / kind
    if kind != "missing":
        place.mkdir()
    if kind == "altered":
        (place / "run.json").write_text('{"format_version": 1}')
    extra = {"show": ("a",), "export": ("--out", tmp_path / "out"), "compare": (place,)}.get(command, ())
    line = refused(call, tmp_path, command, place, *extra)
    assert str(place) in line


def test_unknown_videos_classes_and_tensors_are_refused(call: Call, store: StorePaths, tmp_path: Path) -> None:
    assert "nobody.mp4" in refused(call, tmp_path, "show", store.root, "nobody.mp4")
    line = refused(call, tmp_path, "resume", store.root, "--retry-failed", "tired")
    assert "'tired'" in line and FailureClass.TIMED_OUT in line
    line = refused(call, tmp_path, "resume", store.root, "--retry-failed", "corrupt,timd_out")
    assert line.endswith("Did you mean timed_out?")
    line = refused(call, tmp_path, "export", store.root, "--out", tmp_path / "out", "--tensors", "colour")
    assert "colour" in line


def test_resume_with_other_weights_is_refused(call: Call, videos: Path) -> None:
    store = make_store(videos.parent / "store", weights="0" * 64, seed=None)
    line = refused(call, videos.parent, "resume", store.root, "--weights", "random")
    assert "0" * 64 in line


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("inspect", "missing.pth"), "missing.pth"),
        (("inspect", "text.pth"), "text.pth"),
        (("inspect", "."), "."),
        (("convert", "text.pth", "--out", "out.safetensors"), "text.pth"),
        (("convert", "missing.pth", "--out", "out.safetensors"), "missing.pth"),
    ],
)
def test_weights_that_cannot_be_read_are_refused(
    arguments: tuple[str, ...], word: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.pth").write_text("no checkpoint")
    assert word in refused(call, tmp_path, "weights", *arguments)
