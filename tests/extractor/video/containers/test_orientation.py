"""Rotation and flips: from the display matrix, equal in both decoders, whatever tags say."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from extractor.video.containers.orientation import carries_orientation, exif_orientation
from extractor.video.containers.preflight import inspect_video
from extractor.video.decoders.backends import DecodingRequest, Misbehaved
from extractor.video.decoders.decord_backend import decord_frames
from extractor.video.decoders.pyav_backend import pyav_frames, pyav_image_frames
from tests.containers import hevc_orientation, patched, write_oriented_stream
from tests.extractor.video.truth import events, kept, request
from tests.videos import moving_frames, write_video

SIZE = (120, 160)  # decord returns a fourth channel when it rotates frames of some other sizes
IDENTITY = bytes.fromhex("00010000 00000000 00000000 00000000 00010000 00000000 00000000 00000000 40000000")
FORGED = {
    "comment": "Stream #0:0: Video: h264\n    Side data:\n      Display Matrix: rotation of 90.00 degrees",
    "title": "\n  Stream #0:0: Video\n    displaymatrix: rotation of -90.00 degrees",
    "handler_name": "Stream #0:0(und): rotation of 180.00 degrees",
}


def native_frames(path: Path) -> list[np.ndarray]:
    """Frames as they are stored."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.best("video"))]


