from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from jobs.cluster import machine
from jobs.cluster.machine import available_cores, lacks_bfloat16, private_memory_bytes, shared_memory_bytes


@pytest.fixture
def cgroup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder in place of the system's control groups, and 16 cores by affinity."""
    monkeypatch.setattr(machine, "_CGROUP_CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(machine, "_CGROUP_QUOTA", tmp_path / "quota")
    monkeypatch.setattr(machine, "_CGROUP_PERIOD", tmp_path / "period")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("400000 100000\n", 4),
        ("150000 100000\n", 1),
        ("50000 100000\n", 1),
        ("max 100000\n", 16),
        ("6400000 100000", 16),
        ("0 100000", 16),
        ("100000 0", 16),
        ("nonsense", 16),
        ("", 16),
    ],
)
def test_cores_by_cgroup_version_2(content: str, cores: int, cgroup: Path) -> None:
    (cgroup / "cpu.max").write_text(content)
    assert available_cores() == cores


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [("200000\n", "100000\n", 2), ("-1\n", "100000\n", 16), ("250000", "100000", 2), ("x", "100000", 16)],
)
def test_cores_by_cgroup_version_1(quota: str, period: str, cores: int, cgroup: Path) -> None:
    (cgroup / "quota").write_text(quota)
    (cgroup / "period").write_text(period)
    assert available_cores() == cores


def test_cores_by_affinity_where_no_cgroup_tells(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_cores() == 16
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert available_cores() == 1


def test_cores_by_count_where_there_is_no_affinity(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1


def test_private_memory_grows_by_what_a_process_takes() -> None:
    before = private_memory_bytes(os.getpid())
    if before is None:
        pytest.skip("this system does not tell")
    # A mapping of its own: numpy may hand out memory that an earlier test has given back.
    with mmap.mmap(-1, 64 * 1024**2, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
        grown = (private_memory_bytes(os.getpid()) or 0) - before
        assert 0.9 * len(held) <= grown <= 1.5 * len(held)


def test_private_memory_of_no_process_is_unknown() -> None:
    assert private_memory_bytes(2**22 + 1) is None


def test_shared_memory_is_the_size_of_its_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_SHARED_MEMORY", tmp_path)
    status = os.statvfs(tmp_path)
    assert shared_memory_bytes() == status.f_frsize * status.f_blocks
    monkeypatch.setattr(machine, "_SHARED_MEMORY", tmp_path / "missing")
    assert shared_memory_bytes() is None


@pytest.mark.parametrize(
    ("content", "lacking"),
    [
        ("model name : AMD EPYC\nflags\t\t: fpu avx2 f16c\n", True),
        ("flags\t\t: fpu avx512f avx512_bf16\n", False),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", False),
        ("Features\t: fp asimd bf16\n", False),
        ("no flags are told here\n", False),
        (None, False),
    ],
)
def test_lacks_bfloat16_reads_what_the_processor_can_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, lacking: bool
) -> None:
    processors = tmp_path / "cpuinfo"
    if content is not None:
        processors.write_text(content)
    monkeypatch.setattr(machine, "_PROCESSORS", processors)
    assert lacks_bfloat16() is lacking
