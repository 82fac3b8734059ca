"""All commands, registered by importing their modules."""

from jobs.cli import demo, extract, stores
from jobs.cli.gebd import annotations as gebd, demo as gebd_demo, heads as gebd_heads, plots as gebd_plots
from jobs.cli.weights import checkpoints as weights, evaluation, picture as pictures, training

__all__ = [
    "demo",
    "evaluation",
    "extract",
    "gebd",
    "gebd_demo",
    "gebd_heads",
    "gebd_plots",
    "pictures",
    "stores",
    "training",
    "weights",
]
