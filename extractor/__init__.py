"""MSNet features of one video on one device: network, video, store, pipeline.

Names load on first use, so that reading a store does not import torch.
"""

import lazy_loader

from schemas import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
