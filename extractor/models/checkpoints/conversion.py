"""From a checkpoint of any kind to a file of ours, which cannot hold code."""

from __future__ import annotations

from pathlib import Path

from extractor.models.checkpoints.checkpoint import read_checkpoint, restore, save_checkpoint
from extractor.models.checkpoints.inspection import CheckpointReport, inspect_checkpoint
from extractor.models.spec import describe_network
from schemas.errors import WeightsError

__all__ = ["convert_checkpoint"]


def convert_checkpoint(
    path: Path, out: Path, model: str | None = None, *, licence: str, replace: bool = False
) -> CheckpointReport:
    """Write the checkpoint at `path` as safetensors to `out` and give a report on what was written.

    `model` is the network it belongs to, found by its content unless given; `licence` that of the weights. Raises
    WeightsError where it fits no network, or not this one, and, unless it is to `replace` it, where `out` exists.
    """
    if out.exists() and not replace:
        raise WeightsError(f"a new file was expected for --out, {out} exists: give another name")
    if not out.absolute().parent.is_dir():
        raise WeightsError(f"a folder was expected for --out, there is no {out.absolute().parent}: make it first")
    name = model or inspect_checkpoint(path).architecture
    if name is None:
        raise WeightsError(f"{path} looks like no network of the family: name one with --model")
    network = restore(describe_network(name), read_checkpoint(path))
    save_checkpoint(out, network, licence=licence, recipe={"converted_from": path.name})
    return inspect_checkpoint(out, name)
