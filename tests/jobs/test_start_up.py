"""What the processes of a run import before they work: it is most of the time of a short one."""

from __future__ import annotations

import subprocess
import sys

_LOADED = """
import sys
from extractor.extraction.request import Request
from extractor.extraction.resolving import resolve
import jobs.run.extraction
resolve(Request())
import jobs.workers.decoder
print(*sys.modules)
"""


def test_a_driver_and_an_extractor_that_starts_its_decoders_have_not_waited_for_torch() -> None:
    ran = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert {"jobs.workers.driver", "jobs.workers.extractor", "jobs.workers.decoder", "ray"} <= loaded
    assert "torch" not in loaded
