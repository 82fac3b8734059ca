"""Networks with random weights, for tests that change none of them: a process makes each once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from extractor import load_model


@lru_cache(maxsize=8)
def random_network(name: str, **choices: Any) -> Any:
    """As `load_model` returns it."""
    return load_model(name, weights="random", **choices)
