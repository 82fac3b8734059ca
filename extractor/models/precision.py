"""Full float32 precision where results would otherwise depend on the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch


@contextmanager
def full_float32(device_type: str) -> Iterator[None]:
    """Run the block without autocast on `device_type`, and float32 products and convolutions without TF32 or bf16.

    Matching depends on differences of 1e-6 between correlations; TF32 has ten bits of mantissa, about 1e-3.
    """
    products = torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def precision_of(dtype: torch.dtype, device_type: str) -> AbstractContextManager[None]:
    """`full_float32` for float32 outside an autocast, else a null context: a surrounding autocast stays in force."""
    if dtype == torch.float32 and not torch.is_autocast_enabled(device_type):
        return full_float32(device_type)
    return nullcontext()
