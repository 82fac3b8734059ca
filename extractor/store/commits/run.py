"""run.json: what a store was made with. The first driver publishes it; later ones read it and must agree."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from extractor.store.disk.atomic import publish, read_bounded
from extractor.store.disk.hdf5 import filter_options
from extractor.store.disk.sealed import Kind, decode_json, encode_json, keep_copy
from schemas.config import FORMAT_VERSION, ExtractionConfig
from schemas.errors import ConfigurationError, StoreError
from schemas.escaping import in_command
from schemas.layout import DatasetSpec, StorePaths, datasets_of
from schemas.tensors import NetworkShape

_MAX_BYTES = 16 * 1024 * 1024
_READ_VERSIONS = (1, FORMAT_VERSION)
_KEYS = {"format_version", "digest", "run", "datasets"}


@dataclass(frozen=True)
class Run:
    """Content of run.json.

    config, shape: determine every dataset (`datasets`). compression: "none", "gzip" or "zstd". shard_bytes: target size
    of the planner. dataset_root: where the videos were, for information; no path in the store depends on it. versions:
    version by package. settings: anything else worth recording that does not change features.
    """

    config: ExtractionConfig
    shape: NetworkShape
    compression: str
    shard_bytes: int
    dataset_root: str
    created_utc: str
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return self.config.digest()

    def require_current(self, paths: StorePaths) -> None:
        """Raise ConfigurationError for a store of an earlier format, which can be read but not added to."""
        if self.config.format_version != FORMAT_VERSION:
            raise ConfigurationError(
                f"{paths.root} is a store of format version {self.config.format_version}, to which this program cannot "
                "add: finish it with the version of msnet-features that began it, or extract to another folder"
            )

    def continuing(self, store: Path, options: str = "") -> str:
        """The command that adds to this store what it lacks. options: of `msnet resume`; `msnet import` needs none."""
        if self.config.is_imported:
            return f"msnet import {in_command(self.dataset_root)} --out {in_command(store)}"
        return f"msnet resume {in_command(store)} {options}".rstrip()

    @property
    def datasets(self) -> tuple[DatasetSpec, ...]:
        return datasets_of(self.config, self.shape)


def write_run(paths: StorePaths, run: Run) -> Run:
    """Publish run.json unless the store has one; returns the one that the store has now.

    Raises ConfigurationError, naming the fields, if the store was made with another configuration, network shape or
    compression, or if this machine lacks what the compression needs.
    """
    filter_options(run.compression)  # refuse now what no commit could write
    values = {name: getattr(run, name) for name in Run.__dataclass_fields__}
    document = {
        "format_version": FORMAT_VERSION,
        "digest": run.digest,
        "run": values | {"config": run.config.model_dump(mode="json"), "shape": asdict(run.shape)},
        "datasets": [asdict(spec) for spec in run.datasets],  # for readers without our code
    }
    if publish(paths.run, encode_json(document, Kind.RUN)):
        keep_copy(paths, paths.run)
        return run
    there = read_run(paths)
    there.config.require_equal(run.config)
    for name in ("shape", "compression"):
        mine, theirs = getattr(there, name), getattr(run, name)
        if mine != theirs:
            raise ConfigurationError(
                f"expected the {name} of the store at {paths.root}, {mine!r}; got {theirs!r}. "
                "Use the store's own options, or another --out"
            )
    return there


def read_run(paths: StorePaths) -> Run:
    """Read run.json, or its copy if it is damaged; raises StoreError if this program can read neither."""
    document = _document(paths)
    try:
        run = TypeAdapter(Run).validate_python(document["run"])
        digest = document["digest"]
    except (ValueError, KeyError, TypeError, RecursionError, ConfigurationError) as error:
        raise _altered(paths.run, error) from error
    if run.digest != digest:
        raise StoreError(f"{paths.run} was altered: its digest is not that of its configuration. Restore it")
    return run


def has_seals(paths: StorePaths) -> bool:
    """Whether a store's tables carry seals. In older stores neither they nor run.json do."""
    return "seal" in _document(paths)


def _document(paths: StorePaths) -> dict[str, Any]:
    try:
        return _read_document(paths, paths.run)
    except StoreError:
        with suppress(StoreError):
            return _read_document(paths, paths.copy(paths.run))
        raise


def _read_document(paths: StorePaths, path: Path) -> dict[str, Any]:
    try:
        data = read_bounded(path, _MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"{paths.root} is not a store, it has no run.json: give the folder that `msnet extract --out` wrote, or "
            "repeat that command if it was interrupted while it started"
        ) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    try:
        document: dict[str, Any] = json.loads(data)
        version = document["format_version"]
        if version not in _READ_VERSIONS:
            raise StoreError(
                f"{paths.root} is a store of format version {version!r}, this program reads "
                f"{' and '.join(map(str, _READ_VERSIONS))}: use the version of msnet-features that wrote it"
            )
        return document if document.keys() == _KEYS else decode_json(data, Kind.RUN)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _altered(path, error) from error


def _altered(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path} is not what extract wrote ({str(error).splitlines()[0]}): restore it from a copy")
