"""`msnet weights fetch`, and public weights in `list` and `inspect`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from extractor.models.public import catalogue
from extractor.models.public.catalogue import PUBLIC_WEIGHTS
from jobs.cli.weights import checkpoints, public
from tests.extractor.models.public.server import NAME, FileServer, content_of, serving, weights_of
from tests.jobs.conftest import Call


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("MSNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(FileServer(content_of(300_000))) as server:
        entries = {NAME: weights_of(server.content)}
        for module in (catalogue, checkpoints, public):
            monkeypatch.setattr(module, "PUBLIC_WEIGHTS", entries)
        yield server


def test_fetch_prints_what_it_is_and_list_shows_it(call: Call, server: FileServer, tmp_path: Path) -> None:
    assert f"{NAME}  300.0 kB  BSD-3-Clause  no" in call("weights", "list")[1]
    code, said, told = call("weights", "fetch", NAME, "--url", server.address)
    assert (code, told) == (0, "") and said.startswith(str(tmp_path / "cache" / "weights" / "net-abc.pth"))
    assert f"--weights {NAME} takes them" in said and "300.0 kB" in said and "ImageNet" in said
    assert f"{NAME}  300.0 kB  BSD-3-Clause  yes" in call("weights", "list")[1]


def test_fetch_into_a_folder_names_the_file(call: Call, server: FileServer, tmp_path: Path) -> None:
    code, said, _ = call("weights", "fetch", NAME, "--url", server.address, "--into", tmp_path / "mine")
    assert code == 0 and f"--weights {tmp_path / 'mine' / 'net-abc.pth'} takes them" in " ".join(said.split())


def test_inspect_of_a_name_checks_and_reads_its_file(call: Call, server: FileServer) -> None:
    assert call("weights", "inspect", NAME)[2].rstrip().endswith(f"Run `msnet weights fetch {NAME}`")
    call("weights", "fetch", NAME, "--url", server.address)
    code, _, told = call("weights", "inspect", NAME)
    assert code == 1 and "is neither, so not a checkpoint" in told  # the server's file is no network


@pytest.mark.parametrize("name", ["../x", "imagenet_resnet50", "", "\x1b[2J"])
def test_fetch_refuses_names_that_it_does_not_know(call: Call, name: str) -> None:
    code, said, told = call("weights", "fetch", name)
    assert (code, said) == (1, "") and "Choose one of imagenet_resnet18_v1" in told and "\x1b" not in told


@pytest.mark.parametrize("columns", [60, 80])
def test_list_shows_public_weights_within_the_terminal(
    call: Call, columns: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("MSNET_CACHE", str(tmp_path))
    code, said, _ = call("weights", "list")
    below = said[said.index("public weights ") :]
    assert code == 0 and all(name in below for name in PUBLIC_WEIGHTS)
    assert max(map(len, below.splitlines())) <= columns


def test_fetch_that_is_interrupted_says_that_it_can_be_continued(
    call: Call, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("extractor.models.public.answers.Answer._block", interrupt)
    code, _, told = call("weights", "fetch", NAME, "--url", server.address)
    assert code == 130 and "Run the same command again to continue" in told
