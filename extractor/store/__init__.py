"""The store: sharded HDF5 on disk. A crash loses no finished item; `FeatureStore` reads it.

Imports no Ray or decoder, and torch for `FeatureDataset` and `pad_collate` only. Names load on first use, so that a
reader does not pay for the writer.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
