"""`--config FILE` and `--save-config FILE`: the options of a command as TOML."""

from __future__ import annotations

import json
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.cli.streams import say
from schemas.errors import ConfigurationError, UsageError

_MOST_BYTES = 1 << 20
_WIDTH = 100
_OWN = ("config", "save_config", "dry_run", "json", "help")  # not of the work, so not of its file


def _options(context: typer.Context) -> dict[str, Any]:
    """The options of the command at hand that a file may hold, by their name there: "rate-hz"."""
    return {
        parameter.opts[0].removeprefix("--"): parameter
        for parameter in context.command.params
        if parameter.param_type_name == "option" and parameter.name not in _OWN
    }


def _read(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options of a file as defaults: what the command line says comes before."""
    if path is None:
        return None
    found, known = _content(path), _options(context)
    for name, value in found.items():
        if name.replace("_", "-") not in known:
            meant = get_close_matches(name.replace("_", "-"), known, n=1)
            advice = f"Did you mean {meant[0]}?" if meant else "`--save-config` writes a file with all of them"
            raise ConfigurationError(f"{path}: expected options of msnet {context.info_name}; got {name!r}. {advice}")
        if isinstance(value, dict | list) or type(value).__name__ in ("datetime", "date", "time"):
            raise ConfigurationError(
                f"{path}: {name}: expected text, a number, true or false; got {type(value).__name__}. Write it as on"
                " the command line"
            )
    texts = {known[name.replace("_", "-")].name: _as_typed(value) for name, value in found.items()}
    context.default_map = {**(context.default_map or {}), **texts}
    return path


def _as_typed(value: Any) -> str:
    """A value as the command line would have it, so that the same values are refused: as numbers, 2.5 would be 2."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _content(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ConfigurationError(f"{path}: expected at most 1 MiB of TOML; got more. Give another --config")
        return tomllib.loads(data.decode())
    except OSError as error:
        raise ConfigurationError(
            f"expected a readable TOML file; got {path} ({error.strerror}). Correct --config"
        ) from error
    except (ValueError, RecursionError) as error:  # ValueError itself is of whole numbers of thousands of digits
        raise ConfigurationError(f"expected TOML; got {path}, which is not valid: {error}. Correct it") from error


def save_options(context: typer.Context, path: Path) -> None:
    """Write every option of the command at hand with its value, in a new file."""
    try:
        content = "".join(_lines(context)).encode()
    except UnicodeEncodeError:
        raise UsageError(
            "expected values of options in UTF-8, as TOML is; got another one. Leave that option to the command line"
        ) from None
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise UsageError(f"expected a new file for --save-config; {path} exists. Give another name") from None
    except OSError as error:
        raise UsageError(f"expected a file that can be written; got {path} ({error.strerror}). Give another") from error
    say(f"written: {path}")


def _lines(context: typer.Context) -> Iterator[str]:
    yield f"# Options of `msnet {context.info_name}`; those that are not given stand behind a #.\n"
    for name, parameter in _options(context).items():
        value = context.params.get(parameter.name)
        words = textwrap.wrap(parameter.help or "", _WIDTH, initial_indent="# ", subsequent_indent="# ")
        yield "\n" + "".join(f"{line}\n" for line in words)
        yield f"# {name} =\n" if value is None else f"{name} = {_toml(value)}\n"


def _toml(value: Any) -> str:
    """A value as TOML: of text, what JSON makes of it is a basic string of TOML as well, but for DEL."""
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return str(value)  # nan and inf are words of TOML, and not of JSON
    return json.dumps(str(getattr(value, "value", value)), ensure_ascii=False).replace("\x7f", "\\u007f")


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="TOML with options of this command; the command line comes before it.",
        is_eager=True,
        callback=_read,
        show_default=False,
    ),
]
SaveConfig = Annotated[
    Path | None,
    typer.Option("--save-config", help="Write all options as TOML, and stop.", show_default=False),
]
