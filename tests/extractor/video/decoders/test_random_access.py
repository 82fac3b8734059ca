"""Given frames of a file, again and again: those of full decoding, whatever the file and however they are reached."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from extractor.video.bitstreams import entry_points
from extractor.video.containers.preflight import Inspection, inspect_video
from extractor.video.decoders import jumping, random_access
from extractor.video.decoders.jumping import prove
from extractor.video.decoders.pyav_backend import pyav_frames
from extractor.video.decoders.random_access import FrameReader
from schemas.errors import FailureClass, VideoError
from schemas.records import FileJob, Item
from tests.extractor.video.bitstreams.streams_with_groups import FRAMES, GROUP, KINDS, WITHOUT
from tests.extractor.video.truth import request, true_frames
from tests.videos import frame_number, write_images, write_video

LATE = np.array([FRAMES - 3], np.int64)

Frame = NDArray[np.uint8]


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which decoders were begun, in order, by their names."""
    begun: list[str] = []

    def noted(name: str) -> None:
        function = getattr(random_access, name)

        def wrapper(*arguments: object) -> Iterator[object]:
            begun.append({"frames_of_runs": "jumping"}.get(name, name))
            return function(*arguments)  # type: ignore[no-any-return]

        monkeypatch.setattr(random_access, name, wrapper)

    for name in ("frames_of_runs", "sparse_frames", "decord_frames", "pyav_frames", "pyav_image_frames"):
        noted(name)
    return begun


def same(pixels: Frame) -> Frame:
    return pixels.copy()


def job(path: Path) -> FileJob:
    return FileJob(str(path), (Item("v"),))


def random_indices(count: int, random: np.random.Generator, sets: int) -> Iterator[NDArray[np.int64]]:
    """Ascending frame numbers: spread over the file, in one place, and single ones."""
    for _ in range(sets):
        length = int(random.integers(1, min(count, 9) + 1))
        if random.random() < 0.3:
            first = int(random.integers(0, count - length + 1))
            yield np.arange(first, first + length)
        else:
            yield np.sort(random.choice(count, length, replace=False))


def assert_exact(reader: FrameReader, path: Path, truth: list[Frame], sets: int, seed: int = 0) -> None:
    for index in random_indices(len(truth), np.random.default_rng(seed), sets):
        found = reader.read(job(path), index, same)
        assert len(found) == len(index)
        for number, frame in zip(index.tolist(), found, strict=True):
            assert np.array_equal(frame, truth[number]), (path.name, number)


def full_frames(path: Path) -> list[Frame]:
    """Every frame by the ordinary rule, forward, in upright memory."""
    return [frame.pixels.copy() for frame in pyav_frames(request(path))]


@pytest.mark.parametrize("name", [*KINDS, *WITHOUT])
def test_frames_of_streams_with_groups_are_those_of_full_decoding(
    streams: dict[str, Path], ways: list[str], name: str
) -> None:
    reader = FrameReader()
    assert_exact(reader, streams[name], true_frames(streams[name]), 12, len(name))
    assert ("jumping" in ways) is (name in KINDS)
    assert len(ways) == 12  # none misbehaved


@pytest.mark.parametrize(
    "name",
    [
        "h264.mkv",
        "open_gop.mp4",
        "hevc_open_gop.mp4",
        "bframes.avi",
        "bframes.mp4",
        "variable_rate.mp4",
        "rotated_90.mp4",
        "rotated_180.mp4",
        "rotated_270.mov",
        "transport.ts",
        "program.mpg",
        "vp8_altref.webm",
        "vp9_altref.webm",
        "av1.mp4",
        "ten_bit.mp4",
        "chroma_444_odd.mp4",
        "interlaced.mp4",
        "two_streams.mp4",
        "late_start.mkv",
        "fragmented.mp4",
        "flash.flv",
        "one_frame.mp4",
        "cut.mp4",
        "two_sizes.mp4",
        "raw.h264",
    ],
)
def test_frames_of_odd_files_are_those_of_full_decoding(valid: dict[str, Path], name: str) -> None:
    truth = full_frames(valid[name])
    assert_exact(FrameReader(), valid[name], truth, 6, len(name))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_frames_are_those_of_full_decoding_whatever_the_index(streams: dict[str, Path], seed: int) -> None:
    for name in (*KINDS, *WITHOUT):
        reader = FrameReader()
        assert_exact(reader, streams[name], true_frames(streams[name]), 40, 100 + seed)


