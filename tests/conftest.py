from __future__ import annotations

import os

import pytest

# Before torch and numpy are imported, and for the processes that tests start: threads beyond the first wait for one
# another at full speed, which costs up to four times the processor time where two workers share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts Ray goes first, then the folders from the last to the first: long files are at work while short ones
    fill the other worker, and those of the first folders are short.
    """
    items.sort(key=lambda item: (item.get_closest_marker("ray") is not None, str(item.path)), reverse=True)
