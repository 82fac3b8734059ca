"""Nodes that die, join late, or are cut off: three Ray nodes in network namespaces of this machine.

    sudo python -m benchmarks.rehearsals.nodes [--only killed,cut] [--videos 36]

Needs root, Linux and `ip`. Each rehearsal starts a cluster of its own, runs `msnet extract` on it, disturbs it once a
video is staged, resumes if the command has ended, and compares the store with one that was extracted without a
cluster. Prints a table, and below it what the user was told.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import av
import numpy as np

_NAMES = ("msnet0", "msnet1", "msnet2")
_BRIDGE = "msnetbr"
_PREFIX = "10.77.0."
_PORT = 6379
_CUT_SECONDS = 100.0
_ENVIRONMENT = {"RAY_AUTH_MODE": "token", "RAY_AUTH_ENVIRONMENT": "0" * 64, "RAY_worker_niceness": "0"}
_OPTIONS = (
    *("--model", "msnet_resnet18", "--weights", "random", "--size", "64", "--sampling", "dense", "--rate-hz", "0"),
    *("--device", "cpu", "--threads", "1", "--decoders", "1", "--shard-bytes", "150kB"),
)


@dataclass
class Told:
    """Lines that a command wrote, each with the seconds since its start."""

    began: float = field(default_factory=time.monotonic)
    lines: list[tuple[float, str]] = field(default_factory=list)

    def read(self, stream: Iterator[str]) -> None:
        for line in stream:
            self.lines.append((time.monotonic() - self.began, line.rstrip()))


@dataclass
class Result:
    """What came of a rehearsal. went_on: seconds from the disturbance until lost work began again, or None."""

    name: str
    codes: list[int]
    seconds: float
    disturbed: float | None
    went_on: float | None
    equal: bool
    told: list[str]


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


@contextmanager
def network() -> Iterator[None]:
    """A bridge, and a namespace with an address for each node."""
    _tear_down()
    try:
        _ip("link", "add", _BRIDGE, "type", "bridge")
        _ip("link", "set", _BRIDGE, "up")
        for number, name in enumerate(_NAMES):
            _ip("netns", "add", name)
            _ip("link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", f"v{name}", "master", _BRIDGE, "up")
            for command in (("addr", "add", f"{_address(number)}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
                _ip("-n", name, *command)
            _ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        _tear_down()


def _tear_down() -> None:
    for name in _NAMES:
        kill(name)
        _ip("link", "del", f"v{name}", check=False)  # now: a namespace ends when its last process has
        _ip("netns", "del", name, check=False)
    _ip("link", "del", _BRIDGE, check=False)


def _address(number: int) -> str:
    return f"{_PREFIX}{10 + number}"


def kill(name: str, program: str = "") -> None:
    """Kill the processes of a namespace, or those of one program."""
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    for pid in map(int, found.stdout.split()):
        with suppress(OSError):
            if program in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode():
                os.kill(pid, signal.SIGKILL)


def start_node(number: int, place: Path) -> None:
    """Start a Ray node of one core in its namespace."""
    where = ["--head", f"--port={_PORT}", "--include-dashboard=false", f"--temp-dir={place}"]
    if number:
        where = [f"--address={_address(0)}:{_PORT}"]
    ray = str(Path(sys.executable).with_name("ray"))
    options = [f"--node-ip-address={_address(number)}", "--num-cpus=1", "--object-store-memory=100000000"]
    command = ["ip", "netns", "exec", _NAMES[number], ray, "start", *where, *options, "--disable-usage-stats"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **_ENVIRONMENT}, timeout=180)


def command(*arguments: str | Path, on_cluster: bool) -> subprocess.Popen[str]:
    """`msnet` on this machine, or in the namespace of the head."""
    call = [sys.executable, "-m", "msnet_features", *map(str, arguments)]
    if on_cluster:
        call = ["ip", "netns", "exec", _NAMES[0], *call, "--ray-address", f"{_address(0)}:{_PORT}"]
    environment = {**os.environ, **(_ENVIRONMENT if on_cluster else {}), "COLUMNS": "500"}
    pipe = subprocess.PIPE
    return subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=pipe, text=True, env=environment)


def finish(process: subprocess.Popen[str], told: Told, during: Callable[[], None] = lambda: None) -> int:
    """Read what a command says until it ends."""
    assert process.stderr is not None
    reader = threading.Thread(target=told.read, args=(process.stderr,))
    reader.start()
    during()
    reader.join()
    return process.wait()


def begun_again(store: Path) -> float | None:
    """When a shard first began for the second time, by the store's logs; None if none did."""
    known = set()
    for log in sorted(store.glob("logs/*.log")):
        for stamp, shard in re.findall(r"^(\S+ \S+) INFO \S+ (shard-\d+) begins", log.read_text(), re.MULTILINE):
            if shard in known:
                return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").timestamp()
            known.add(shard)
    return None


