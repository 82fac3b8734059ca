"""The store: sharded HDF5 on disk, written so that nothing finished is lost, and read by `FeatureStore`.

Importable without torch, Ray or a decoder. Names are loaded on first use, so that a reader does not pay for a writer.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extractor.store.commit import CommitResult, CommitStatus, commit_shard, retire
    from extractor.store.lease import Lease
    from extractor.store.probe import probe_storage
    from extractor.store.reader import FeatureStore
    from extractor.store.records import committed, next_generation
    from extractor.store.run import Run, read_run, write_run
    from extractor.store.staging import Attempt, StagedItemWriter, new_attempt, stage_failure, staged_items
    from extractor.store.sweeping import sweep
    from extractor.store.tables import read_inventory, write_inventory, write_manifest_cache

__all__ = [
    "Attempt",
    "CommitResult",
    "CommitStatus",
    "FeatureStore",
    "Lease",
    "Run",
    "StagedItemWriter",
    "commit_shard",
    "committed",
    "new_attempt",
    "next_generation",
    "probe_storage",
    "read_inventory",
    "read_run",
    "retire",
    "stage_failure",
    "staged_items",
    "sweep",
    "write_inventory",
    "write_manifest_cache",
    "write_run",
]

_HOME = {
    "Attempt": "staging",
    "CommitResult": "commit",
    "CommitStatus": "commit",
    "FeatureStore": "reader",
    "Lease": "lease",
    "Run": "run",
    "StagedItemWriter": "staging",
    "commit_shard": "commit",
    "committed": "records",
    "new_attempt": "staging",
    "next_generation": "records",
    "probe_storage": "probe",
    "read_inventory": "tables",
    "read_run": "run",
    "retire": "commit",
    "stage_failure": "staging",
    "staged_items": "staging",
    "sweep": "sweeping",
    "write_inventory": "tables",
    "write_manifest_cache": "tables",
    "write_run": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
