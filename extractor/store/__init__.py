"""The store: sharded HDF5 on disk, written so that nothing finished is lost, and read by `FeatureStore`.

Importable without torch, Ray or a decoder. Names are loaded on first use, so that a reader does not pay for a writer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.lazy import import_on_use

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

__getattr__, __dir__ = import_on_use(
    __name__,
    {
        "commit": ("CommitResult", "CommitStatus", "commit_shard", "retire"),
        "lease": ("Lease",),
        "probe": ("probe_storage",),
        "reader": ("FeatureStore",),
        "records": ("committed", "next_generation"),
        "run": ("Run", "read_run", "write_run"),
        "staging": ("Attempt", "StagedItemWriter", "new_attempt", "stage_failure", "staged_items"),
        "sweeping": ("sweep",),
        "tables": ("read_inventory", "write_inventory", "write_manifest_cache"),
    },
)
