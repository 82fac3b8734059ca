"""Reading the configuration of a training, of whichever task."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from reprlib import repr as short
from typing import Any, TypeVar

from pydantic import ValidationError

from schemas.errors import ConfigurationError
from schemas.wording import first_refusal
from training.config import TrainingConfig
from training.tasks.classify.config import ClassifyConfig
from training.tasks.contrast.config import ContrastConfig
from training.tasks.motion.config import MotionConfig

_MOST_BYTES = 1 << 20

Config = TypeVar("Config", bound=TrainingConfig)

TASKS: dict[str, type[TrainingConfig]] = {
    "motion": MotionConfig,
    "classify": ClassifyConfig,
    "contrast": ContrastConfig,
}
"""The configuration of each task."""

RECIPES = {
    "motion": ("default", "miniature", "graft", "graft-features"),
    "classify": ("small", "something-something", "kinetics"),
    "contrast": ("contrast", "rai"),
}
"""Configurations shipped with the package, by task; the first is the default."""


def read_config(source: Path | str | None = None, *, task: str = "motion", **changes: Any) -> TrainingConfig:
    """Read the configuration of a task from a TOML file or, by name, one of RECIPES; `changes` override its fields.

    `size_px` among them, the side of the square frames, overrides the field of the task that says it.

    Raises ConfigurationError where the file cannot be read or a field is unknown or invalid.
    """
    folder = files("training").joinpath("recipes")
    return read_recipe(TASKS[task], source, RECIPES[task], folder, changes, what="training configuration")


def read_recipe(
    model: type[Config],
    source: Path | str | None,
    recipes: Sequence[str],
    folder: Traversable,
    changes: Mapping[str, Any],
    *,
    what: str,
) -> Config:
    """Read a configuration from a TOML file or, by name, one of `recipes` in `folder`, the first by default.

    changes: override its fields. what: names it in a refusal. Raises ConfigurationError as `read_config`.
    """
    source = recipes[0] if source is None else source
    try:
        if str(source) in recipes:
            text = folder.joinpath(f"{source}.toml").read_text("utf-8")
        else:
            with Path(source).open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
            if len(content) > _MOST_BYTES:
                raise ConfigurationError(
                    f"expected at most {_MOST_BYTES >> 20} MiB of TOML; got more in {source}. Give another file"
                )
            text = content.decode()
        fields = {**tomllib.loads(text), **changes}
        if "size_px" in changes:
            del fields["size_px"]
            fields = model.sized(fields, changes["size_px"])
        return model.model_validate(fields)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError(
            f"expected a TOML file, or {' or '.join(recipes)}; got {source}, which cannot be read ({reason})."
            " Correct the path or the file"
        ) from error
    except ValidationError as error:
        overridden = ", ".join(f"{name} {short(value)}" for name, value in changes.items())
        changed = f"{source} with {overridden}" if changes else source
        raise ConfigurationError(f"{changed} is not a valid {what}: {first_refusal(error, model=model)}") from error
    except (ValueError, RecursionError) as error:  # ValueError itself is of numbers of thousands of digits
        raise ConfigurationError(f"expected TOML; got {source}, which is not valid: {error}. Correct it") from error
