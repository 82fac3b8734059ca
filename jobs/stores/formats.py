"""The formats of exported files."""

from __future__ import annotations

from enum import StrEnum


class ExportFormat(StrEnum):
    """Format of the exported files."""

    NPY = "npy"
    SAFETENSORS = "safetensors"
