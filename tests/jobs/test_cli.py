"""The command line: what is wrong is one sentence, nothing is damaged, nothing starts; help fits a terminal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from extractor.models.msnet import build_network
from extractor.store import FeatureStore, Lease
from schemas.errors import FailureClass
from schemas.layout import StorePaths
from tests.extractor.models.checkpoint_factory import random_state
from tests.extractor.store.making import make_store
from tests.jobs.conftest import Call

RANDOM = ("--weights", "random", "--device", "cpu")


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, with content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def refused(call: Call, folder: Path, *arguments: Any) -> str:
    """The one sentence by which arguments are refused, with nothing below `folder` changed."""
    before = snapshot(folder)
    code, out, err = call(*arguments)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("msnet: ")
    assert "Traceback" not in err and "Error" not in line.split(":")[0]
    assert snapshot(folder) == before
    return line


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder with a file that looks like a video: nothing here gets as far as opening it."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"never read")
    return tmp_path / "videos"


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
        (("--model", "msnet_resnet19"), "no network called 'msnet_resnet19'"),
        (("--outputs", "clips"), "not 'clips'"),
        (("--outputs", ""), "at least one tensor"),
        (("--outputs", "motion:40"), "at most 28 cells"),
        (("--model", "tsn_resnet18", "--outputs", "motion"), "no MotionSqueeze module"),
        (("--outputs", "logits"), "no classifier"),
        (("--model", "msnet_en_resnet18"), "--sampling segments"),
        (("--num-frames", "0"), "num_frames"),
        (("--hop", "0"), "hop"),
        (("--rate-hz", "-5"), "a rate in frames a second"),
        (("--rate-hz", "nan"), "a rate in frames a second"),
        (("--sampling", "dense", "--num-frames", "8"), "--num-frames is for --sampling windows or segments"),
        (("--sampling", "segments", "--rate-hz", "10"), "--rate-hz is for --sampling windows or dense"),
        (("--sampling", "segments", "--hop", "8"), "--hop is for --sampling windows and"),
        (("--clips", "1"), "--clips is for --sampling segments"),
        (("--size", "7"), "size"),
        (("--shard-bytes", "much"), "a size like 256MiB"),
        (("--decoder-memory", "0"), "a size like 256MiB"),
        (("--part", "3/2"), "a part like 1/4"),
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


def leftovers(store: Path) -> set[str]:
    """What a run that could not begin left of a store: its log may stay."""
    return {path.name for path in store.iterdir()} - {"logs", "leases"} if store.is_dir() else set()


def test_weights_are_required_of_networks_that_none_come_along_for(call: Call, videos: Path) -> None:
    model = ("--model", "msnet_resnet50")
    line = refused(call, videos.parent, "extract", videos, "--out", videos.parent / "store", *model)
    assert "a checkpoint for msnet_resnet50 was expected" in line and '"random"' in line


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
    assert "size: the store has 224, asked for is 128" in line


def test_layout_of_a_store_that_is_there_is_not_given_again(call: Call, videos: Path) -> None:
    store = make_store(videos.parent / "store", num_frames=8)
    command = ("extract", videos, "--out", store.root, *RANDOM)
    for option, value in (("--shard-bytes", "2MB"), ("--limit", "1")):
        line = refused(call, videos.parent, *command, option, value)
        assert line.startswith(f"msnet: {option} is for a new store")
    assert "new store" not in refused(call, videos.parent, *command, "--shard-bytes", "1MB")  # its own, as it is


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


def test_weights_are_inspected_within_80_columns(call: Call, tmp_path: Path) -> None:
    torch.save(random_state("resnet18", motion=False), tmp_path / "a.pth")
    code, out, err = call("weights", "convert", tmp_path / "a.pth", "--out", tmp_path / "tsn.safetensors")
    assert (code, err) == (0, "")
    assert out.endswith("convert it with --model msnet_resnet18.\n")
    code, out, _ = call("weights", "inspect", tmp_path / "tsn.safetensors")
    first, *lines = out.splitlines()
    assert (code, first) == (0, str(tmp_path / "tsn.safetensors"))
    assert max(map(len, lines)) <= 80
    heads = [line.split(":")[0].strip() for line in lines if ": " in line and not line.startswith("    ")]
    assert heads == ["architecture", "licence", "notes", "recipe", "numbers"]
    assert re.fullmatch(r"  SHA-256    [0-9a-f]{64}", next(line for line in lines if "SHA-256" in line))
    assert lines[-1] == "it fits tsn_resnet18"


def test_weights_of_another_family_are_refused_with_what_to_do(call: Call, videos: Path) -> None:
    folder = videos.parent
    torch.save(random_state("resnet18", motion=False), folder / "a.pth")
    for model in ("tsn_resnet18", "msnet_resnet18"):
        call("weights", "convert", folder / "a.pth", "--out", folder / f"{model}.safetensors", "--model", model)
    command = ("extract", videos, "--out", folder / "file" / "store", "--model", "msnet_resnet18", "--weights")
    line = refused(call, folder, *command, folder / "tsn_resnet18.safetensors")
    assert line.endswith(
        "; use --model tsn_resnet18, or convert the checkpoint that it was made from again, with --model msnet_resnet18"
    )
    (folder / "file").touch()  # where no store can be: the weights are looked at before
    assert "cannot be made a folder" in refused(call, folder, *command, folder / "msnet_resnet18.safetensors")


def test_metadata_of_a_checkpoint_moves_no_cursor(call: Call, tmp_path: Path) -> None:
    state = random_state("resnet18", motion=False)
    metadata = {"format": "pt", "\x1b[2J": "a\x1b]0;title\x07b\n" + "c" * 5000}
    save_file(state, tmp_path / "a.safetensors", metadata)
    out = call("weights", "inspect", tmp_path / "a.safetensors", "--model", "tsn_resnet18")[1]
    assert "  ?[2J:" in out and "a?]0;title?b?ccc" in out and "\x1b" not in out
    assert len(out) < 3000


def test_demo_where_no_folder_can_be_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert str(tmp_path / "file") in refused(call, tmp_path, "demo", "--out", tmp_path / "file")


@pytest.mark.parametrize("name", ["thesis.tex", "videos/holiday.mp4"])
def test_demo_in_a_folder_of_others_is_refused(name: str, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "mine" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    line = refused(call, tmp_path, "demo", "--out", tmp_path / "mine")
    assert f"holds {path.name!r}: give another --out" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("extract",),
        ("extract", "videos"),
        ("extract", "videos", "--out"),
        ("extract", "videos", "--out", "s", "--sampling", "sometimes"),
        ("extract", "videos", "--out", "s", "--size", "big"),
        ("extract", "videos", "--out", "s", "--extractors", "0"),
        ("extract", "videos", "--out", "s", "--nonsense"),
        ("nonsense",),
        ("weights", "nonsense"),
        ("status",),
    ],
)
def test_usage_errors_end_with_1_and_no_traceback(arguments: tuple[str, ...], call: Call) -> None:
    code, out, err = call(*arguments)
    assert code == 1
    assert out == ""
    assert "Traceback" not in err
    assert "Error: " in err


COMMANDS: list[tuple[str, ...]] = [
    (),
    *((name,) for name in ("extract", "resume", "plan", "status", "show", "report", "verify", "compare", "export")),
    ("weights",),
    *(("weights", name) for name in ("list", "inspect", "convert")),
    ("demo",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_ends_with_0_and_fits_80_columns(command: tuple[str, ...], flag: str, call: Call) -> None:
    code, out, err = call(*command, flag)
    assert (code, err) == (0, "")
    assert "Usage:" in out
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "…" not in out, "a name or a type is cut off"


def test_help_names_every_command(call: Call) -> None:
    _, out, _ = call("--help")
    for command in COMMANDS[1:]:
        assert f" {command[0]} " in out


def test_status_prints_where_a_store_stands(call: Call, store: StorePaths) -> None:
    code, out, err = call("status", store.root)
    assert (code, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[1:5]] == [
        ["shards", "committed", "2"],
        ["videos", "done", "4"],
        ["videos", "failed", "1"],
        ["corrupt", "1"],
    ]
    assert "resume" not in out


def test_show_prints_tensors_and_clips(call: Call, store: StorePaths) -> None:
    code, out, err = call("show", store.root, "b.mp4")
    assert (code, err) == (0, "")
    for name in FeatureStore(store.root).tensors:
        assert f"  {name} " in out
    assert call("show", store.root, "bad.mp4")[1].endswith("failed, corrupt: bad.mp4 is broken\n")


def test_report_prints_failures_by_class(call: Call, store: StorePaths) -> None:
    code, out, _ = call("report", store.root)
    assert code == 0
    assert out.startswith("4 videos with 8 clips, 1 failed\n")
    assert "corrupt: 1\n  bad.mp4: bad.mp4 is broken" in out


def test_report_names_the_videos_that_are_odd(call: Call, store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = FeatureStore(store.root).manifest.copy()
    clips = manifest["video_id"]
    manifest.loc[clips == "a.mp4", "fallback_reason"] = "decord counts 3 frames, demuxing 4"
    manifest.loc[clips == "b.mp4", "times_made_up"] = True
    manifest.loc[clips.isin(["b.mp4", "e.mp4"]), "bad_frames"] = [3, 3, 7, 7]
    monkeypatch.setattr(FeatureStore, "manifest", manifest)
    _, out, _ = call("report", store.root)
    heads, _, below = out.partition("\n\n")
    assert [line.split()[-1] for line in heads.splitlines()[2:]] == ["1", "1", "0", "0", "2"]
    assert below.split("\n\n")[:-1] == [
        "begun again by another decoder: 1\n  a.mp4: decord counts 3 frames, demuxing 4",
        "with made-up times: 1\n  b.mp4",
        "with damaged frames kept: 2\n  b.mp4: 3\n  e.mp4: 7",
    ]


def test_report_of_many_odd_videos_says_where_the_others_are(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "store", ([f"{i:02d}.mp4" for i in range(25)],), clips=1)
    manifest = FeatureStore(store.root).manifest.assign(times_made_up=True)
    monkeypatch.setattr(FeatureStore, "manifest", manifest)
    _, out, _ = call("report", store.root)
    assert "  19.mp4\n  ... and 5 more in" in out and "20.mp4" not in out
    assert "column times_made_up" in " ".join(out.split())


def test_numbers_agree_with_their_nouns(call: Call, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", (("a.mp4",),), clips=1)
    assert call("report", store.root)[1].startswith("1 video with 1 clip, 0 failed\n")
    assert call("verify", store.root)[1].startswith("1 shard, 1 video with 1 clip, 0 failed, ")
    assert call("compare", store.root, store.root)[1].startswith("largest difference")
    assert "1 clip compared, " in call("compare", store.root, store.root)[1]
    exported = call("export", store.root, "--out", tmp_path / "out", "--format", "safetensors")[1]
    assert exported.startswith("1 file, ") and " of 1 video in " in exported


def test_verify_says_clean_or_names_the_shard(call: Call, store: StorePaths) -> None:
    assert call("verify", store.root, "--deep")[0] == 0
    data = next(store.shards.glob("shard-00001.*.h5"))
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    code, out, _ = call("verify", store.root, "--deep", "--keep")
    assert code == 1
    assert "damaged: shard-00001" in out


def test_compare_says_equal_or_different(call: Call, store: StorePaths, tmp_path: Path) -> None:
    shutil.copytree(store.root, tmp_path / "copy")
    assert call("compare", store.root, tmp_path / "copy")[0] == 0
    make_store(tmp_path / "other", shards=(("a.mp4",),))
    code, out, _ = call("compare", store.root, tmp_path / "other")
    assert (code, out.splitlines()[-1]) == (1, "different")


def test_export_says_where_it_wrote(call: Call, store: StorePaths, tmp_path: Path) -> None:
    code, out, _ = call("export", store.root, "--out", tmp_path / "out", "--format", "safetensors")
    assert code == 0
    assert "4 files" in out and str(tmp_path / "out") in out
    assert len(list((tmp_path / "out").rglob("*.safetensors"))) == 4


def test_unplanned_store_has_no_status(call: Call, store: StorePaths, tmp_path: Path) -> None:
    store.inventory.unlink()
    assert "inventory.parquet is missing" in refused(call, tmp_path, "status", store.root)


def test_damaged_inventory_is_a_sentence(call: Call, store: StorePaths, tmp_path: Path) -> None:
    pd.DataFrame({"x": [1]}).to_parquet(store.inventory)
    assert "lacks the columns" in refused(call, tmp_path, "status", store.root)
    store.inventory.write_bytes(b"nothing")
    assert "inventory.parquet" in refused(call, tmp_path, "status", store.root)


@pytest.mark.parametrize("arguments", ["show STORE b.mp4", "weights list", "--help", "--version"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_broken_pipe_ends_as_other_tools_do(arguments: str, unbuffered: str, store: StorePaths) -> None:
    """As in `msnet show ... | head`: 141, by SIGPIPE, and not a word."""
    command = [sys.executable, "-m", "msnet_features", *arguments.replace("STORE", str(store.root)).split()]
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with os.fdopen(writing) as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (141, "")


def test_version_is_that_of_the_distribution(call: Call) -> None:
    assert call("--version") == (0, f"msnet-features {version('msnet-features')}\n", "")
