"""Files of shards that are open for reading: a bounded number, each process its own."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence

from extractor.store.disk.rows import Array
from extractor.store.disk.shard import ShardReader
from schemas.errors import StoreError
from schemas.layout import DatasetSpec, StorePaths


class OpenShards:
    """Opens files on first use, at most `most` at a time, each with `cache_bytes` of chunk cache per dataset.

    Threads take turns. A forked process opens its own files: those that are open belong to its parent.
    """

    def __init__(self, paths: StorePaths, datasets: Sequence[DatasetSpec], most: int, cache_bytes: int) -> None:
        self._paths = paths
        self._datasets = datasets
        self._most = most
        self._cache_bytes = cache_bytes
        self._pid = -1
        self._own_process()

    def read(self, shard: str, attempt: str, path: str, start: int, stop: int) -> Array:
        """Rows [start, stop) of the dataset at `path` of the shard that an attempt committed.

        Raises StoreError if the file is gone, DamagedShardError if it is not as it was written.
        """
        self._own_process()
        with self._lock:
            return self._reader(shard, attempt).read(path, start, stop)

    def close(self) -> None:
        """Close all files; `read` opens them again."""
        self._own_process()
        with self._lock:
            while self._readers:
                self._readers.popitem()[1].close()

    def _reader(self, shard: str, attempt: str) -> ShardReader:
        key = shard, attempt
        if key in self._readers:
            self._readers.move_to_end(key)
            return self._readers[key]
        while len(self._readers) >= self._most:
            self._readers.popitem(last=False)[1].close()
        path = self._paths.shard_data(shard, attempt)
        name = path.relative_to(self._paths.root)
        try:
            reader = ShardReader(path, self._datasets, shard=shard, cache_bytes=self._cache_bytes)
        except FileNotFoundError as error:
            raise StoreError(
                f"{name} is gone from {self._paths.root}: if its shard was extracted again, open the store again; "
                "otherwise run `msnet verify`, and then what it says"
            ) from error
        self._readers[key] = reader
        return reader

    def _own_process(self) -> None:
        if self._pid != os.getpid():
            self._readers: OrderedDict[tuple[str, str], ShardReader] = OrderedDict()
            self._lock = threading.RLock()
            self._pid = os.getpid()
