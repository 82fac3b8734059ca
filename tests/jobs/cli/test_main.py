"""What a command imports before it runs, and its help: nothing that is one thing is broken, in narrow terminals too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import typer

from jobs.cli.app import app
from jobs.cli.main import ROOMS, register
from tests.jobs.conftest import Call

LOADED = """
import json, os, sys
from jobs.cli.main import register
for arguments in json.loads(sys.argv[1]):
    if os.fork() == 0:  # spares each a start of Python and of typer
        register(arguments)
        print(*sorted(sys.modules), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


def loaded(*commands: Sequence[str]) -> list[set[str]]:
    """Modules that a fresh interpreter has imported once a command's are registered, for each command's arguments."""
    command = [sys.executable, "-c", LOADED, json.dumps(commands)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return [set(line.split()) for line in ran.stdout.splitlines()]


def test_rooms_are_those_of_all_commands() -> None:
    register([])
    assert set(typer.main.get_command(app).list_commands(None)) == set(ROOMS)  # type: ignore[attr-defined]


def test_a_word_registers_its_commands_alone() -> None:
    words = ("status", "gebd")
    for word, modules in zip(words, loaded(*[(word,) for word in words]), strict=True):
        assert {f"jobs.cli.{module}" for module in ROOMS[word]} <= modules
        assert "jobs.cli.extract" not in modules


def test_options_and_help_need_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "pandas", "pyarrow", "ray", "h5py", "av", "decord", "matplotlib", "tqdm", "cv2", "zarr"}
    commands = [(), ("--version",), *((word,) for word in ROOMS)]
    for arguments, modules in zip(commands, loaded(*commands), strict=True):
        assert not heavy & modules, arguments


def test_what_completion_asks_for_registers_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MSNET_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "msnet status --j")
    (found,) = loaded(())
    assert "jobs.cli.stores" in found and "jobs.cli.extract" not in found


def test_completion_offers_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MSNET_COMPLETE", "complete_bash")
    for words, number, expected in (("msnet ext", 1, ["extract"]), ("msnet status s --j", 3, ["--json"])):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(number))
        ran = subprocess.run([sys.executable, "-m", "msnet_features"], capture_output=True, text=True, check=False)
        assert ran.stdout.split() == expected


register([])  # all commands
SPAN = re.compile(r"`([^`]+)`")


def pages(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for word, below in getattr(command, "commands", {}).items():
        yield from pages(below, f"{name} {word}".strip())


PAGES = dict(pages(typer.main.get_command(app), ""))


def shown(page: str) -> str:
    command = PAGES[page]
    return str(command.get_help(command.context_class(command, info_name=f"msnet {page}".strip())))


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("page", PAGES)
def test_words_choices_and_short_commands_are_whole(page: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out, command = shown(page), PAGES[page]
    assert max(map(len, out.splitlines())) <= columns
    texts = [parameter.help or "" for parameter in command.params] + [command.help or ""]
    assert {word for text in texts for word in text.split()} <= set(out.split())
    spans = {span for text in texts for span in SPAN.findall(text) if len(span) <= 24}
    assert [span for span in spans if f"`{span}`" not in out] == []
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    records = [option.get_help_record(command.context_class(command)) for option in options]
    assert [name for name, _ in records if "|" in name and f"  {name}" not in out] == []


@pytest.mark.parametrize("page", PAGES)
def test_switches_look_like_switches_and_the_rest_says_what_it_takes(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = shown(page)
    for parameter in PAGES[page].params:
        if parameter.param_type_name != "option":
            continue
        (line,) = [line for line in out.splitlines() if re.match(rf"  (-\w, )?{parameter.opts[0]}( |$)", line)]
        rest = line.split(parameter.opts[0], 1)[1]
        if parameter.is_flag:
            other = "".join(f" / {opposite}" for opposite in parameter.secondary_opts)
            assert rest == other or rest.startswith(f"{other}  "), line
        else:
            assert re.match(r" <[a-z0-9|_-]+>( |$)", rest), line
        assert parameter.help, f"msnet {page} {parameter.opts[0]} has no sentence"


def test_bounds_are_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = " ".join(shown("weights picture").split())
    assert "[default: 10.0; 0.1 to 1000]" in out and "[default: 224; 32 to 1024]" in out
    monkeypatch.setenv("COLUMNS", "60")
    assert "at least 1]" in shown("extract")


def test_an_argument_has_one_name(call: Call) -> None:
    _, out, _ = call("weights", "join", "--help")
    assert out.startswith("Usage: msnet weights join [OPTIONS] VIDEOS [LIST]\n") and "\n  LIST    " in out
    assert "Usage: msnet show [OPTIONS] STORE [VIDEO_ID]\n" in call("show", "--help")[1]


def test_a_switch_that_a_file_sets_can_be_taken_back() -> None:
    assert "--keep-corrupt / --no-keep-corrupt" in shown("extract")
    assert "--gradient-checkpointing / --no-gradient-checkpointing" in shown("gebd finetune")
