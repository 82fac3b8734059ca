from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest
import typer

from jobs.cli.app import app
from jobs.cli.main import ROOMS, register

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
