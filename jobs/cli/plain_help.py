"""Commands and their help: plain text that fits any terminal, with options under headings.

Rich is not used: it takes text in brackets for markup, splits choices over two lines, and adds colours.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_WIDE, _NARROW = 30, 18  # columns for names of options, in a wide and in a narrow terminal
_NARROW_TERMINAL = 72
_LONGEST_WHOLE = 26  # columns of a command that is not broken: those that a narrow terminal has for text, at least
_KEPT = re.compile(
    "|".join(
        (
            rf"`[^`\n]{{1,{_LONGEST_WHOLE}}}`",
            r"\bdefault: [^\s;)\]]+",
            r"\bat least [\d.]+",
            r"(?<=[\[ ])-?[\d.]+ to [\d.]+(?=\])",
            r"(?<=\S)-(?=\S)",
        )
    )
)
_GLUE = str.maketrans(" -", "\0\1")  # what stands for them while lines are broken: no help has these
_UNGLUE = str.maketrans("\0\1", " -")
_LEAST = re.compile(r"x>=(-?[\d.]+)")
_BETWEEN = re.compile(r"(-?[\d.]+)<=x<=(-?[\d.]+)")
_KIND = re.compile(r"<(?:list\[)?(\w+)(?: range|\])>")


def _whole(text: str) -> str:
    """Text with what no line may break in: words with hyphens, short commands and defaults."""
    return _KEPT.sub(lambda found: found[0].translate(_GLUE), text)


def _record(name: str, text: str) -> tuple[str, str]:
    """An option as it is shown: "--at <list[float]>" takes a <float>, and "x>=1" is at least 1."""
    text = _BETWEEN.sub(r"\1 to \2", _LEAST.sub(r"at least \1", text))
    return _KIND.sub(lambda found: f"<{found[1].lower()}>", name), _whole(text)


class _Plain:
    """What the help of a command and of a group have in common."""

    help: str | None
    epilog: str | None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the whole page."""
        super().format_help(ctx, formatter)  # type: ignore[misc]
        formatter.buffer[:] = [text.translate(_UNGLUE) for text in formatter.buffer]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write the sentence that says what it does."""
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(_whole(self.help or ""))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write what stands below the options."""
        if self.epilog:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(_whole(self.epilog))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, options, and each named group of options, in the order of the command."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):  # type: ignore[attr-defined]
            usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
            record = parameter.get_help_record(ctx)
            if record is not None:
                if usual == "Arguments":
                    record = (_argument(parameter), record[1])
                name = getattr(parameter, "rich_help_panel", None) or usual
                sections.setdefault(name, []).append(_record(*record))
        columns = _WIDE if formatter.width >= _NARROW_TERMINAL else _NARROW
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records, col_max=columns)


def _argument(parameter: Any) -> str:
    """An argument's name: its metavar, without the brackets of one that may be left out."""
    return str(parameter.metavar or parameter.name).strip("[]").upper()


class _Command(_Plain, TyperCommand):
    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Write arguments as help texts name them: STORE, [VIDEO_ID]."""
        pieces = []
        for parameter in self.get_params(ctx):
            if parameter.param_type_name == "argument":
                name = _argument(parameter)
                pieces.append(name if parameter.required else f"[{name}]")
        return ["[OPTIONS]", *pieces]


class _Group(_Plain, TyperGroup):
    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, and below them the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write every command with its whole sentence, in the order of registration."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, _whole(command.help or "")) for name, command in commands if command is not None]
            )


class App(typer.Typer):
    """A typer app with the plain help of this module."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=_Group, rich_markup_mode=None, no_args_is_help=True, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Register a command, as typer does."""
        return super().command(name, cls=_Command, **options)
