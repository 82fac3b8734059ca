"""`--config` and `--save-config`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from extractor.extraction.request import Request
from jobs.cluster.options import Options
from tests.jobs.conftest import Call, refused


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `extract` was asked for, instead of an extraction."""
    calls: list[tuple[Any, ...]] = []

    def extract(*arguments: Any) -> None:
        calls.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.run.extraction.extract", extract)
    return calls


def test_the_command_line_comes_before_the_file(call: Call, asked: list[tuple[Any, ...]], tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('rate-hz = 4\nnum_frames = 6\nsampling = "clips"\nkeep-corrupt = true\nthreads=2')
    call("extract", "v", "--out", tmp_path / "s", "--config", tmp_path / "a.toml", "--rate-hz", 5)
    request, options = asked[0][2], asked[0][3]
    assert isinstance(request, Request) and isinstance(options, Options)
    assert (request.rate_hz, request.num_frames, request.sampling, request.keep_corrupt) == (5.0, 6, "clips", True)
    assert options.threads == 2


def test_what_is_saved_is_read_back_the_same(call: Call, asked: list[tuple[Any, ...]], tmp_path: Path) -> None:
    options = ("--out", tmp_path / 'a "store"\\é', "--hop", 3, "--outputs", "clip,frame", "--cache-bytes", "1GiB")
    call("extract", "v", *options)
    code, out, _ = call("extract", "v", *options, "--save-config", tmp_path / "a.toml")
    assert (code, out) == (0, f"written: {tmp_path / 'a.toml'}\n") and len(asked) == 1
    call("extract", "v", "--config", tmp_path / "a.toml")
    assert asked[0][1:4] == asked[1][1:4]


def test_every_option_stands_in_a_saved_file(call: Call, tmp_path: Path) -> None:
    call("extract", "v", "--out", "s", "--save-config", tmp_path / "a.toml")
    saved = (tmp_path / "a.toml").read_text()
    assert tomllib.loads(saved)["rate-hz" if "\nrate-hz" in saved else "out"] is not None
    shown = call("extract", "--help")[1]
    for name in ("rate-hz", "hop", "edges", "decoders", "ray-address", "shard-bytes", "limit", "weights"):
        assert f"--{name} " in shown
        assert f"\n{name} = " in saved or f"\n# {name} =\n" in saved
    assert max(map(len, saved.splitlines())) <= 100


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("rate_hs = 3", "got 'rate_hs'. Did you mean rate-hz?"),
        ("wholly-other = 3", "`--save-config` writes a file with all of them"),
        ("hop = [3]", "hop: expected text, a number, true or false; got list"),
        ("config = 'b.toml'", "got 'config'"),
        ("hop = ", "expected TOML"),
        ("a" * (1 << 21), "at most 1 MiB"),
    ],
)
def test_odd_files_are_refused(call: Call, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.toml").write_text(content)
    assert said in refused(call, tmp_path, "extract", "v", "--out", "s", "--config", tmp_path / "a.toml")


def test_a_missing_file_and_an_existing_one(call: Call, tmp_path: Path) -> None:
    assert "No such file" in refused(call, tmp_path, "plan", "v", "--config", tmp_path / "a.toml")
    (tmp_path / "b.toml").touch()
    assert "exists" in refused(call, tmp_path, "extract", "v", "--out", "s", "--save-config", tmp_path / "b.toml")


def test_a_value_of_another_kind_is_refused_as_on_the_command_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('hop = "many"')
    code, out, err = call("extract", "v", "--out", "s", "--config", tmp_path / "a.toml")
    assert (code, out) == (1, "") and "'many'" in err and "Traceback" not in err


def test_a_number_of_thousands_of_digits_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(f"hop = {'9' * 5000}")  # Python does not read it
    assert "expected TOML" in refused(call, tmp_path, "extract", "v", "--out", "s", "--config", tmp_path / "a.toml")


@pytest.mark.parametrize("content", ["hop = 2.5", "hop = true", "rate-hz = true", "keep-corrupt = 2"])
def test_values_of_another_kind_are_refused_and_not_converted(
    call: Call, asked: list[tuple[Any, ...]], tmp_path: Path, content: str
) -> None:
    (tmp_path / "a.toml").write_text(content)
    code, out, err = call("extract", "v", "--out", "s", "--config", tmp_path / "a.toml")
    assert (code, out, asked) == (1, "", []) and f"'{content.split()[-1]}'" in err


def test_a_number_may_stand_for_text(call: Call, asked: list[tuple[Any, ...]], tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("out = 3\nrate-hz = 2")
    call("extract", "v", "--config", tmp_path / "a.toml")
    assert asked[0][1] == Path("3") and asked[0][2].rate_hz == 2.0


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_without_end_are_saved_as_toml(call: Call, tmp_path: Path, value: str) -> None:
    call("extract", "v", "--out", "a\x7fb", "--rate-hz", value, "--save-config", tmp_path / "a.toml")
    saved = tomllib.loads((tmp_path / "a.toml").read_text())
    assert str(saved["rate-hz"]) == value and saved["out"] == "a\x7fb"


def test_what_toml_cannot_hold_leaves_no_file(call: Call, tmp_path: Path) -> None:
    text = refused(call, tmp_path, "extract", "v", "--out", "a\udc80b", "--save-config", tmp_path / "a.toml")
    assert "UTF-8" in text and not (tmp_path / "a.toml").exists()
