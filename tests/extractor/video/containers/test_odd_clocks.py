"""Files whose clock restarts or has wild stamps: every frame has its own time, whatever the container."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from extractor.video.containers.preflight import inspect_video
from extractor.video.decoders.pyav_backend import pyav_frames
from schemas.errors import FailureClass, VideoError
from schemas.records import Header
from tests.extractor.video.truth import events, failure_of, kept, request
from tests.odd_clocks import (
    cut_before,
    joined,
    keyframes_of,
    with_held_stamps,
    with_null_frames,
    with_stamps,
    without_packet,
)
from tests.videos import frame_number, write_video

OPEN_GROUPS = {
    "libx264": {"x264-params": "bframes=3:keyint=10:min-keyint=10:open-gop=1:b-adapt=0:scenecut=0:repeat-headers=1"},
    "libx265": {
        "x265-params": "log-level=none:pools=1:open-gop=1:keyint=10:min-keyint=10:bframes=3:b-adapt=0:scenecut=0"
        ":repeat-headers=1:radl=0"
    },
    "mpeg2video": {"bf": "2", "g": "10", "b": "800k", "sc_threshold": "1000000000"},
    "mpeg4": {"bf": "2", "g": "10", "b": "600k"},
    "flv": {"b": "600k"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}
JOINED = [
    ("a.ts", "libx264"),
    ("a.ts", "libx265"),
    ("a.ts", "mpeg2video"),
    ("a.mpg", "mpeg2video"),
    ("a.flv", "libx264"),
    ("a.flv", "flv"),
    ("a.mkv", "libx264"),
    ("a.mkv", "libx265"),
    ("a.mkv", "mpeg4"),
    ("a.mkv", "libvpx-vp9"),
]


def shown(path: Path, *, keep: bool = False) -> list[tuple[int, float, bool]]:
    """For each frame the number on its bar, its time, and whether it is valid."""
    wanted = request(path, keep=keep)
    times = wanted.inspection.times_seconds.tolist()
    return [(frame_number(frame.pixels), times[frame.number], frame.valid) for frame in pyav_frames(wanted)]


def check(path: Path, count: int, *, fps: float = 25.0) -> None:
    """Frame k shows k and has the time k / fps behind the first one, strictly and with damage kept."""
    for keep in (False, True):
        found = shown(path, keep=keep)
        start = found[0][1]
        assert [number for number, _, _ in found] == list(range(count))
        assert [time - start for _, time, _ in found] == pytest.approx([n / fps for n in range(count)], abs=2e-3)
        assert all(valid for _, _, valid in found)


@pytest.mark.parametrize(("name", "codec"), JOINED)
@pytest.mark.parametrize(
    ("counts", "starts_ms"),
    [
        ((19, 16, 22), None),
        ((40, 40), (1000, 2200)),
        ((40, 30), (1000, 2520)),
        ((30, 30), (90000, 10)),
    ],
)
def test_joined_files_have_one_clock(
    tmp_path: Path, name: str, codec: str, counts: tuple[int, ...], starts_ms: tuple[int, ...] | None
) -> None:
    path = joined(tmp_path / name, codec, counts, starts_ms=starts_ms, options=OPEN_GROUPS[codec])
    info = inspect_video(path).info
    assert "clock_restarts" in info.flags
    assert info.times_made_up
    assert info.end_seconds - info.start_seconds == pytest.approx(sum(counts) / 25, abs=2e-3)
    check(path, sum(counts))


@pytest.mark.parametrize(("name", "codec"), [("a.h264", "libx264"), ("a.hevc", "libx265"), ("a.mpg", "libx264")])
def test_joined_files_without_stamps_are_counted(tmp_path: Path, name: str, codec: str) -> None:
    path = joined(tmp_path / name, codec, (30, 30))
    assert inspect_video(path).info.times_made_up
    check(path, 60)


def test_joined_fragments_lose_what_the_demuxer_drops_and_keep_their_times(tmp_path: Path) -> None:
    path = joined(tmp_path / "a.mp4", counts=(40, 40), options={"g": "10", "bf": "0"})
    info = inspect_video(path).info
    found = shown(path)
    assert {"clock_restarts", "discarded_packets"} <= set(info.flags)
    assert [number for number, _, _ in found] == sorted({number for number, _, _ in found})
    assert [time for _, time, _ in found] == pytest.approx([number / 25 for number, _, _ in found], abs=2e-3)


@pytest.mark.parametrize(("name", "codec"), [("a.ts", "libx264"), ("a.mkv", "libx265"), ("a.flv", "flv")])
def test_joined_files_with_a_pause_between_keep_it(tmp_path: Path, name: str, codec: str) -> None:
    path = joined(tmp_path / name, codec, (30, 30), starts_ms=(1000, 9000), options=OPEN_GROUPS[codec])
    info = inspect_video(path).info
    assert not info.times_made_up
    assert not {"clock_restarts", "stamp_outliers"} & set(info.flags)
    expected = [1 + number / 25 if number < 30 else 9 + (number - 30) / 25 for number in range(60)]
    found = shown(path)
    assert [number for number, _, _ in found] == list(range(60))
    assert [time for _, time, _ in found] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.ts", "libx264"), ("a.ts", "libx265"), ("a.ts", "mpeg2video"), ("a.mpg", "mpeg2video"), ("a.flv", "libx264")],
)
def test_joined_files_cut_at_open_groups_show_no_picture_of_two_streams(tmp_path: Path, name: str, codec: str) -> None:
    """The pictures that lead the second part would be predicted from the end of the first."""
    content = b""
    for part in range(2):
        options = OPEN_GROUPS[codec]
        whole = write_video(tmp_path / f"whole_{name}", codec=codec, first=100 * part, seed=part, options=options)
        piece = cut_before(tmp_path / f"piece_{name}", whole, keyframes_of(whole)[1]).read_bytes()
        content += piece[13:] if part and name.endswith("flv") else piece
    path = tmp_path / name
    path.write_bytes(content)
    keyframe = 12 if codec == "mpeg2video" else 10
    expected = [*range(keyframe, 40), *range(100 + keyframe, 140)]
    for keep in (False, True):
        found = shown(path, keep=keep)
        assert [number for number, _, _ in found] == expected
        assert np.diff([time for _, time, _ in found]) == pytest.approx([0.04] * (len(found) - 1), abs=2e-3)
    assert {"clock_restarts", "leading_pictures"} <= set(inspect_video(path).info.flags)


def test_flash_files_joined_with_their_headers_are_not_taken_for_the_first(tmp_path: Path) -> None:
    """FFmpeg reads only the first."""
    part = write_video(tmp_path / "part.flv", frames=20)
    path = tmp_path / "a.flv"
    path.write_bytes(part.read_bytes() * 2)
    assert failure_of(path).failure is FailureClass.CORRUPT
    info = inspect_video(path, keep_corrupt=True).info
    assert (info.num_frames, "unread_rest" in info.flags) == (20, True)


def late(frames: set[int], by_ms: int) -> Callable[[int, int], int]:
    return lambda number, stamp: max(stamp + by_ms, 0) if number in frames else stamp


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mkv", "libx264", {"bf": "0"}),
        ("a.mkv", "libx264", OPEN_GROUPS["libx264"]),
        ("a.mkv", "libx265", OPEN_GROUPS["libx265"]),
        ("a.mkv", "libvpx-vp9", OPEN_GROUPS["libvpx-vp9"]),
        ("a.mkv", "mjpeg", {}),
        ("a.ts", "libx264", OPEN_GROUPS["libx264"]),
        ("a.ts", "mpeg2video", OPEN_GROUPS["mpeg2video"]),
    ],
)
@pytest.mark.parametrize(
    ("frames", "by_ms"),
    [({20, 21}, 3600), ({25}, 120), ({33}, -90), ({10}, 2000), ({30, 44}, -9999)],
)
def test_wild_stamps_leave_all_other_frames_their_times(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], frames: set[int], by_ms: int
) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = with_stamps(tmp_path / name, late(frames, by_ms), frames=60, codec=codec, options=options, pix_fmt=pix_fmt)
    info = inspect_video(path).info
    assert "stamp_outliers" in info.flags
    assert info.times_made_up
    check(path, 60)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"bf": "0"}),
        ("a.mp4", "libx264", OPEN_GROUPS["libx264"]),
        ("a.ts", "libx264", {"bf": "0"}),
        ("a.ts", "libx265", OPEN_GROUPS["libx265"]),
        ("a.mkv", "libx264", {"bf": "0"}),
        ("a.mkv", "libvpx-vp9", OPEN_GROUPS["libvpx-vp9"]),
        ("a.nut", "libx264", {"bf": "0"}),
    ],
)
@pytest.mark.parametrize(
    "shift",
    [
        lambda n: -2.0 if n >= 40 else 0.0,
        lambda n: -9.0 if n == 33 else 0.0,
        lambda n: -0.8 if n in (30, 31, 32) else 0.0,
    ],
    ids=["restart", "one", "three"],
)
def test_stamps_that_a_muxer_held_back_are_spread(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], shift: Callable[[int], float]
) -> None:
    """FFmpeg writes them a tick apart where they step back, which looks like a clock that rises."""
    source = write_video(tmp_path / "source.mp4", frames=60, codec=codec, options=options)
    path = with_held_stamps(tmp_path / name, source, shift)
    info = inspect_video(path).info
    assert {"stamp_outliers", "clock_restarts"} & set(info.flags)
    assert info.times_made_up
    check(path, 60)


def test_frames_that_truly_lie_a_tick_apart_keep_their_times(tmp_path: Path) -> None:
    for name, fps in (("a.mkv", 500), ("a.mp4", 960), ("b.mp4", 1)):
        info = inspect_video(write_video(tmp_path / name, frames=20, fps=fps)).info
        assert (info.times_made_up, "stamp_outliers" in info.flags) == (False, False)


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_clock_overlapping_by_one_frame_goes_on(tmp_path: Path, name: str) -> None:
    path = joined(tmp_path / name, counts=(40, 40), starts_ms=(0, 1560), options={"bf": "0"})
    assert "clock_restarts" in inspect_video(path).info.flags
    check(path, 80)


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_clock_set_back_within_a_group_goes_on(tmp_path: Path, name: str) -> None:
    path = with_stamps(tmp_path / name, lambda n, ms: ms if n < 33 else ms - 1100, frames=60, options={"bf": "0"})
    assert "clock_restarts" in inspect_video(path).info.flags
    check(path, 60)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mkv", {"bf": "0"}), ("a.mkv", OPEN_GROUPS["libx264"]), ("a.mp4", OPEN_GROUPS["libx264"]), ("a.ts", {})],
)
@pytest.mark.parametrize("seed", range(3))
def test_variable_rates_and_pauses_are_no_fault(tmp_path: Path, name: str, options: dict[str, str], seed: int) -> None:
    steps = np.random.default_rng(seed).choice([16, 33, 40, 66, 500, 20_000], 60)
    times_ms = np.cumsum(steps).tolist()
    path = write_video(tmp_path / name, frames=60, fps=1000, times_ms=times_ms, options=options)
    info = inspect_video(path).info
    assert not {"clock_restarts", "stamp_outliers", "leading_pictures"} & set(info.flags)
    assert not info.times_made_up
    found = shown(path)
    start = found[0][1]
    assert [number for number, _, _ in found] == list(range(60))
    expected = [(time - times_ms[0]) / 1000 for time in times_ms]
    assert [time - start for _, time, _ in found] == pytest.approx(expected, abs=2e-3)


def test_wild_stamps_are_sampled_by_their_frames_order(tmp_path: Path) -> None:
    """End to end: the flags choose the decoder."""
    path = with_stamps(tmp_path / "a.mkv", late({20, 21}, 3600), frames=60, options={"bf": "0"})
    header, chunks, end = kept(events(path, rate_hz=25.0))
    assert isinstance(header, Header)
    assert end.decoder == "av"
    assert np.concatenate([chunk.index for chunk in chunks]).tolist() == list(range(60))
    assert header.info.end_seconds == pytest.approx(2.4, abs=2e-3)


def test_keeping_damage_of_joined_files_shifts_no_frame(tmp_path: Path) -> None:
    path = joined(tmp_path / "a.ts", counts=(40, 40), options={"g": "10"})
    content = bytearray(path.read_bytes())
    for share in (3, 8):
        at = len(content) * share // 10
        del content[at - at % 188 : at - at % 188 + 4 * 188]
    path.write_bytes(bytes(content))
    found = shown(path, keep=True)
    start = found[0][1]
    assert any(not valid for _, _, valid in found)
    sound = [(number, time) for number, time, valid in found if valid]
    assert len(sound) > 30
    assert [time - start for _, time in sound] == pytest.approx([number / 25 for number, _ in sound], abs=2e-3)


@pytest.mark.parametrize("slots", [set(), {6, 13, 15, 30, 31}])
@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"bf": "0", "g": "12"}),
        ("libx264", OPEN_GROUPS["libx264"]),
        ("mpeg4", {"bf": "0", "b": "600k"}),
        ("mpeg2video", OPEN_GROUPS["mpeg2video"]),
        ("libvpx-vp9", OPEN_GROUPS["libvpx-vp9"]),
    ],
)
def test_frames_of_an_avi_have_the_times_of_their_slots(
    tmp_path: Path, codec: str, options: dict[str, str], slots: set[int]
) -> None:
    source = write_video(tmp_path / "source.avi", codec=codec, options=options)
    path = with_null_frames(tmp_path / "a.avi", source, slots)
    filled = [slot for slot in range(40 + len(slots)) if slot not in slots]
    found, info = shown(path), inspect_video(path).info
    assert [number for number, _, _ in found] == list(range(40))
    assert [time for _, time, _ in found] == pytest.approx([slot / 25 for slot in filled], abs=1e-9)
    guessed = bool(slots) and options in (OPEN_GROUPS["libx264"], OPEN_GROUPS["mpeg2video"])
    assert (info.times_made_up, "uneven_slots" in info.flags) == (guessed, guessed)


@pytest.mark.parametrize("lost", range(4, 16))
def test_frames_around_a_lost_packet_have_their_own_times_or_none(tmp_path: Path, lost: int) -> None:
    """MPEG-2 decoders then silently show the rest in another order than that of the stamps."""
    source = tmp_path / "whole.ts"
    write_video(source, frames=25, codec="mpeg2video", options=OPEN_GROUPS["mpeg2video"])
    path = without_packet(tmp_path / "a.ts", source, lost)
    try:
        info, found = inspect_video(path).info, shown(path)
    except VideoError as error:
        assert error.failure is FailureClass.CORRUPT
        return
    assert len(found) == 24
    start = inspect_video(source).info.start_seconds
    wrong = [number for number, time, _ in found if abs(time - start - number / 25) > 2e-3]
    assert not wrong or info.times_made_up
