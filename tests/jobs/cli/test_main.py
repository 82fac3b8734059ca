import subprocess
import sys

import pytest
import typer

from jobs.cli.app import app
from jobs.cli.main import ROOMS, register

LOADED = "import sys; from jobs.cli.main import register; register(sys.argv[1:]); print(*sorted(sys.modules))"


def loaded(*arguments: str) -> set[str]:
    """Modules that a fresh interpreter has imported once the commands of these arguments are registered."""
    ran = subprocess.run([sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_rooms_are_those_of_all_commands() -> None:
    register([])
    assert set(typer.main.get_command(app).list_commands(None)) == set(ROOMS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("word", ["status", "gebd"])
def test_a_word_registers_its_commands_alone(word: str) -> None:
    rooms = {name for name in loaded(word) if name.startswith("jobs.cli.")}
    assert {f"jobs.cli.{module}" for module in ROOMS[word]} <= rooms
    assert "jobs.cli.extract" not in rooms


def test_commands_on_stores_import_no_torch_and_the_version_needs_nothing() -> None:
    assert "torch" not in loaded("status")
    assert not {"torch", "pandas", "ray"} & loaded("--version")
