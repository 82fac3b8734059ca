"""Conversion of a checkpoint of any kind to our own format, which cannot hold code."""

from __future__ import annotations

from pathlib import Path

from extractor.models.checkpoints.checkpoint import read_checkpoint, save_checkpoint
from extractor.models.checkpoints.fitting import restore
from extractor.models.checkpoints.inspection import CheckpointReport, architecture_of, inspect_checkpoint
from extractor.models.spec import describe_network
from schemas.errors import WeightsError


def convert_checkpoint(
    path: Path, out: Path, model: str | None = None, *, licence: str, replace: bool = False
) -> CheckpointReport:
    """Write the checkpoint at `path` as safetensors to `out` and return a report on the new file.

    `model` is the network it belongs to, by default the one its content suggests; `licence` is that of the weights.
    WeightsError where it does not fit, where there is no folder for `out`, or where `out` exists, unless `replace`.
    """
    if out.exists() and not replace:
        raise WeightsError(f"expected a new file for --out; {out} exists. Give another name")
    if not out.absolute().parent.is_dir():
        raise WeightsError(f"expected a folder for --out; there is no {out.absolute().parent}. Create it first")
    checkpoint = read_checkpoint(path)
    name = model or architecture_of(checkpoint)
    if name is None:
        raise WeightsError(
            f"expected weights of a network of this family; {path} looks like none. Name one with --model"
        )
    network = restore(describe_network(name), checkpoint)
    save_checkpoint(out, network, licence=licence, recipe={"converted_from": path.name})
    return inspect_checkpoint(out, name)
