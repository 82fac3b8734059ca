"""Videos in S3, by a server on this machine: an extraction, its repetition, and processes that share a cache.

Needs s3fs and moto[server], which `make setup` does not install: pip install 'msnet-features[s3]' 'moto[server]'.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extractor.store.reader import FeatureStore
from tests.jobs.conftest import Call
from tests.jobs.running import SMALL, Running, msnet
from tests.videos import write_video

pytest.importorskip("s3fs", reason="needs the extra s3")
server = pytest.importorskip("moto.server", reason="needs moto[server]")

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("default")]

WINDOWS = (*SMALL, "--sampling", "windows", "--rate-hz", "10")
CACHED = 3


class Bucket:
    """A bucket `videos` and what was asked of it. on: is called before a request is answered, by (method, name)."""

    def __init__(self) -> None:
        from werkzeug.serving import make_server

        app = server.DomainDispatcherApplication(server.create_backend_app)
        self.asked: Counter[tuple[str, str]] = Counter()
        self.on: dict[tuple[str, str], Callable[[], Any]] = {}

        def counting(environ: dict[str, Any], start: Any) -> Any:
            request = environ["REQUEST_METHOD"], environ["PATH_INFO"].rpartition("/")[2]
            self.asked[request] += 1
            if (act := self.on.pop(request, None)) is not None:
                act()
            return app(environ, start)

        self._server = make_server("127.0.0.1", 0, counting, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def connect(self) -> None:
        import boto3

        self._client = boto3.client("s3")
        self._client.create_bucket(Bucket="videos")

    def put(self, name: str, content: bytes) -> None:
        self._client.put_object(Bucket="videos", Key=f"set/{name}", Body=content)

    def delete(self, name: str) -> None:
        self._client.delete_object(Bucket="videos", Key=f"set/{name}")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    found = Bucket()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "hidden-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": found.address,
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        found.connect()
        yield found
        found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten good videos, and one broken one."""
    folder = tmp_path_factory.mktemp("data") / "videos"
    for name in (*(f"d{i % 2}/{i}.mp4" for i in range(8)), "gone.mp4", "changed.mp4"):
        write_video(folder / name, frames=40, fps=25, size=(96, 128), seed=len(name) + ord(name[3]))
    (folder / "text.mp4").write_text("not a video" * 100)
    return folder


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.mp4"))


@pytest.fixture(scope="module")
def extracted(bucket: Bucket, folder: Path) -> tuple[Path, Running, int]:
    """A store of the bucket, with a cache for three videos; the run, and the most bytes that the cache had."""
    for name in names_below(folder):
        bucket.put(name, (folder / name).read_bytes())
    bucket.put("notes.txt", b"not a video")
    bucket.on["HEAD", "gone.mp4"] = lambda: bucket.delete("gone.mp4")
    bucket.on["GET", "changed.mp4"] = lambda: bucket.put("changed.mp4", b"x" * 10)
    cache, most = folder.parent / "cache", 0
    run = Running(
        *("extract", "s3://videos/set", "--out", folder.parent / "store", *WINDOWS, "--decoders", "3"),
        *("--cache", cache, "--cache-bytes", str(cache_bytes(folder))),
    )
    while run.process.poll() is None:
        try:
            most = max(most, sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()))
        except FileNotFoundError:
            continue
        time.sleep(0.005)
    run.end()
    return folder.parent / "store", run, most


def cache_bytes(folder: Path) -> int:
    return CACHED * max(path.stat().st_size for path in folder.rglob("*.mp4"))


def test_videos_of_a_bucket_are_extracted_and_bad_ones_fail_by_class(extracted: tuple[Path, Running, int]) -> None:
    path, run, _ = extracted
    assert run.process.returncode == 2, run.err
    assert "Traceback" not in run.err and "left out: 1 file without a known video suffix (.txt)" in run.err
    store = FeatureStore(path)
    failures = dict(zip(store.failures["video_id"], store.failures["failure"], strict=True))
    assert failures == {"gone.mp4": "missing", "changed.mp4": "changed", "text.mp4": "cannot_open"}
    assert all("s3://videos/set/" in message for message in store.failures["message"]), list(store.failures["message"])
    assert not any("msnet-objects" in message for message in store.failures["message"])
    assert len(store.video_ids) == 8


def test_cache_stays_within_its_bound_and_every_video_is_fetched_once(
    extracted: tuple[Path, Running, int], bucket: Bucket, folder: Path
) -> None:
    assert 0 < extracted[2] <= cache_bytes(folder)
    gets = {name: count for (method, name), count in bucket.asked.items() if method == "GET" and name != "videos"}
    expected = {name.rpartition("/")[2] for name in names_below(folder)} - {"gone.mp4"}
    assert {name: gets.get(name) for name in expected} == dict.fromkeys(expected, 1), gets


def test_no_file_of_the_store_holds_a_credential(extracted: tuple[Path, Running, int]) -> None:
    holding = [path for path in extracted[0].rglob("*") if path.is_file() and b"hidden-secret" in path.read_bytes()]
    assert holding == []


