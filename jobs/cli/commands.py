"""All commands, registered by importing their modules."""

from jobs.cli import (
    demo,
    evaluation,
    extract,
    gebd,
    gebd_demo,
    gebd_heads,
    gebd_plots,
    pictures,
    stores,
    training,
    weights,
)

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
