"""What things are: configuration, records, manifest, layout, errors. Imports no torch, Ray, decoder or HDF5."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["DISTRIBUTION", "__version__"]

DISTRIBUTION = "msnet-features"

try:
    __version__ = version(DISTRIBUTION)
except PackageNotFoundError:  # run from a folder of the source that was not installed
    __version__ = "of an unknown version"
