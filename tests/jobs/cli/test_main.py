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


@pytest.mark.parametrize("arguments", [(), ("--version",), *((word,) for word in ROOMS)])
def test_options_and_help_need_nothing_heavy(arguments: tuple[str, ...]) -> None:
    heavy = {"torch", "numpy", "pandas", "pyarrow", "ray", "h5py", "av", "decord", "matplotlib", "tqdm", "cv2", "zarr"}
    assert not heavy & loaded(*arguments)


def test_what_completion_asks_for_registers_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MSNET_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "msnet status --j")
    assert "jobs.cli.stores" in (found := loaded()) and "jobs.cli.extract" not in found


def test_completion_offers_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MSNET_COMPLETE", "complete_bash")
    for words, number, expected in (("msnet ext", 1, ["extract"]), ("msnet status s --j", 3, ["--json"])):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(number))
        ran = subprocess.run([sys.executable, "-m", "msnet_features"], capture_output=True, text=True, check=False)
        assert ran.stdout.split() == expected
