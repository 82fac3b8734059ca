"""From a file to frames: listing, sampling, preflight, decoding, resizing.

Names are imported on first use, so listing and sampling load no decoder.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
