"""Every page of help, in a usual terminal and in a narrow one: nothing that is one thing is broken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from jobs.cli.app import app
from jobs.cli.main import register
from tests.jobs.conftest import Call

register([])  # all commands

PAGES: dict[str, Any] = {}
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
