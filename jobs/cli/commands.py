"""All commands, registered by importing their modules."""

from jobs.cli import demo, extract, stores, training, weights

__all__ = ["demo", "extract", "stores", "training", "weights"]
