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


_OF_EXTRACTOR = """
import sys
import jobs.workers.extractor, jobs.workers.pipeline
print(*sys.modules)
"""


def loaded_by(script: str) -> set[str]:
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_an_extractor_does_without_what_reads_and_writes_tables() -> None:
    loaded = loaded_by(_OF_EXTRACTOR)
    assert {"torch", "jobs.workers.writer", "extractor.store.commits.staging"} <= loaded
    assert not {"pandas", "pyarrow"} & loaded


def test_a_driver_and_an_extractor_that_starts_its_decoders_have_not_waited_for_torch() -> None:
    loaded = loaded_by(_LOADED)
    assert {"jobs.workers.driver", "jobs.workers.extractor", "jobs.workers.decoder", "ray"} <= loaded
    assert "torch" not in loaded
