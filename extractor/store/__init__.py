"""The store: sharded HDF5 on disk, written so that nothing finished is lost, and read by `FeatureStore`.

Importable without torch, Ray or a decoder. Names are loaded on first use, so that a reader does not pay for a writer.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
