from __future__ import annotations

import numpy as np
import pytest

from extractor.store.disk.rows import all_finite


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_that_are_not_finite_are_found_whatever_their_bits(dtype):
    width = np.dtype(dtype).itemsize
    info, sign = np.finfo(dtype), 1 << (8 * width - 1)
    infinity = int(np.array(np.inf, dtype).view(f"u{width}"))
    good = np.array([0, -0.0, info.max, info.min, info.tiny, -info.smallest_subnormal, 1], dtype)
    assert all_finite(good) and all_finite(good[:0])
    for bits in (infinity, infinity + 1, sign - 1, infinity | sign, (infinity + 1) | sign, 2 * sign - 1):
        bad = good.copy()
        bad.view(f"u{width}")[3] = bits
        assert not np.isfinite(bad[3]) and not all_finite(bad), hex(bits)


def test_every_number_of_16_bits():
    numbers = np.arange(2**16, dtype=np.uint16).view(np.float16)
    assert [all_finite(number) for number in numbers.reshape(-1, 1)] == np.isfinite(numbers).tolist()
