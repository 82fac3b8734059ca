"""Many videos on many devices: extraction as functions. The only package that knows Ray and the command line."""

import lazy_loader

from schemas import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
