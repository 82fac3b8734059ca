"""All commands, registered by importing their modules."""

from jobs.cli import demo, extract, stores, weights

__all__ = ["demo", "extract", "stores", "weights"]