def assert_frames(path: Path, turn: object, *, by_decord: bool) -> None:
    """Both decoders return every stored frame, turned by this function."""
    expected = [turn(frame) for frame in native_frames(path)]  # type: ignore[operator]
    for decoder in (pyav_frames, decord_frames)[: 1 + by_decord]:
        found = [frame.pixels for frame in decoder(request(path))]
        assert len(found) == len(expected)
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)), decoder


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_that_of_the_matrix_whatever_tags_say(tmp_path: Path, rotation: int, suffix: str) -> None:
    path = write_video(tmp_path / f"a{suffix}", frames=4, size=SIZE, rotation=rotation, metadata=FORGED)
    info = inspect_video(path).info
    assert (info.rotation, info.mirrored, info.flags) == (rotation, False, ())
    try:
        assert_frames(path, lambda frame: np.rot90(frame, rotation // 90), by_decord=True)
    except Misbehaved:  # decord 0.6.0, where PyAV takes over
        assert_frames(path, lambda frame: np.rot90(frame, rotation // 90), by_decord=False)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts", ".avi", ".flv"])
def test_tags_alone_turn_nothing(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"a{suffix}", frames=4, size=SIZE, metadata=FORGED)
    info = inspect_video(path).info
    assert (info.rotation, info.mirrored) == (0, False)
    assert not {"odd_rotation", "orientation_unread"} & set(info.flags)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [(True, False), (False, True)])
def test_mirrored_frames_are_flipped_and_flagged(
    tmp_path: Path, rotation: int, flip: tuple[bool, bool], suffix: str
) -> None:
    path = write_video(tmp_path / f"a{suffix}", frames=4, size=SIZE, rotation=rotation, flip=flip)
    info = inspect_video(path).info
    assert info.mirrored
    assert info.flags == ("mirrored",)
    axis = 1 if flip[0] else 0  # FFmpeg flips after rotating
    assert_frames(path, lambda frame: np.flip(np.rot90(frame, rotation // 90), axis), by_decord=False)
    assert kept(events(path))[2].decoder == "av"


@pytest.mark.parametrize(("degrees", "nearest"), [(30, 0), (100, 90), (200, 180), (-60, 270)])
def test_odd_rotation_is_rounded_and_flagged(tmp_path: Path, degrees: int, nearest: int) -> None:
    info = inspect_video(write_video(tmp_path / "a.mp4", frames=2, rotation=degrees)).info
    assert (info.rotation, info.mirrored, info.flags) == (nearest, False, ("odd_rotation",))


@pytest.mark.parametrize("matrix", ["00" * 36, "ff" * 36, "80000000" * 9, "7fffffff" * 9, "00000001" + "00" * 32])
def test_senseless_matrix_raises_nothing(tmp_path: Path, matrix: str) -> None:
    path = write_video(tmp_path / "a.mp4", frames=4)
    content = path.read_bytes()
    at = content.index(IDENTITY, content.index(b"tkhd"))
    path.write_bytes(content[:at] + bytes.fromhex(matrix) + content[at + 36 :])
    info = inspect_video(path).info
    assert info.rotation in (0, 90, 180, 270)
    assert kept(events(path))[2].decoder


def test_rotation_of_a_file_whose_first_frames_are_cut_off_by_an_edit_list(valid: dict[str, Path]) -> None:
    turned = bytes.fromhex("00000000 00010000 00000000 ffff0000 00000000 00000000")
    path = valid["cut.mp4"].with_name("cut_and_turned.mp4")
    path.write_bytes(valid["cut.mp4"].read_bytes())
    patched(path, b"tkhd", path.read_bytes().index(IDENTITY, path.read_bytes().index(b"tkhd")) - _behind(path), turned)
    assert inspect_video(path).info.rotation == 270


def _behind(path: Path) -> int:
    return path.read_bytes().index(b"tkhd") + 4


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize(
    ("description", "rotation", "mirrored"),
    [("rotate=90", 90, False), ("rotate=180", 180, False), ("flip=horizontal", 0, True)],
)
def test_orientation_in_the_stream_is_applied_and_flagged(
    tmp_path: Path, description: str, rotation: int, mirrored: bool, suffix: str
) -> None:
    path = write_oriented_stream(tmp_path / f"a{suffix}", description)
    info = inspect_video(path).info
    assert (info.rotation, info.mirrored) == (rotation, mirrored)
    assert suffix == ".ts" or info.flags[0] == "orientation_in_stream"
    flip = np.fliplr if mirrored else np.asarray
    assert_frames(path, lambda frame: np.rot90(flip(frame), rotation // 90), by_decord=False)
    assert kept(events(path))[2].decoder == "av"


def test_container_holds_where_the_stream_says_otherwise(tmp_path: Path) -> None:
    path = write_oriented_stream(tmp_path / "a.mp4", "rotate=180", rotation=90)
    info = inspect_video(path).info
    assert (info.rotation, info.flags) == (90, ("orientation_in_stream",))


def test_orientation_that_changes_in_hevc_is_flagged(tmp_path: Path) -> None:
    path = hevc_orientation(tmp_path / "first.hevc", quarter_turns=3)
    assert inspect_video(path).info.rotation == 270
    assert "orientation_changes" not in kept(events(path))[2].flags
    path = hevc_orientation(tmp_path / "second.hevc", at_keyframe=1)
    assert inspect_video(path).info.rotation == 0
    assert "orientation_changes" in kept(events(path))[2].flags


def test_later_keyframe_with_an_orientation_keeps_decord_away(tmp_path: Path) -> None:
    raw = hevc_orientation(tmp_path / "a.hevc", at_keyframe=1)
    with av.open(str(raw)) as source, av.open(str(tmp_path / "a.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.size:
                packet.pts = packet.dts = number * 48000
                packet.stream = stream
                target.mux(packet)
    info = inspect_video(tmp_path / "a.mp4").info
    assert "orientation_in_stream" in info.flags or "maybe_interlaced" in info.flags
    assert "orientation_changes" in kept(events(tmp_path / "a.mp4"))[2].flags


def write_exif(folder: Path, suffix: str, orientations: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, (array, orientation) in enumerate(zip(moving_frames(len(orientations)), orientations, strict=True)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(array).save(folder / f"frame_{number}.{suffix}", exif=exif, quality=95)
    return folder


def image_frames(folder: Path) -> DecodingRequest:
    found = inspect_video(folder, fps=5.0)
    return DecodingRequest(folder, found, np.arange(found.info.num_frames), True)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_by_their_exif(tmp_path: Path, suffix: str, orientation: int) -> None:
    folder = write_exif(tmp_path / "images", suffix, [orientation] * 3)
    wanted = image_frames(folder)
    assert wanted.inspection.info.flags[1:] == (("mirrored",) if orientation in (2, 4, 5, 7) else ())
    for frame, path in zip(pyav_image_frames(wanted), sorted(folder.iterdir()), strict=True):
        shown = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).astype(int)
        assert frame.pixels.shape == shown.shape
        assert np.median(np.abs(frame.pixels - shown)) <= 3  # edges differ more, where chroma is subsampled
    assert not wanted.tally.flags
    header = kept(events(folder, fps=5.0))[0]
    assert header.info.displayed_size == ((96, 128) if orientation > 4 else (128, 96))


def test_images_of_differing_orientation_are_flagged(tmp_path: Path) -> None:
    folder = write_exif(tmp_path / "images", "jpg", [1, 6, 1])
    assert "orientation_changes" in kept(events(folder, fps=5.0))[2].flags


def test_exif_orientation_never_raises() -> None:
    random = np.random.default_rng(0)
    for mark in (b"Exif\0\0", b"eXIf", b"EXIF\0\0\0\0"):
        for order in (b"II*\0", b"MM\0*"):
            for length in range(0, 60, 3):
                tail = random.integers(0, 256, length, dtype=np.uint8).tobytes()
                assert exif_orientation(b"x" + mark + order + tail) in range(1, 9)
    assert exif_orientation(b"") == 1


def test_carries_orientation_never_raises() -> None:
    random = np.random.default_rng(0)
    for number in range(600):
        data = random.choice([0, 1, 3, 6, 39 << 1, 47, 255], 80).astype(np.uint8).tobytes()[: number % 80]
        for codec in ("h264", "hevc", "vp9"):
            for extradata in (b"", b"\1", b"\1" + data, data, b"\1" * 21 + b"\3\xff" + data):
                carries_orientation(codec, data, extradata)
