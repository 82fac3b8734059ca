"""Generic event boundary detection on extracted features. Needs neither Ray nor a decoder.

The names below are loaded on first use.
"""

import lazy_loader

from schemas import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
