"""Files on disk: atomic writes, seals, HDF5 shards and their chunks."""
