"""Starting a local Ray and joining a cluster: what is refused early, and what is left behind."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster as SeveralNodes

from extractor.store import FeatureStore
from jobs.cluster.cluster import _remove_session, _require_answer, cluster
from jobs.cluster.guard import processes_of
from jobs.cluster.options import Options
from schemas.errors import ConfigurationError, ResourceError, StorageError
from tests.jobs.running import SMALL, lines_with, msnet
from tests.videos import write_video


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.init", lambda *args, **options: pytest.fail("Ray was started"))


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(
    "address", ["", "local", "nonsense", "ray://127.0.0.1:10001", "host", "host:", ":6379", "host:port", "a b:1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with (
        pytest.raises(ConfigurationError, match="expected `auto` or host:port for --ray-address; got "),
        cluster(Options(ray_address=address)),
    ):
        pass


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_address_where_nobody_listens_is_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, but not listening
        address = f"{host}:{bound.getsockname()[1]}"
        said = (
            r"expected a Ray cluster at \S+; none answers \(.+\)\. "
            "Start one with `ray start --head`, or leave --ray-address out"
        )
        with pytest.raises(ResourceError, match=said), cluster(Options(ray_address=address)):
            pass
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ResourceError, match=said), cluster(Options(ray_address="auto")):
            pass


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_address_where_somebody_listens_is_tried(family: socket.AddressFamily) -> None:
    host = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}[family]
    with socket.socket(family) as listening:
        try:
            listening.bind((host, 0))
        except OSError:
            pytest.skip("this machine has no such addresses")
        listening.listen()
        port = listening.getsockname()[1]
        _require_answer(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


@pytest.mark.parametrize(
    ("told", "kept"), [(b":job_id:01\n:actor_name:Decoder\n", False), (b":job_id:01\n*** SIGSEGV received\n", True)]
)
def test_session_is_kept_where_a_worker_had_something_to_tell(tmp_path: Path, told: bytes, kept: bool) -> None:
    (tmp_path / "session" / "logs").mkdir(parents=True)
    (tmp_path / "session" / "logs" / "worker-1.err").write_bytes(b":job_id:01\n")
    (tmp_path / "session" / "logs" / "worker-2.err").write_bytes(told)
    (tmp_path / "session" / "logs" / "raylet.err").write_bytes(b"what Ray says of itself\n")
    _remove_session(tmp_path / "session")
    assert (tmp_path / "session").exists() is kept


@pytest.mark.ray
@pytest.mark.slow
def test_local_ray_leaves_nothing_behind(capfd: pytest.CaptureFixture[str]) -> None:
    with cluster(Options(device="cpu", extractors=1)) as machines:
        session = machines.session
        assert session is not None and session.is_dir()
        assert ray.get(ray.remote(lambda: 3).remote()) == 3
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_of(str(session))]
        assert any(b"gcs_server" in command for command in commands)
        assert not any(name in command for name in (b"monitor.py", b"dashboard.py") for command in commands)
        assert ray.get(ray.remote(lambda: os.nice(0)).remote()) == os.nice(0)  # Ray by itself adds 15
    assert not session.exists()
    with pytest.raises(KeyboardInterrupt), cluster(Options(device="cpu", extractors=1)) as machines:
        session = machines.session
        raise KeyboardInterrupt
    assert session is not None and not session.exists()
    with pytest.raises(KeyError), cluster(Options(device="cpu", extractors=1)) as machines:
        session = machines.session
        raise KeyError
    assert session is not None and session.is_dir()  # its logs may say why it failed
    shutil.rmtree(session)
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Address of a cluster of three nodes on this machine, one of them without cores."""
    nodes = SeveralNodes(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes.add_node(num_cpus=2)
    nodes.add_node(num_cpus=4)
    try:
        yield nodes.address
    finally:
        nodes.shutdown()


@pytest.mark.ray
@pytest.mark.slow
def test_cluster_is_joined_where_every_node_sees_store_and_dataset(address: str, tmp_path: Path) -> None:
    options = Options(ray_address=address, device="cpu", threads=1, decoders=1)
    with cluster(options, store=tmp_path, dataset=tmp_path) as machines:
        assert sorted(group.extractors for group in machines.workers.groups) == [2, 4]  # of a core each
        assert "a cluster of 3 nodes" in machines.notes[0]
        assert machines.session is None
    assert list(tmp_path.iterdir()) == []
    assert not ray.is_initialized()


@pytest.mark.ray
@pytest.mark.slow
def test_cluster_that_does_not_see_the_dataset_is_refused(address: str, tmp_path: Path) -> None:
    options = Options(ray_address=address, device="cpu")
    with (
        pytest.raises(StorageError, match=r"see the dataset \(.*gone\); 3 of 3 do not"),
        cluster(options, store=tmp_path, dataset=tmp_path / "gone"),
    ):
        pass
    assert not ray.is_initialized()


@pytest.mark.ray
@pytest.mark.slow
def test_cluster_without_room_is_refused(address: str, tmp_path: Path) -> None:
    options = Options(ray_address=address, device="cpu", extractors=9)
    with pytest.raises(ResourceError, match="the cluster of 3 nodes has room for"), cluster(options, store=tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray
@pytest.mark.slow
def test_extraction_runs_on_a_cluster(address: str, tmp_path: Path) -> None:
    for seed in range(3):
        write_video(tmp_path / "videos" / f"{seed}.mp4", frames=20, size=(64, 80), seed=seed)
    command = ("extract", tmp_path / "videos", "--out", tmp_path / "store", *SMALL, "--shard-bytes", "1kB")
    run = msnet(*command, "--ray-address", address, "--extractors", "2", "--threads", "1", "--decoders", "1")
    assert run.process.returncode == 0, run.err
    assert FeatureStore(tmp_path / "store").video_ids == ("0.mp4", "1.mp4", "2.mp4")
    assert "joined a cluster of 3 nodes" in run.err and "2 extractors" in run.out
    assert not lines_with([run.err], "rpc_client")
