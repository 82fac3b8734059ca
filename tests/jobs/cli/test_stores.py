"""The command line: what commands print, and help that fits a terminal."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from extractor.store import FeatureStore, read_inventory, write_inventory
from schemas.layout import StorePaths
from tests.extractor.models.checkpoint_factory import random_state
from tests.extractor.store.making import make_store
from tests.jobs.conftest import Call, refused

GRAFT = "msnet weights train --config graft --model msnet_resnet18 --weights"
RANDOM = ("--weights", "random", "--device", "cpu")


def test_weights_are_inspected_within_80_columns(call: Call, tmp_path: Path) -> None:
    torch.save(random_state("resnet18", motion=False), tmp_path / "a.pth")
    code, out, err = call("weights", "convert", tmp_path / "a.pth", "--out", tmp_path / "tsn.safetensors")
    assert (code, err) == (0, "")
    assert " ".join(out.split()).endswith(f"{GRAFT} {tmp_path}/tsn.safetensors --out RUN` trains one on it.")
    code, out, _ = call("weights", "inspect", tmp_path / "tsn.safetensors")
    first, *lines = out.splitlines()
    assert (code, first) == (0, str(tmp_path / "tsn.safetensors"))
    assert max(map(len, lines)) <= 80
    heads = [line.split(":")[0].strip() for line in lines if ": " in line and not line.startswith("    ")]
    assert heads == ["architecture", "licence", "recipe", "numbers"]  # empty fields are not shown
    assert "null" not in out and "num_segments 8, feature_dim 512" in out
    assert re.fullmatch(r"  SHA-256    [0-9a-f]{64}", next(line for line in lines if "SHA-256" in line))
    assert lines[-1] == "it fits tsn_resnet18"
    code, out, _ = call("weights", "inspect", tmp_path / "tsn.safetensors", "--model", "msnet_resnet18")
    assert code == 0 and f"of the MS module keep initial values, which `{GRAFT} {tmp_path}/tsn" in " ".join(out.split())


def test_the_bundled_weights_are_inspected_and_tell_their_recipe(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("weights", "inspect", "bundled")
    assert code == 0 and "it fits msnet_resnet18" in out and "recipe: --recipe prints it" in out
    code, out, _ = call("weights", "inspect", "bundled", "--recipe")
    brief = json.loads(out)
    assert code == 0 and brief["configuration"]["model"] == "msnet_resnet18"
    code, out, _ = call("weights", "inspect", "bundled", "--ancestry")
    whole = json.loads(out)
    assert code == 0 and whole | {"start": brief["start"]} == brief
    first = whole["start"]
    assert brief["start"][0] == f"{first['file']}: a file of this program, SHA-256 {first['sha256'][:12]}"
    assert len(brief["start"]) == out.count('"start":') and brief["start"][-1] == "random weights"
    torch.save(random_state("resnet18", motion=False), tmp_path / "a.pth")
    without = refused(call, tmp_path, "weights", "inspect", tmp_path / "a.pth", "--recipe")
    assert "leave --recipe and --ancestry out" in without


def test_weights_of_another_family_are_refused_with_what_to_do(call: Call, videos: Path) -> None:
    folder = videos.parent
    torch.save(random_state("resnet18", motion=False), folder / "a.pth")
    call("weights", "convert", folder / "a.pth", "--out", folder / "tsn_resnet18.safetensors")
    command = ("extract", videos, "--out", folder / "file" / "store", "--weights", folder / "tsn_resnet18.safetensors")
    line = refused(call, folder, *command, "--model", "tsm_resnet18")
    assert line.endswith(" does not: it is a tsn_resnet18. Use --model tsn_resnet18")
    (folder / "file").touch()  # no store can be made here: the weights are checked first
    for model in ("tsn_resnet18", "msnet_resnet18"):
        assert "cannot be made a folder" in refused(call, folder, *command, "--model", model)


def test_metadata_of_a_checkpoint_moves_no_cursor(call: Call, tmp_path: Path) -> None:
    state = random_state("resnet18", motion=False)
    metadata = {"format": "pt", "\x1b[2J": "a\x1b]0;title\x07b\n" + "c" * 5000}
    save_file(state, tmp_path / "a.safetensors", metadata)
    out = call("weights", "inspect", tmp_path / "a.safetensors", "--model", "tsn_resnet18")[1]
    assert r"  \x1b[2J:" in out and r"a\x1b]0;title\x07b\nccc" in out and "\x1b" not in out
    assert len(out) < 3000


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


RESUMABLE = [  # a command, and the function it calls
    ("extract videos --out out", "jobs.run.extraction.extract"),
    ("resume out", "jobs.run.extraction.resume"),
    ("export store --out out", "jobs.stores.export.export_store"),
    ("import folder --out out", "jobs.stores.import_features.import_features"),
    ("demo --out out", "jobs.demos.first_look.run_demo"),
    ("gebd demo --out out", "jobs.demos.gebd.run_gebd_demo"),
    ("gebd train store a.json --out out --device cpu", "gebd.heads.train.train_head"),
    ("weights train --out out --device cpu", "jobs.weights.training.train_weights"),
]
BEGUN_ANEW = [
    ("extract videos --out out --dry-run", "jobs.run.plan.plan"),
    ("plan videos", "jobs.run.plan.plan"),
    ("verify store", "jobs.stores.verify.verify_store"),
    ("compare store other", "jobs.stores.compare.compare_stores"),
    ("weights evaluate --device cpu", "jobs.weights.evaluation.evaluate_weights"),
    ("weights picture a.mp4 --at 1 --out a.png --device cpu", "jobs.weights.loading.load_weights"),
    ("gebd predict run store --out a.json --device cpu", "gebd.heads.trained.load_head"),
]


@pytest.mark.parametrize(
    ("command", "work", "kept"), [(*each, True) for each in RESUMABLE] + [(*each, False) for each in BEGUN_ANEW]
)
def test_interrupted_command_says_that_it_continues_only_if_it_does(
    command: str, work: str, kept: bool, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, interrupt)
    code, out, err = call(*command.split())
    promise = "; what was finished is kept. Run the same command again to continue" if kept else ""
    assert (code, out, err.splitlines()[-1]) == (130, "", f"msnet: interrupted{promise}")


COMMANDS: list[tuple[str, ...]] = [
    (),
    *(
        (name,)
        for name in ("extract", "resume", "plan", "status", "show", "report", "verify", "compare", "export", "import")
    ),
    ("weights",),
    *(("weights", name) for name in ("list", "inspect", "convert", "fetch")),
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


def test_show_lists_ids(call: Call, store: StorePaths) -> None:
    assert call("show", store.root) == (0, "a.mp4\nb.mp4\nc/d.mp4\ne.mp4\n", "")


def test_show_prints_what_the_table_says(call: Call, store: StorePaths) -> None:
    assert "columns of the table" not in call("show", store.root, "b.mp4")[1]
    inventory = read_inventory(store)
    own = {"label": pd.array([3] * len(inventory), "Int64"), "name\x1b": "a\nb", "none": math.nan}
    own |= {f"c{k}": float(k) for k in range(20)}
    write_inventory(store, inventory.assign(**own), replace=True)
    code, out, err = call("show", store.root, "b.mp4")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.partition("columns of the table\n")[2].splitlines()[:21]]
    assert lines[:3] == [["label", "3"], [r"'name\x1b'", r"'a\nb'"], ["none", "missing"]]
    assert lines[-1] == ["...", "and", "3", "more"]


def test_show_prints_tensors_and_clips(call: Call, store: StorePaths) -> None:
    code, out, err = call("show", store.root, "b.mp4")
    assert (code, err) == (0, "")
    for name in FeatureStore(store.root).tensors:
        assert f"  {name} " in out
    assert call("show", store.root, "bad.mp4")[1].endswith("failed, corrupt: bad.mp4 is broken\n")


def test_report_prints_failures_by_class(call: Call, store: StorePaths) -> None:
    code, out, _ = call("report", store.root)
    assert code == 0
    assert out.startswith("4 done, 1 failed, of 5 videos; 8 clips\n")
    assert "corrupt: 1\n  bad.mp4: bad.mp4 is broken" in out
    command = f"msnet resume {store.root}"
    assert " ".join(out.split()).endswith(
        f"corrupt: the same files would fail again; once they are replaced: {command} --retry-failed corrupt; "
        f"if the new ones have new names: {command} --rescan"
    )


def test_report_names_the_videos_that_are_odd(call: Call, store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = FeatureStore(store.root).manifest.copy()
    clips = manifest["video_id"]
    manifest.loc[clips == "a.mp4", "fallback_reason"] = "decord counts 3 frames, demuxing 4"
    manifest.loc[clips == "b.mp4", "times_made_up"] = True
    manifest.loc[clips.isin(["b.mp4", "e.mp4"]), "bad_frames"] = [3, 3, 7, 7]
    manifest.loc[clips == "a.mp4", "flags"] = "container:mpegts,long"
    manifest.loc[clips == "e.mp4", "flags"] = "long"
    videos = manifest.drop_duplicates("video_id")
    monkeypatch.setattr(FeatureStore, "of_videos", lambda self, columns: videos[list(columns)])
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = call("report", store.root)
    assert all(len(line) <= 60 or str(store.root) in line for line in out.splitlines())  # paths are not broken
    heads, _, below = out.partition("\n\n")
    assert [line.split()[-1] for line in heads.splitlines()[2:8]] == ["1", "1", "0", "0", "2", "2"]
    assert "long 2 more than 256 MiB of frames" in " ".join(heads.split())
    assert " ".join(heads.split()).endswith("container:mpegts 1 neither MP4, MOV, Matroska nor WebM")
    assert below.split("\n\n")[:-2] == [
        "restarted with another decoder: 1\n  a.mp4: decord counts 3 frames, demuxing 4",
        "with made-up times: 1\n  b.mp4",
        "with damaged frames kept: 2\n  b.mp4: 3\n  e.mp4: 7",
        "flagged, so decoded by PyAV: 2\n  a.mp4: container:mpegts, long\n  e.mp4: long",
    ]


def test_report_of_many_odd_videos_says_where_the_others_are(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "store", ([f"{i:02d}.mp4" for i in range(25)],), clips=1)
    manifest = FeatureStore(store.root).manifest.assign(times_made_up=True)
    videos = manifest.drop_duplicates("video_id")
    monkeypatch.setattr(FeatureStore, "of_videos", lambda self, columns: videos[list(columns)])
    _, out, _ = call("report", store.root)
    assert "  19.mp4\n  ... and 5 more in" in out and "20.mp4" not in out
    assert "column times_made_up" in " ".join(out.split())


def test_numbers_agree_with_their_nouns(call: Call, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", (("a.mp4",),), clips=1)
    assert call("report", store.root)[1].startswith("1 done, 0 failed, of 1 video; 1 clip\n")
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
    assert "damaged: shards/shard-00001" in out


def test_export_says_where_it_wrote(call: Call, store: StorePaths, tmp_path: Path) -> None:
    code, out, _ = call("export", store.root, "--out", tmp_path / "out", "--format", "safetensors")
    assert code == 0
    assert "4 files" in out and str(tmp_path / "out") in out
    assert len(list((tmp_path / "out").rglob("*.safetensors"))) == 4


def test_unplanned_store_has_no_status(call: Call, store: StorePaths, tmp_path: Path) -> None:
    for path in (store.inventory, store.copy(store.inventory)):
        path.unlink()
    assert "inventory.parquet is missing" in refused(call, tmp_path, "status", store.root)


def test_status_of_a_store_whose_planning_has_only_begun_says_so(call: Call, store: StorePaths) -> None:
    for path in (store.inventory, store.copy(store.inventory)):
        path.unlink()
    store.planning.touch()
    code, out, _ = call("status", store.root)
    assert (code, "planning is not through" in out, "to continue: msnet resume" in out) == (0, True, True)


def test_damaged_inventory_is_a_sentence(call: Call, store: StorePaths, tmp_path: Path) -> None:
    pd.DataFrame({"x": [1]}).to_parquet(store.inventory)
    for content in (store.inventory.read_bytes(), b"nothing"):
        for path in (store.inventory, store.copy(store.inventory)):
            path.write_bytes(content)
        assert "inventory.parquet is not as it was written" in refused(call, tmp_path, "status", store.root)


FORKS = """
import os, sys, msnet_features, jobs.cli.main

jobs.cli.main.register([])

command, ends = None, {}
for given in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        command = given
        break
    ends[given] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
if command is None:
    print(ends, file=sys.stderr)
else:
    sys.argv = ["msnet", *command.split("|")]
    msnet_features.main()
"""
"""Runs commands each in a process of its own that ends as any does, and tells their codes; imports once."""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_broken_pipe_ends_as_other_tools_do(unbuffered: str, store: StorePaths) -> None:
    """As in `msnet show ... | head`: 141, for SIGPIPE, silently."""
    commands = (f"show|{store.root}|b.mp4", "weights|list", "--help", "--version")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-W", "ignore:.*fork:DeprecationWarning", "-c", FORKS, *commands]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with os.fdopen(writing) as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, f"{dict.fromkeys(commands, 141)}\n")


def test_version_is_that_of_the_distribution(call: Call) -> None:
    assert call("--version") == (0, f"msnet-features {version('msnet-features')}\n", "")
