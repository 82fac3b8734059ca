"""Names of a package that are imported when they are first used, so that one of them does not cost all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

__all__ = ["import_on_use"]


def import_on_use(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for the `__init__` of a package: `homes` maps modules of it to their names.

    __getattr__, __dir__ = import_on_use(__name__, {"reader": ("FeatureStore",)})
    """
    home_of = {name: module for module, names in homes.items() for name in names}

    def getattribute(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home_of[name]}"), name)

    def directory() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return getattribute, directory