def test_store_of_a_bucket_equals_that_of_a_folder_once_failed_and_new_videos_are_added(
    extracted: tuple[Path, Running, int], bucket: Bucket, folder: Path
) -> None:
    store = extracted[0]
    write_video(folder / "new.mp4", frames=40, fps=25, size=(96, 128), seed=99)
    for name in ("gone.mp4", "changed.mp4", "new.mp4"):
        bucket.put(name, (folder / name).read_bytes())
    again = msnet("resume", store, "--retry-failed", "missing,changed", "--rescan", "--cache", folder.parent / "cache")
    assert "1 new video in s3://videos/set" in again.err and "trying 2 failed videos again" in again.err, again.err
    local = msnet("extract", folder, "--out", folder.parent / "local", *WINDOWS)
    assert (again.process.returncode, local.process.returncode) == (2, 2), again.err + local.err  # text.mp4
    compared = msnet("compare", store, folder.parent / "local")
    assert (compared.process.returncode, compared.out.splitlines()[-1]) == (0, "equal"), compared.out


def test_table_beside_files_may_name_addresses(bucket: Bucket, folder: Path) -> None:
    bucket.put("1.mp4", (folder / "d1/1.mp4").read_bytes())
    table = folder.parent / "table.csv"
    table.write_text("path,start_seconds,end_seconds\nvideos/d0/0.mp4,,\ns3://videos/set/1.mp4,0.2,1.2\n")
    run = msnet("extract", table, "--out", folder.parent / "of_table", *WINDOWS, "--cache", folder.parent / "cache")
    assert run.process.returncode == 0, run.err
    assert set(FeatureStore(folder.parent / "of_table").video_ids) == {"videos/d0/0.mp4", "1.mp4#0.2-1.2"}


def test_plot_shows_frames_of_a_bucket(
    extracted: tuple[Path, Running, int], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    options = ("--out", tmp_path / "a.png", "--videos", "s3://videos/set")
    assert call("gebd", "plot", "video", extracted[0], "d0/0.mp4", *options)[0] == 0
    assert (tmp_path / "a.png").stat().st_size > 0 and list(tmp_path.glob("msnet-objects-*/*.mp4"))


def test_plan_fetches_only_what_it_tries(bucket: Bucket, folder: Path) -> None:
    before = bucket.asked.copy()
    run = msnet("plan", "s3://videos/set", *WINDOWS, "--cache", folder.parent / "fresh")
    assert "Traceback" not in run.err and "duplicates are not looked for" in run.err
    gets = [name for (method, name), count in (bucket.asked - before).items() if method == "GET" and "." in name]
    assert 0 < len(gets) <= 3, run.out


HOLD = """
import sys
from pathlib import Path
from extractor.video.fingerprints import fingerprint
from extractor.video.objects.cache import ObjectCache
from schemas.records import FileJob, Item
job = FileJob(sys.argv[1], (Item("a"),), *fingerprint(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
with ObjectCache(sys.argv[2], 10**6).local(job) as local:
    print(len(Path(local.path).read_bytes()), flush=True)
"""


def holding(name: str, cache: Path) -> subprocess.Popen[str]:
    """A process that is ready to fetch an object, once it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, f"s3://videos/set/{name}", str(cache)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_processes_that_want_one_object_at_once_ask_for_it_once(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("shared.mp4", b"s" * 100_000)
    bucket.on["GET", "shared.mp4"] = lambda: time.sleep(1.0)  # so that they meet
    processes = [holding("shared.mp4", tmp_path) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[0] for process in processes] == ["100000\n"] * 3
    assert bucket.asked["GET", "shared.mp4"] == 1


def test_process_killed_while_it_fetches_leaves_nothing_in_the_way(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("slow.mp4", b"s" * 100_000)
    begun, killed = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        killed.wait(60)

    bucket.on["GET", "slow.mp4"] = wait
    first = holding("slow.mp4", tmp_path)
    assert first.stdin is not None
    first.stdin.write("\n")
    first.stdin.flush()
    assert begun.wait(60)
    assert [path.stat().st_size for path in tmp_path.rglob("*.part")] == [100_000]  # its room is taken
    first.kill()
    first.communicate()
    killed.set()
    assert holding("slow.mp4", tmp_path).communicate("\n", timeout=60)[0] == "100000\n"
    assert list(tmp_path.rglob("*.part")) == [] and bucket.asked["GET", "slow.mp4"] == 2


def test_what_cannot_be_listed_is_refused_in_a_sentence(
    bucket: Bucket, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    for source in ("s3://videos/nothing", "s3://nobody/set"):
        code, _, err = call("extract", source, "--out", tmp_path / "store", *SMALL)
        sentence = rf"msnet: {source} cannot be listed \(there is no such object\)\..*\n"
        assert code == 1 and re.fullmatch(sentence, err), err
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    code, _, err = call("extract", "s3://videos/set", "--out", tmp_path / "store", *SMALL)
    s3fs.S3FileSystem.clear_instance_cache()
    assert code == 1 and "no credentials for s3:// were found" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "store").exists()
