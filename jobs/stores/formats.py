"""The formats of exported files."""

from __future__ import annotations

from enum import StrEnum


class ExportFormat(StrEnum):
    """Format of the exported files."""

    NPY = "npy"
    SAFETENSORS = "safetensors"
    WEBDATASET = "webdataset"
    ZARR = "zarr"
    PARQUET = "parquet"

    @property
    def has_parts(self) -> bool:
        """Whether a file holds many videos, and not one."""
        return self in (ExportFormat.WEBDATASET, ExportFormat.PARQUET)


PART_BYTES = 512 * 1024**2
"""Target size of a part, by default."""
