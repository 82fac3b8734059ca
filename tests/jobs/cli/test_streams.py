from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tqdm import tqdm

from jobs.cli.display import open_bar, paragraph, rows, say_above
from jobs.cli.streams import Block, Guarded, bar_stream, guarded_streams, say
from tests.extractor.store.making import make_store

EVIL = "a\x1b[2J\rb\nc"


def stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")


def written(to: io.TextIOWrapper) -> str:
    to.flush()
    return to.buffer.getvalue().decode(to.encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("encoding", "text"), [("ascii", r"\xe9 \xd7 \u2192"), ("latin-1", "é × \\u2192"), ("utf-8", "é × →")]
)
def test_letters_that_a_stream_lacks_are_replaced(encoding: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = stream(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    with guarded_streams():
        print("é × →")
    assert (written(out), out.errors) == (f"{text}\n", "strict")
    assert sys.stdout is out


def test_nothing_but_text_and_breaks_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = stream("utf-8"), stream("utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with guarded_streams(), guarded_streams():
        print(EVIL)
        sys.stdout.writelines(["\x07", "\n"])
        click.echo(EVIL, file=sys.stderr)
    assert written(out) == "a\\x1b[2J\\rb\nc\n\\x07\n"
    assert "\x1b" not in written(err) and "\r" not in written(err)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_click_writes_no_bytes_past_the_guard(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which it does if it takes a stream's encoding for misconfigured."""
    out = stream(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    with guarded_streams():
        click.echo("é\x07")
    assert written(out) == ("\\xe9" if encoding == "ascii" else "é") + "\\x07\n"


def test_what_is_said_is_one_line_unless_it_was_laid_out(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL, Block("two\nlines"), "")
    say(paragraph(f"  {EVIL}"), rows([(EVIL, 1), ("b", EVIL)]))
    assert capsys.readouterr().out.splitlines() == [
        r"a\x1b[2J\rb\nc",
        "two",
        "lines",
        "",
        r"  a\x1b[2J\rb\nc",
        r"  a\x1b[2J\rb\nc  1",
        r"  b               a\x1b[2J\rb\nc",
    ]
    say(EVIL, to=sys.stderr)
    assert capsys.readouterr() == ("", "a\\x1b[2J\\rb\\nc\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_bars_return_to_the_start_of_their_line_and_do_nothing_else(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    err = stream(encoding)
    monkeypatch.setattr(err, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", err)
    with guarded_streams():
        with open_bar(total=3, desc=EVIL, mininterval=0) as bar:
            bar.update(2)
            say_above(paragraph("above it"))
            bar.set_postfix_str("→", refresh=True)
        assert bar_stream() is sys.stderr.bars  # type: ignore[attr-defined]
    text = written(err)
    assert "67%|######" in text and "\\u2192" in text
    lines = text.split("\n")
    assert {letter for letter in text if not letter.isprintable()} == {"\r", "\n"}
    assert [line for line in lines if not line.startswith("\r")] == [""]
    assert any(line.rpartition("\r")[2] == "above it" for line in lines)
    assert r"a\x1b[2J\rb\nc:" in text


def test_a_stream_without_a_guard_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = io.StringIO()
    monkeypatch.setattr(sys, "stderr", plain)
    assert bar_stream() is plain
    with guarded_streams():
        assert isinstance(sys.stderr, Guarded)
        tqdm.write("line", file=bar_stream())
    assert plain.getvalue() == "line\n"


def run(script: str, encoding: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)


@pytest.mark.parametrize(("encoding", "name"), [("ascii", rb"caf\xe9 \u2192.mp4"), ("latin-1", b"caf\xe9 \\u2192.mp4")])
def test_process_ends_by_its_own_code_where_letters_are_lacking(encoding: str, name: bytes, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", (("café →.mp4",),)).root
    script = f"import sys, msnet_features; sys.argv = ['msnet', 'show', {str(store)!r}]; msnet_features.main()"
    ended = run(script, encoding)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, name + b"\n", b"")


def test_traceback_of_an_unforeseen_error_is_guarded() -> None:
    script = """
import jobs.cli.main, msnet_features
def fail():
    raise ValueError("a\\x1b[2Jb \\u2192")
jobs.cli.main.main = fail
msnet_features.main()
"""
    ended = run(script, "ascii")
    assert ended.returncode == 1
    assert b"Traceback" in ended.stderr and rb"ValueError: a\x1b[2Jb \u2192" in ended.stderr
