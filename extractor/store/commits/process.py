"""Identity of a process, so that another one on the same machine can tell whether it is still alive."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path


def machine() -> str:
    """Identity of this host's boot and process namespace. Pids are comparable between processes with the same one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no /proc: macOS
        return f"{socket.gethostname()} {uuid.getnode():x}"


def process_start(pid: int) -> str:
    """Start time of a process as the kernel counts it, "" if it is not known."""
    fields = _stat_fields(pid)
    return fields[19] if fields else ""


def has_ended(pid: int, started: str) -> bool:
    """Whether the process with this pid and start time has ended. A zombie has."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # alive, of another user
    fields = _stat_fields(pid)
    if not fields:
        return False
    return fields[0] in "ZX" or (started != "" and fields[19] != started)


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on. The name before it may hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
