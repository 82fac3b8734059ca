"""Whether the end of an MP4 is missing, by its boxes and its index: cuts, trailers, hostile bytes."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from extractor.video.containers.boxes import mp4_layout
from extractor.video.containers.preflight import inspect_video
from schemas.errors import FailureClass, VideoError
from tests.containers import boxes, write_encrypted
from tests.extractor.video.truth import events, kept
from tests.videos import write_video

LAYOUTS: dict[str, dict[str, str]] = {
    "index_last.mp4": {},
    "index_first.mp4": {"movflags": "faststart"},
    "quicktime.mov": {},
    "fragmented.mp4": {"movflags": "frag_keyframe+empty_moov"},
    "half_fragmented.mp4": {"movflags": "frag_keyframe"},
    "segments.mp4": {"movflags": "frag_keyframe+empty_moov+dash+global_sidx"},
}
RANDOM = np.random.default_rng(0).integers(0, 256, 3000, dtype=np.uint8).tobytes()
TRAILERS = {
    "text": b"A camera's note.\n" * 20,
    "short_text": b"end\n",
    "zeros": bytes(4096),
    "random": RANDOM,
    "insta360": RANDOM + b"8db42d694ccc418790edff439fe026bf",
    "id3": b"TAG" + bytes(125),
    "box_of_no_kind": b"\0\0\xff\xffabcd" + bytes(100),
    "small_box": b"\0\0\0\x10abcd12345678" + b"\0\0\0\4",
    "cut_padding": b"\0\0\1\0free" + bytes(30),
}


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("layouts")
    return {
        name: write_video(folder / name, options={"g": "12"}, container_options=options)
        for name, options in LAYOUTS.items()
    }


def missing(folder: Path, content: bytes) -> str:
    path = folder / "content.mp4"
    path.write_bytes(content)
    return mp4_layout(path).missing


def frames_of(path: Path) -> np.ndarray:
    return np.concatenate([chunk.frames for chunk in kept(events(path))[1]])


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_mp4_layout_of_a_whole_file_with_a_trailer_misses_nothing(
    layouts: dict[str, Path], tmp_path: Path, name: str, trailer: str
) -> None:
    content = layouts[name].read_bytes()
    assert missing(tmp_path, content) == ""
    assert missing(tmp_path, content + TRAILERS[trailer]) == ""


@pytest.mark.parametrize("name", ["index_last.mp4", "index_first.mp4", "quicktime.mov"])
def test_mp4_layout_of_a_cut_file_says_so_wherever_it_is_cut(
    layouts: dict[str, Path], tmp_path: Path, name: str
) -> None:
    content = layouts[name].read_bytes()
    for box in boxes(content):
        length = box.stop - box.start
        for at in (0, 7, 8, 12, length // 4, length // 2, length - 1):
            if box.start + at >= 8:  # fewer bytes could be anything
                assert missing(tmp_path, content[: box.start + at]), (box, at)


@pytest.mark.parametrize("name", ["fragmented.mp4", "half_fragmented.mp4", "segments.mp4"])
def test_mp4_layout_of_a_cut_fragment_says_so(layouts: dict[str, Path], tmp_path: Path, name: str) -> None:
    content = layouts[name].read_bytes()
    for box in boxes(content):
        length = box.stop - box.start
        inside = (8, 12, length // 2, length - 1) if box.kind in ("moov", "moof", "mdat", "sidx") else ()
        before = (0, 7) if box.kind == "mdat" or (name == "segments.mp4" and box.kind == "moof") else ()
        for at in (*inside, *before):
            assert missing(tmp_path, content[: box.start + at]), (box, at)


def test_mp4_layout_of_a_beginning_without_fragments_says_so(layouts: dict[str, Path], tmp_path: Path) -> None:
    content = layouts["fragmented.mp4"].read_bytes()
    (index,) = (box for box in boxes(content) if box.kind == "moov")
    assert missing(tmp_path, content[: index.stop])


@pytest.mark.parametrize("trailer", TRAILERS)
def test_mp4_layout_of_a_cut_file_with_a_trailer_says_so(
    layouts: dict[str, Path], tmp_path: Path, trailer: str
) -> None:
    """The index points to frames that are missing, however the gap is filled."""
    content = layouts["index_first.mp4"].read_bytes()
    assert missing(tmp_path, content[: len(content) // 4] + TRAILERS[trailer])


@pytest.mark.parametrize("trailer", ["text", "insta360"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_decode_of_a_file_with_a_trailer_returns_the_same_frames(
    layouts: dict[str, Path], tmp_path: Path, name: str, trailer: str
) -> None:
    path = tmp_path / name
    path.write_bytes(layouts[name].read_bytes() + TRAILERS[trailer])
    assert np.array_equal(frames_of(path), frames_of(layouts[name]))


@pytest.mark.parametrize("name", ["h264.mkv", "vp9_altref.webm", "bframes.avi", "transport.ts"])
def test_decode_of_other_containers_with_a_trailer_returns_the_same_frames(
    valid: dict[str, Path], tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(valid[name].read_bytes() + TRAILERS["text"])
    assert np.array_equal(frames_of(path), frames_of(valid[name]))


@pytest.mark.parametrize("name", ["index_last.mp4", "index_first.mp4", "quicktime.mov"])
def test_inspect_video_of_a_cut_file_is_truncated(layouts: dict[str, Path], tmp_path: Path, name: str) -> None:
    content = layouts[name].read_bytes()
    for box in boxes(content)[1:]:
        (tmp_path / name).write_bytes(content[: box.start + 1])
        with pytest.raises(VideoError, match=r"is cut off: .*; got .*\. Fetch it again") as caught:
            inspect_video(tmp_path / name)
        assert caught.value.failure is FailureClass.TRUNCATED


@pytest.mark.parametrize("name", ["index_last.mp4", "index_first.mp4", "quicktime.mov"])
def test_file_that_is_joined_to_another_is_flagged(layouts: dict[str, Path], tmp_path: Path, name: str) -> None:
    """FFmpeg reads only the first: its index says nothing about the rest."""
    content = layouts[name].read_bytes()
    path = tmp_path / name
    for rest, flagged in (
        (content, True),
        (content[:24], False),
        (content[: len(content) // 2], name == "index_first.mp4"),
    ):
        path.write_bytes(content + rest)
        info = inspect_video(path).info
        assert (info.num_frames, "unread_rest" in info.flags) == (40, flagged)


def test_mp4_layout_names_encrypted_tracks(tmp_path: Path) -> None:
    assert mp4_layout(write_encrypted(tmp_path / "a.mp4")).encrypted == {1}
    assert mp4_layout(write_video(tmp_path / "b.mp4", frames=2)).encrypted == set()


def test_mp4_layout_of_other_files_is_none(valid: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for path in (valid["h264.mkv"], valid["transport.ts"], tmp_path / "empty"):
        found = mp4_layout(path)
        assert (found.is_mp4, found.missing) == (False, "")


@pytest.mark.parametrize("seed", range(4))
def test_mp4_layout_never_raises_and_ends_soon(layouts: dict[str, Path], tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    contents = [path.read_bytes() for path in layouts.values()]
    started = time.monotonic()
    for number in range(300):
        content = bytearray(contents[number % len(contents)])
        start = 8 if number % 2 else content.rfind(b"moov")  # among the boxes of the index, where it matters
        for at in random.integers(start, min(start + 1300, len(content)), 1 + number % 20):
            content[at] = int(random.choice([0, 1, 127, 255, int(random.integers(256))]))
        missing(tmp_path, bytes(content[: int(random.integers(8, len(content) + 1))]))
        missing(tmp_path, b"\0\0\0\x14ftyp" + random.integers(0, 256, 200, dtype=np.uint8).tobytes())
    assert time.monotonic() - started < 30


def test_mp4_layout_of_many_nested_boxes_ends_soon(tmp_path: Path) -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return (8 + len(content)).to_bytes(4, "big") + kind + content

    empty = box(b"free", b"")
    track = box(b"trak", empty * 5000 + box(b"mdia", empty * 5000))
    started = time.monotonic()
    missing(tmp_path, box(b"ftyp", b"isom") + box(b"moov", track * 20) + empty * 200_000)
    table = box(b"stbl", box(b"stco", bytes(4) + b"\xff" * 4 + b"\xff" * 400) + box(b"stsz", bytes(8) + b"\xff" * 4))
    huge = box(b"trak", box(b"mdia", box(b"minf", table)))
    assert missing(tmp_path, box(b"ftyp", b"isom") + box(b"moov", huge)) != ""
    assert time.monotonic() - started < 10
