"""Files that begin, or restart, with pictures that refer to missing ones: these are never shown."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest

from extractor.video.containers.preflight import inspect_video
from schemas.errors import FailureClass
from tests.extractor.video.containers.test_odd_clocks import OPEN_GROUPS, shown
from tests.extractor.video.truth import events, failure_of, kept
from tests.odd_clocks import cut_before, keyframes_of
from tests.videos import write_video

END_OF_SEQUENCE = bytes([0, 0, 0, 1, 36 << 1, 1])


def cut(path: Path, codec: str, before_keyframe: int = 0) -> Path:
    """A file that begins at an open group of pictures, or some packets before it."""
    whole = write_video(path.with_name(f"whole{path.suffix}"), codec=codec, frames=50, options=OPEN_GROUPS[codec])
    return cut_before(path, whole, keyframes_of(whole)[1] - before_keyframe)


@pytest.mark.parametrize("before", [0, 4])
@pytest.mark.parametrize(
    ("name", "codec", "first"),
    [
        ("a.mkv", "libx264", 10),
        ("a.mp4", "libx264", 10),
        ("a.ts", "libx264", 10),
        ("a.flv", "libx264", 10),
        ("a.h264", "libx264", 10),
        ("a.mkv", "libx265", 10),
        ("a.mp4", "libx265", 10),
        ("a.ts", "libx265", 10),
        ("a.hevc", "libx265", 10),
        ("a.mkv", "mpeg2video", 12),
        ("a.ts", "mpeg2video", 12),
        ("a.mpg", "mpeg2video", 12),
        ("a.mp4", "mpeg4", None),
        ("a.avi", "mpeg4", None),
    ],
)
def test_file_cut_at_an_open_group_shows_what_can_be_shown(
    tmp_path: Path, name: str, codec: str, first: int | None, before: int
) -> None:
    """first: the number that the frame of its first keyframe shows, None if the encoder decides."""
    path = cut(tmp_path / name, codec, before)
    info = inspect_video(path).info
    for keep in (False, True):
        found = shown(path, keep=keep)
        first = found[0][0] if first is None else first
        start = found[0][1]
        assert 0 < first < 20
        assert [number for number, _, _ in found] == list(range(first, 50))
        assert [time - start for _, time, _ in found] == pytest.approx([n / 25 for n in range(50 - first)], abs=2e-3)
        assert all(valid for _, _, valid in found)
    assert {"leading_pictures", "discarded_packets"} & set(info.flags)
    assert info.times_made_up == (name in {"a.h264", "a.hevc"})
    assert kept(events(path))[2].decoder == "av"


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "mpeg2video"), ("a.ts", "mpeg2video"), ("a.mkv", "libx264"), ("a.mp4", "libx265")]
)
def test_leading_pictures_whose_stamps_were_held_back_lead(tmp_path: Path, name: str, codec: str) -> None:
    """FFmpeg's muxers write no stamp before that of the first packet: leading pictures get its own, or a tick more."""
    whole = write_video(tmp_path / "whole.ts", codec=codec, frames=50, options=OPEN_GROUPS[codec])
    source = cut_before(tmp_path / "source.ts", whole, keyframes_of(whole)[1])
    with av.open(str(source)) as file, av.open(str(tmp_path / name), "w") as target:
        stream = file.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in file.demux(stream) if packet.size]
        start, last = packets[0].pts, -1
        assert start is not None
        for packet in packets:
            assert packet.pts is not None
            packet.dts = last = max(last + 1, (packet.pts if packet.dts is None else packet.dts) - start)
            packet.pts = max(packet.pts - start, last)
            packet.stream = copy
            target.mux(packet)
    found = shown(tmp_path / name)
    first, start_seconds = found[0][0], found[0][1]
    assert [number for number, _, _ in found] == list(range(first, 50))
    times = [time - start_seconds for _, time, _ in found]
    assert times == pytest.approx([n / 25 for n in range(50 - first)], abs=3e-3)


def test_frames_behind_leading_pictures_have_their_own_stamps(tmp_path: Path) -> None:
    path = cut(tmp_path / "a.mkv", "libx265")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        start = packets[0].pts
        assert start is not None
        stamps = sorted(packet.pts for packet in packets if packet.pts is not None and packet.pts >= start)
        assert stream.time_base is not None
        expected = [float(stamp * stream.time_base) for stamp in stamps]
    assert len(expected) < len(packets)
    assert inspect_video(path).times_seconds.tolist() == pytest.approx(expected, abs=1e-12)


def test_damage_besides_leading_pictures_still_fails(tmp_path: Path) -> None:
    path = cut(tmp_path / "a.mkv", "libx264")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    path.write_bytes(bytes(content))
    assert failure_of(path).failure in (FailureClass.CORRUPT, FailureClass.TRUNCATED)


def packets_of(path: Path) -> list[tuple[bytes, int, int, bool]]:
    """For each packet its content, presentation and decoding stamp, and whether it is a keyframe."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
        return [(bytes(item), item.pts or 0, item.dts or 0, item.is_keyframe) for item in packets]


def spliced(path: Path, source: Path, parts: Sequence[Sequence[tuple[bytes, int, int, bool]]]) -> Path:
    """Parts of a stream, joined with one clock and an end of sequence between them."""
    with av.open(str(source)) as template, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(template.streams.video[0])
        offset = end = 0
        for number, part in enumerate(parts):
            if number:
                offset = end + 3600 - min(pts for _, pts, _, _ in part)
            for place, (content, pts, dts, key) in enumerate(part):
                ends = place == len(part) - 1 and number < len(parts) - 1
                packet = av.Packet(content + END_OF_SEQUENCE * ends)
                packet.pts, packet.dts, packet.time_base = pts + offset, dts + offset, Fraction(1, 90_000)
                packet.is_keyframe, packet.stream = key, stream
                target.mux(packet)
                end = max(end, pts + offset)
    return path


@pytest.mark.parametrize("last", [20, 23, 27])
@pytest.mark.parametrize("name", ["a.mkv", "a.hevc"])
def test_keyframe_behind_an_end_of_sequence_leads_no_pictures(tmp_path: Path, name: str, last: int) -> None:
    """H.265 drops its leading pictures, and those before the end that are not shown yet."""
    source = write_video(tmp_path / "source.ts", codec="libx265", frames=50, options=OPEN_GROUPS["libx265"])
    packets, keyframes = packets_of(source), keyframes_of(source)
    parts = packets[:last], packets[keyframes[3] :]
    path = tmp_path / name
    if name.endswith("hevc"):
        content = [b"".join(content for content, _, _, _ in part) for part in parts]
        path.write_bytes(END_OF_SEQUENCE.join(content))
    else:
        spliced(path, source, parts)
    found = shown(path)
    numbers = [number for number, _, _ in found]
    second = numbers.index(30)
    assert numbers[:second] == list(range(second))
    assert last - 4 <= second <= last
    assert numbers[second:] == list(range(30, 50))
    assert "leading_pictures" in inspect_video(path).info.flags
    if name.endswith("mkv"):
        stamps = {number: time for number, time, _ in found}
        steps = [stamps[number] - stamps[30] for number in range(30, 50)]
        assert steps == pytest.approx([number / 25 for number in range(20)], abs=2e-3)
