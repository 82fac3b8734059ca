"""What this machine offers this process: cores by affinity and cgroup, memory, shared memory, instructions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # version 2
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")  # version 1
_CGROUP_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
_SHARED_MEMORY = Path("/dev/shm")
_PROCESSORS = Path("/proc/cpuinfo")
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one is Arm's


def available_cores() -> int:
    """Cores that this process may use: the smaller of its affinity mask and its cgroup's quota, at least 1.

    The machine's own count is too large where a batch scheduler or a container gives a job a few of its cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cores()
    return max(1, min(cores, int(quota)) if quota else cores)


def _cgroup_cores() -> float | None:
    try:
        quota, period = _CGROUP_CPU_MAX.read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = _CGROUP_QUOTA.read_text(), _CGROUP_PERIOD.read_text()
        except OSError:
            return None
    try:
        limit = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max": no quota
        return None
    return limit if limit > 0 else None


def shared_memory_bytes() -> int | None:
    """Size of /dev/shm in bytes, through which frames pass between processes; None if there is none."""
    return shutil.disk_usage(_SHARED_MEMORY).total if _SHARED_MEMORY.is_dir() else None


def private_memory_bytes(pid: int) -> int | None:
    """Private memory of a process in bytes; None if the system does not report it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return None


def lacks_bfloat16() -> bool:
    """Whether the processors lack bfloat16 instructions, so that it is emulated; False if unknown."""
    try:
        lines = _PROCESSORS.read_text().splitlines()
    except OSError:
        return False
    known = [set(line.partition(":")[2].split()) for line in lines if line.startswith(("flags", "Features"))]
    return bool(known) and not any(_BFLOAT16 & instructions for instructions in known)