def works(store: Path) -> bool:
    """Whether a video of a store is staged."""
    return any(" staged, " in log.read_text() for log in store.glob("logs/*.log"))


def rehearse(name: str, videos: Path, local: Path, folder: Path) -> Result:
    """Run one extraction with its disturbance."""
    store, place = folder / name, Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    disturbed: list[float] = []

    def disturb() -> None:
        while not works(store) and process.poll() is None:
            time.sleep(0.1)
        disturbed.append(time.time())
        match name:
            case "killed":
                kill(_NAMES[2])
            case "cut":
                _ip("link", "set", f"v{_NAMES[2]}", "down")
                time.sleep(_CUT_SECONDS)
                _ip("link", "set", f"v{_NAMES[2]}", "up")
            case "late":
                start_node(2, place)
            case "head":
                kill(_NAMES[0], "gcs_server")

    with network():
        for number in range(2 if name == "late" else 3):
            start_node(number, place)
        told, codes = Told(), []
        process = command("extract", videos, "--out", store, *_OPTIONS, on_cluster=True)
        codes.append(finish(process, told, disturb if name != "undisturbed" else lambda: None))
        seconds = time.monotonic() - told.began
    if codes[0] != 0:
        codes.append(finish(command("resume", store, "--device", "cpu", on_cluster=False), Told()))
    shutil.rmtree(place, ignore_errors=True)
    equal = finish(command("compare", local, store, on_cluster=False), Told()) == 0
    again = begun_again(store) if disturbed else None
    began = time.time() - (time.monotonic() - told.began)
    return Result(
        name,
        codes,
        seconds,
        disturbed[0] - began if disturbed else None,
        again - disturbed[0] if again else None,
        equal,
        [f"{at:6.1f} s  {line}" for at, line in told.lines if not line.startswith(("extracting:", "probing"))],
    )


def write_videos(folder: Path, count: int) -> None:
    """Small videos of moving noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        with av.open(str(folder / f"{number:03}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            picture = rng.integers(0, 255, (96, 128, 3), dtype=np.uint8)
            for step in range(150):
                frame = av.VideoFrame.from_ndarray(np.roll(picture, 2 * step, axis=1), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())


def main() -> None:
    """Rehearse, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="undisturbed,killed,cut,late,head")
    parser.add_argument("--videos", type=int, default=36)
    options = parser.parse_args()
    if os.geteuid() or shutil.which("ip") is None:
        sys.exit("expected root and the command `ip`. Run this with sudo on Linux")
    results = []
    with tempfile.TemporaryDirectory(prefix="rehearsal") as text:
        folder = Path(text)
        write_videos(folder / "videos", options.videos)
        local = folder / "local"
        if finish(command("extract", folder / "videos", "--out", local, *_OPTIONS, on_cluster=False), Told()):
            sys.exit("expected the extraction without a cluster to succeed")
        for name in options.only.split(","):
            results.append(rehearse(name, folder / "videos", local, folder))
            _show(results[-1:])
    _show(results)


def _show(results: list[Result]) -> None:
    print(f"{'rehearsal':12} {'exit codes':>10} {'seconds':>8} {'disturbed at':>12} {'went on after':>18} equal")
    for one in results:
        at = "" if one.disturbed is None else f"{one.disturbed:.1f}"
        on = "" if one.went_on is None else f"{one.went_on:.1f}"
        print(f"{one.name:12} {one.codes!s:>10} {one.seconds:8.1f} {at:>12} {on:>18} {one.equal}")
    for one in results:
        print(f"\n{one.name}:", *one.told, sep="\n  ")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