def test_images_of_a_folder_are_read_alone(tmp_path: Path, ways: list[str]) -> None:
    folder = write_images(tmp_path / "images", frames=12)
    reader, images = FrameReader(), FileJob(str(folder), (Item("v"),), fps=25.0)
    assert reader.inspect(images).info.num_frames == 12
    index = np.array([2, 7, 11])
    found = reader.read(images, index, same)
    for image in (1, 4, 6):
        (folder / f"frame_{image}.png").write_bytes(b"damaged")
    assert all(np.array_equal(a, b) for a, b in zip(found, reader.read(images, index, same), strict=True))
    with pytest.raises(VideoError):
        reader.read(images, np.array([3]), same)
    assert ways == ["pyav_image_frames"] * 3


def test_read_places_gives_each_frame_its_place(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", frames=20)
    found = FrameReader().read_places(
        job(path), np.array([3, 9, 10]), lambda place, pixels: (place, frame_number(pixels))
    )
    assert found == [(0, 3), (1, 9), (2, 10)]


def test_a_proof_is_made_once_and_only_after_it_would_have_paid(
    streams: dict[str, Path], ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs: list[int] = []

    def noted(*given: Any) -> None:
        proofs.append(len(ways))
        prove(*given)

    monkeypatch.setattr(random_access, "prove", noted)
    reader, path = FrameReader(), streams["closed.mp4"]
    for _ in range(6):
        reader.read(job(path), np.array([2 * GROUP + 5]), same)  # a jump saves 26 frames, the proof costs 60
    assert proofs == [2]
    assert ways == ["sparse_frames"] * 2 + ["jumping"] * 4


def test_jumps_that_save_little_are_left_to_decoding_forward_without_some_frames(
    streams: dict[str, Path], ways: list[str]
) -> None:
    reader, index = FrameReader(), np.array([GROUP - 1, 2 * GROUP - 1, 3 * GROUP - 1])
    for _ in range(20):
        reader.read(job(streams["closed.mp4"]), index, same)
    assert ways == ["sparse_frames"] * 20


def test_a_jump_decodes_the_groups_of_the_wanted_frames_only(streams: dict[str, Path]) -> None:
    reader, path = FrameReader(), streams["closed.mp4"]
    reader.read(job(path), LATE, same)
    known = next(iter(reader._files.values()))
    index = np.array([30, 95, 147])
    covered = np.stack([index, index + 1], 1)
    runs = reader._jumps(known, replace(request(path, index.tolist(), to_end=False), covered=covered))
    assert runs is not None
    assert [(run.first, run.end) for run in runs] == [(20, 31), (80, 96), (140, 148)]


@pytest.mark.parametrize("kinds", ["closed.mp4", "open.mp4"])
def test_a_file_whose_keyframe_decoding_differs_is_decoded_forward_for_good(
    streams: dict[str, Path], ways: list[str], monkeypatch: pytest.MonkeyPatch, kinds: str
) -> None:
    monkeypatch.setattr(jumping, "_alike", lambda one, other: False)
    reader, path = FrameReader(), streams[kinds]
    truth = true_frames(path)
    for number in (147, 147, 60, 149):
        assert np.array_equal(reader.read(job(path), np.array([number]), same)[0], truth[number])
    assert ways == ["sparse_frames"] * 4


def test_a_gradually_refreshed_stream_that_claims_keyframes_is_not_jumped_in(
    streams: dict[str, Path], ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_points, "independent_units", lambda codec, units: True)
    path = streams["refresh.mp4"]
    assert_exact(FrameReader(), path, true_frames(path), 8)
    assert "jumping" not in ways


def test_a_jump_that_misbehaves_is_followed_by_forward_decoding_and_convert_sees_all_frames_again(
    streams: dict[str, Path], ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, path = FrameReader(), streams["closed.mp4"]
    reader.read(job(path), LATE, same)
    ways.clear()
    sampled = jumping.Source.sampled

    def lost(self: jumping.Source, run: jumping.Run, *, to_end: bool) -> Iterator[object]:
        if run.first >= 100:
            raise VideoError(FailureClass.CORRUPT, "a frame is lost")
        yield from sampled(self, run, to_end=to_end)

    monkeypatch.setattr(jumping.Source, "sampled", lost)
    seen: list[int] = []
    truth = true_frames(path)
    index = np.array([50, 147])

    def convert(pixels: Frame) -> Frame:
        seen.append(1)
        return pixels.copy()

    found = reader.read(job(path), index, convert)
    assert ways == ["jumping", "pyav_frames"]
    assert len(seen) == 3
    assert all(np.array_equal(frame, truth[number]) for number, frame in zip(index, found, strict=True))
    ways.clear()
    reader.read(job(path), index, same)
    assert ways == ["pyav_frames"]  # remembered


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("empty.mp4", {FailureClass.CANNOT_OPEN, FailureClass.TRUNCATED}),
        ("text.mp4", {FailureClass.CANNOT_OPEN}),
        ("no_index.mp4", {FailureClass.TRUNCATED}),
        ("half.mp4", {FailureClass.TRUNCATED}),
        ("half.mkv", {FailureClass.TRUNCATED}),
        ("flipped.mp4", {FailureClass.CORRUPT}),
        ("hole.mp4", {FailureClass.CORRUPT}),
        ("audio_only.mp4", {FailureClass.NO_VIDEO_STREAM}),
        ("gone.mp4", {FailureClass.MISSING}),
    ],
)
def test_damage_fails_by_its_class(broken: dict[str, Path], name: str, classes: set[FailureClass]) -> None:
    reader = FrameReader()
    path = broken.get(name, Path("/nowhere/gone.mp4"))
    for _ in range(3):  # what is remembered of it changes nothing
        with pytest.raises(VideoError) as caught:
            reader.read(job(path), np.array([max(0, reader.inspect(job(path)).info.num_frames - 1)]), same)
        assert caught.value.failure in classes


def test_damage_behind_the_last_frame_is_not_met(broken: dict[str, Path]) -> None:
    path = broken["hole.mp4"]
    assert len(FrameReader().read(job(path), np.array([0, 1, 2]), same)) == 3


def test_a_changed_file_is_inspected_anew(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", frames=30)
    reader = FrameReader()
    assert reader.inspect(job(path)).info.num_frames == 30
    os.utime(write_video(path, frames=45, seed=1), ns=(1, 1))
    assert reader.inspect(job(path)).info.num_frames == 45
    truth = true_frames(path)
    assert np.array_equal(reader.read(job(path), np.array([44]), same)[0], truth[44])


def test_a_file_that_changes_while_it_is_read_has_changed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", frames=30)

    def changing(pixels: Frame) -> Frame:
        os.utime(path, ns=(1, 1))
        return pixels

    with pytest.raises(VideoError) as caught:
        FrameReader().read(job(path), np.array([3]), changing)
    assert caught.value.failure is FailureClass.CHANGED


def test_the_oldest_files_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_video(tmp_path / f"{number}.mp4", frames=10) for number in range(4)]
    inspected: list[str] = []

    def noted(path: str, *, fps: float | None) -> Inspection:
        inspected.append(path)
        return inspect_video(path, fps=fps)

    monkeypatch.setattr(random_access, "inspect_video", noted)
    reader = FrameReader(most_frames=3 * 300)
    for path in (*paths[:3], paths[0], paths[3], paths[0], paths[1]):
        reader.inspect(job(path))
    assert inspected == [*map(str, paths), str(paths[1])]  # the second was the one not asked for longest
    assert len(reader._files) == 3
    assert reader._frames == sum(random_access._weight(known.inspection) for known in reader._files.values())


def test_one_long_file_is_remembered_whatever_the_bound(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", frames=10)
    reader = FrameReader(most_frames=1)
    assert reader.inspect(job(path)) is reader.inspect(job(path))
