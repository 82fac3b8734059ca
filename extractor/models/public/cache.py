"""Where fetched weights are kept, and how a name becomes a file there. Nothing here uses the network."""

from __future__ import annotations

import hashlib
import os
from io import BufferedReader
from pathlib import Path

from extractor.models.public.catalogue import PUBLIC_WEIGHTS, PublicWeights, public_weights
from schemas.errors import WeightsError

CACHE_VARIABLE = "MSNET_CACHE"
"""Environment variable that names the folder of fetched files."""

_PREFIXES = tuple({name.partition("_")[0] + "_" for name in PUBLIC_WEIGHTS})

_LONGEST_NAME = 100


def weights_folder() -> Path:
    """Folder of fetched weights: $MSNET_CACHE/weights, by default that of the user's caches; it may not exist yet.

    WeightsError where neither the variables nor the system say where a user's files are.
    """
    try:
        if named := os.environ.get(CACHE_VARIABLE):
            return Path(named).expanduser().absolute() / "weights"
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "")
        if not caches.is_absolute():  # the standard has relative ones ignored
            caches = Path.home() / ".cache"
    except RuntimeError as error:
        raise WeightsError(
            "expected a folder for fetched weights; got none, as this user has no home. Name one in " + CACHE_VARIABLE
        ) from error
    return caches / "msnet-features" / "weights"


def is_fetched(weights: PublicWeights) -> bool:
    """Whether there is a file of these weights; its content is checked whenever it is used."""
    try:
        return (weights_folder() / weights.file_name).is_file()
    except (WeightsError, OSError):
        return False


def is_public_name(weights: str | Path) -> bool:
    """Whether `weights` can only be the name of public weights, known or not: an existing file of that name wins."""
    name, path = str(weights), Path(weights)
    looks_so = name.startswith(_PREFIXES) and path.name == name and not path.suffix and len(name) < _LONGEST_NAME
    return looks_so and not path.exists()


def named_checkpoint(weights: Path) -> Path:
    """Path of the fetched file if `weights` is the name of public weights; else `weights`.

    WeightsError where there are none of that name, they were not fetched, or the file has another content.
    """
    name = str(weights)
    if not is_public_name(name):
        return weights
    entry = public_weights(name)
    fetched = weights_folder() / entry.file_name
    if not os.path.lexists(fetched):
        raise WeightsError(
            f"expected {name} to be fetched before its use; there is no {fetched}. Run `msnet weights fetch {name}`"
        )
    got = sha256_of(fetched, entry.most_bytes)
    if got != entry.sha256:
        raise WeightsError(
            f"expected {fetched} to be {name}, with the SHA-256 {entry.sha256}; got {got}. Run `msnet weights fetch"
            f" {name}`, which replaces it"
        )
    return fetched


def sha256_of(path: Path, most_bytes: int) -> str:
    """SHA-256 of a file, in hexadecimal digits; for one that cannot be that of the weights, words that say why."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return "something that is not a file"
        if (size := path.stat().st_size) > most_bytes:
            return f"{size:,} bytes, which are too many"
        with path.open("rb") as file:
            return digest(file)
    except OSError as error:
        return f"a file that cannot be read ({error.strerror or error})"


def digest(file: BufferedReader) -> str:
    """SHA-256 of an open file, from where it stands."""
    return hashlib.file_digest(file, "sha256").hexdigest()
