"""`msnet weights list`, `inspect` and `convert`: the networks, and what a checkpoint contains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS, bundled_networks, checkpoint_path
from extractor.models.public.catalogue import PUBLIC_WEIGHTS
from extractor.models.spec import NETWORK_NAMES, describe_network
from jobs.cli.app import app
from jobs.cli.display import paragraph, rows, size, table
from jobs.cli.outputs import Force, OutputFile, check_writable
from jobs.cli.plain_help import App
from jobs.cli.streams import Block, say
from schemas.errors import WeightsError
from schemas.wording import counted

if TYPE_CHECKING:
    from extractor.models.checkpoints.inspection import CheckpointReport

weights_app = App(help="Networks and checkpoints.")
app.add_typer(weights_app, name="weights")

_Path = Annotated[
    Path, typer.Argument(help="A checkpoint: safetensors, or a file written by torch.save.", show_default=False)
]
_PathOrBundled = Annotated[
    Path,
    typer.Argument(
        help=f"A checkpoint: safetensors, a file written by torch.save, `{BUNDLED_WEIGHTS}`, or the name of fetched "
        "public weights.",
        show_default=False,
    ),
]
_Model = Annotated[
    str | None, typer.Option("--model", help="Network to check it against. (default: the one it matches)")
]
TERMS = (
    "They were trained on ImageNet, whose terms allow research only and may bind what was made with it: whether you "
    "may use them is yours to find out."
)
_KINDS = {
    "reference": "a checkpoint of the reference MSNet",
    "tsm": "a TSM release",
    "imagenet": "an ImageNet backbone",
    "msnet": "a file of this program",
}
_METADATA = ("architecture", "licence", "notes", "recipe", "numbers")  # of our own files, the most interesting first
_NOT_SHOWN = ("format", "format_version")  # the kind implies them
_LONGEST_VALUE = 300
_DIGEST_LETTERS = 12


@weights_app.command("list")
def list_networks() -> int:
    """List the networks and the widths of their features, and public weights."""
    from extractor.models.public.cache import is_fetched

    networks: list[tuple[object, ...]] = []
    for name in NETWORK_NAMES:
        spec = describe_network(name)
        widths = (spec.feature_dim, spec.frame_feature_dim, spec.motion_channels or "none")
        networks.append((name, *widths, spec.reach.back, spec.reach.forward))
    say(table(("name", "clip", "frame", "motion", "frames back", "forward"), networks))
    say(
        paragraph(
            f"Trained weights are bundled for {', '.join(bundled_networks())}, as the default of --weights. For the "
            "others, give --weights your own checkpoint, public weights, or `random` for a try-out."
        )
    )
    say("")
    public = PUBLIC_WEIGHTS.values()
    rows_of_public = [
        (one.name, size(one.size_bytes), one.licence, "yes" if is_fetched(one) else "no") for one in public
    ]
    say(table(("public weights", "size", "licence", "fetched"), rows_of_public))
    say(paragraph(f"`msnet weights fetch NAME` downloads them, and --weights NAME takes them then. {TERMS}"))
    return 0


@weights_app.command()
def inspect(
    path: _PathOrBundled,
    model: _Model = None,
    recipe: Annotated[
        bool,
        typer.Option(
            "--recipe", help="Print only how the weights were trained, as JSON, with a line for each of those before."
        ),
    ] = False,
    ancestry: Annotated[
        bool, typer.Option("--ancestry", help="Like --recipe, with the whole recipes of those before.")
    ] = False,
) -> int:
    """Show what a checkpoint contains, what fits a network and what does not."""
    from extractor.models.checkpoints.inspection import inspect_checkpoint
    from jobs.weights.defaults import BUNDLED_MODEL

    report = inspect_checkpoint(checkpoint_path(path, model or BUNDLED_MODEL), model)
    if recipe or ancestry:
        found = _recipe(report)
        say(Block(json.dumps(found if ancestry else _without_ancestors(found), indent=2)))
        return 0
    _print_report(report, model)
    return 0 if report.fit.fits else 1


@weights_app.command()
def convert(
    path: _Path,
    out: Annotated[Path, typer.Option("--out", "-o", help="The safetensors file to write.", show_default=False)],
    model: _Model = None,
    licence: Annotated[str, typer.Option("--licence", help="Licence of the weights, stored in the file.")] = "unknown",
    force: Force = False,
) -> int:
    """Convert a checkpoint of any kind to safetensors, which cannot contain code."""
    from extractor.models.checkpoints.conversion import convert_checkpoint
    from extractor.models.checkpoints.notes import graft_command

    check_writable([OutputFile(out)], [path], force=force)
    report = convert_checkpoint(path, out, model, licence=licence, replace=force)
    _print_report(report)
    if model is None and not report.has_motion:
        backbone = str(report.architecture).partition("_")[2]
        say(
            paragraph(
                f"It has no MotionSqueeze module. `{graft_command(out, f'msnet_{backbone}')}` trains one on it.",
            )
        )
    return 0


def _print_report(report: CheckpointReport, model: str | None = None) -> None:
    parameters = counted(report.num_parameters, "parameter")
    lines: list[tuple[object, ...]] = [
        ("kind", _KINDS[report.kind]),
        ("network", report.architecture or "none of ours"),
        ("tensors", report.num_tensors, f"{parameters}, {size(report.size_bytes)}"),
        ("classes", report.num_classes or "no classifier"),
        ("MS module", "yes" if report.has_motion else "no"),
        ("edges", report.edges),
        ("SHA-256", report.sha256),
    ]
    say(str(report.path))
    say(rows(lines))
    ours = [key for key in _METADATA if key in report.metadata]
    for key in (*ours, *sorted(set(report.metadata) - set(_NOT_SHOWN) - set(ours))):
        long_recipe = key == "recipe" and len(report.metadata[key]) > _LONGEST_VALUE
        value = "--recipe prints it" if long_recipe else _shown(_in_words(report.metadata[key]))
        if value:
            say(paragraph(f"  {_shown(key)}: {value}", indent="    "))
    fit = report.fit
    if fit.fits:
        say(paragraph(f"it fits {fit.model}{_of_new_module(report)}", indent="  "))
    elif model is None and report.architecture is None:
        say(paragraph(f"it fits no network of ours; the nearest is {fit.model}: {fit.describe()}", indent="  "))
    else:
        say(paragraph(f"it does not fit {fit.model}: {fit.describe()}", indent="  "))


def _of_new_module(report: CheckpointReport) -> str:
    """What to do about an MS module that the checkpoint lacks, behind what it fits."""
    from extractor.models.checkpoints.notes import graft_command

    if not report.fit.kept:
        return ""
    kept = counted(len(report.fit.kept), "tensor")
    command = graft_command(report.path, report.fit.model)
    return f"; {kept} of the MS module keep initial values, which `{command}` trains"


def _recipe(report: CheckpointReport) -> Any:
    """The recipe in our own file; printed as JSON, which escapes characters that would move a terminal's cursor."""
    try:
        return json.loads(report.metadata["recipe"])
    except (KeyError, ValueError, RecursionError):
        raise WeightsError(
            f"expected a checkpoint that stores its recipe; got {report.path}: leave --recipe and --ancestry out"
        ) from None


def _without_ancestors(recipe: Any) -> Any:
    """A recipe, in which a line stands for each of the weights that it started from, from the last to the first."""
    if not isinstance(recipe, dict) or not isinstance(recipe.get("start"), dict):
        return recipe
    lines: list[str] = []
    start: Any = recipe["start"]
    while isinstance(start, dict):
        kind = str(start.get("kind"))
        what = _KINDS.get(kind, _shown(kind))
        lines.append(f"{_shown(str(start.get('file')))}: {what}, SHA-256 {str(start.get('sha256'))[:_DIGEST_LETTERS]}")
        before = start.get("recipe")
        start = before.get("start") if isinstance(before, dict) else None
    if isinstance(start, str):
        lines.append(_shown(start))
    return recipe | {"start": lines}


def _in_words(text: str) -> str:
    """A JSON list or dictionary as words, empty where it has no content; any other text unchanged."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict):
        value = [f"{name} {_listed(entry)}" for name, entry in value.items() if entry not in (None, [], {}, "")]
    return _listed(value) if isinstance(value, list) else text


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _shown(text: str) -> str:
    """A text from a file, shortened to _LONGEST_VALUE characters."""
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]} ..."
