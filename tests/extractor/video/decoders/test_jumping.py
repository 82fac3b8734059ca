"""Decoding from keyframe to keyframe: the frames of decoding from the start, or the file is decoded from there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from extractor.video.bitstreams import entry_points
from extractor.video.bitstreams.entry_points import EntryPoint
from extractor.video.containers.preflight import inspect_video
from extractor.video.decoders import jumping
from extractor.video.decoders.backends import DecodingRequest, Misbehaved
from extractor.video.decoders.jumping import Entry, has_long_gap, jumping_frames, planned_jumps, runs_over
from extractor.video.decoders.pyav_backend import pyav_frames
from extractor.video.decoding import decode
from schemas.errors import FailureClass, VideoError
from schemas.records import DecodingEvent, FileJob, Item, Restart
from tests.extractor.video.bitstreams.streams_with_groups import GROUP, KINDS, WITHOUT, with_false_keyframes
from tests.extractor.video.truth import config, kept
from tests.videos import write_video

LATE = Item("late", 5.0, 5.5)
"""In the last third of the streams, which have 25 frames a second."""


@pytest.fixture
def short_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding jumps wherever it may, in files of any length, and decord gets none."""
    monkeypatch.setattr(jumping, "LONG_GAP", GROUP)
    monkeypatch.setattr(jumping, "_LEAST_GAP", 1)
    monkeypatch.setattr(jumping.Plan, "cost", 0)
    monkeypatch.setattr("extractor.video.decoding.HELD_BYTES", 0)


def random_request(path: Path, random: np.random.Generator) -> DecodingRequest:
    """A request for some frames of one to three stretches of a file."""
    inspection = inspect_video(path)
    count = inspection.info.num_frames
    bounds = np.sort(random.choice(np.arange(GROUP, count + 1), 2 * int(random.integers(1, 4)), replace=False))
    covered = bounds.reshape(-1, 2)
    index = np.concatenate([np.arange(first, end)[:: int(random.integers(1, 5))] for first, end in covered])
    to_end = bool(random.integers(2))
    if to_end:
        covered[-1, 1] = count
    return DecodingRequest(path, inspection, index, to_end, covered=covered)


def frames_of(found: list[DecodingEvent]) -> NDArray[np.uint8]:
    return np.concatenate([chunk.frames for chunk in kept(found)[1]])


def events(path: Path, *items: Item, **changes: object) -> list[DecodingEvent]:
    return list(decode(FileJob(str(path), items), config(**changes)))


def assert_same_frames(request: DecodingRequest) -> None:
    found = list(jumping_frames(request))
    truth = list(pyav_frames(request))
    assert [frame.number for frame in found] == [frame.number for frame in truth] == request.index.tolist()
    for frame, right in zip(found, truth, strict=True):
        assert np.array_equal(frame.pixels, right.pixels), frame.number


@pytest.mark.usefixtures("short_gaps")
@pytest.mark.parametrize("name", KINDS)
def test_frames_behind_jumps_are_those_of_decoding_from_the_start(streams: dict[str, Path], name: str) -> None:
    random = np.random.default_rng(len(name))
    jumps = 0
    for _ in range(5):
        request = random_request(streams[name], random)
        plan = planned_jumps(request)
        if plan is not None:
            assert_same_frames(request)
            jumps += len(plan.runs)
            assert request.tally.flags == {"jumps"}
    assert jumps > 3


@pytest.mark.slow
@pytest.mark.usefixtures("short_gaps")
@pytest.mark.parametrize("seed", range(6))
def test_frames_behind_jumps_are_those_of_decoding_from_the_start_whatever_the_segments(
    streams: dict[str, Path], seed: int
) -> None:
    random = np.random.default_rng(100 + seed)
    for name in KINDS:
        for _ in range(4):
            request = random_request(streams[name], random)
            if planned_jumps(request) is not None:
                assert_same_frames(request)


@pytest.mark.usefixtures("short_gaps")
@pytest.mark.parametrize("name", ["closed.mp4", "open.mp4", "hevc_open.mp4", "mpeg4.mp4", "av1.mp4"])
@pytest.mark.parametrize("believed", [False, True])
def test_false_keyframes_yield_the_same_frames(
    streams: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str, believed: bool
) -> None:
    """A table of keyframes that names others. believed: nothing looks at the pictures themselves."""
    path = with_false_keyframes(streams[name], 5)
    if believed:
        monkeypatch.setattr(entry_points, "independent", lambda codec, keyframe: False)
        monkeypatch.setattr(entry_points, "independent_units", lambda codec, units: False)
    found, truth = events(path, LATE), events(path, LATE, decoder="pyav")
    assert np.array_equal(frames_of(found), frames_of(truth))
    end = kept(found)[2]
    if believed and name not in ("closed.mp4", "open.mp4", "av1.mp4"):  # there FFmpeg itself looks at the pictures
        assert end.fallback_reason.startswith("decoding from a keyframe")
        assert "from_start" in end.flags


@pytest.mark.usefixtures("short_gaps")
@pytest.mark.parametrize("name", WITHOUT)
def test_a_stream_without_entry_points_is_decoded_from_its_start_and_says_so(
    streams: dict[str, Path], name: str
) -> None:
    found = events(streams[name], LATE)
    assert np.array_equal(frames_of(found), frames_of(events(streams[name], LATE, decoder="pyav")))
    assert "from_start" in kept(found)[2].flags


@pytest.mark.usefixtures("short_gaps")
def test_a_gradually_refreshed_stream_is_refused_by_comparison_too(
    streams: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_points, "independent_units", lambda codec, units: True)
    found = events(streams["refresh.mp4"], LATE)
    assert kept(found)[2].fallback_reason.startswith("decoding from a keyframe")
    assert np.array_equal(frames_of(found), frames_of(events(streams["refresh.mp4"], LATE, decoder="pyav")))


@pytest.mark.usefixtures("short_gaps")
def test_a_difference_voids_all_and_the_file_is_decoded_from_its_start(
    streams: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jumping, "_alike", lambda one, other: False)
    found = events(streams["closed.mp4"], LATE)
    restart = next(event for event in found if isinstance(event, Restart))
    assert restart.reason == f"decoding from a keyframe: frame {GROUP} differs from that of decoding from the start"
    assert kept(found)[2].flags[-1] == "from_start"
    assert np.array_equal(frames_of(found), frames_of(events(streams["closed.mp4"], LATE, decoder="pyav")))


def test_frames_are_compared_bit_by_bit(streams: dict[str, Path]) -> None:
    with av.open(str(streams["closed.mp4"])) as container:
        frame = next(iter(container.decode(video=0)))
    samples = frame.to_ndarray()

    def with_samples(values: NDArray[np.uint8]) -> av.VideoFrame:
        made = av.VideoFrame.from_ndarray(values, format=frame.format.name)
        made.colorspace, made.color_range = frame.colorspace, frame.color_range
        return made

    assert jumping._alike(frame, with_samples(samples))
    pixels = frame.width * frame.height
    for last in (pixels - 1, pixels * 5 // 4 - 1, pixels * 3 // 2 - 1):  # of each plane
        changed = samples.copy()
        changed.reshape(-1)[last] ^= 1
        assert not jumping._alike(frame, with_samples(changed))


@pytest.mark.usefixtures("short_gaps")
def test_the_decoder_first_sees_the_first_packet_which_may_name_its_encoder(
    streams: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg repeats bugs of the x264 that wrote a file of 4:4:4, if it saw the name; every other decoding has it."""
    seen: list[list[int | None]] = []
    decoded = jumping.decoded_frames

    def watched(packets: Iterator[av.Packet[Any]], *rest: Any) -> Iterator[av.VideoFrame]:
        stamps: list[int | None] = []
        seen.append(stamps)

        def noted() -> Iterator[av.Packet[Any]]:
            for packet in packets:
                stamps.append(packet.pts)
                yield packet

        return decoded(noted(), *rest)

    monkeypatch.setattr(jumping, "decoded_frames", watched)
    events(streams["closed.mkv"], LATE)
    start = inspect_video(streams["closed.mkv"]).entry_points[0].stamp
    first, probe, from_start, first_again, segment = seen
    assert first == first_again == [start]
    assert from_start[0] == start
    assert start not in (*probe, *segment)


@pytest.mark.usefixtures("short_gaps")
@pytest.mark.parametrize("name", ["open.mp4", "closed.mkv", "hevc_open.mkv", "closed.ts", "vp9.webm"])
@pytest.mark.parametrize("decoder", ["auto", "sparse"])
def test_decode_jumps_to_late_segments_by_default(streams: dict[str, Path], name: str, decoder: str) -> None:
    items = (Item("early", 0.2, 0.8), LATE)
    found, truth = (events(streams[name], *items, decoder=by) for by in (decoder, "pyav"))
    end = kept(found)[2]
    assert (end.decoder, end.fallback_reason) == ("av", "")
    assert "jumps" in end.flags
    assert not {"jumps", "from_start"} & set(kept(truth)[2].flags)
    assert np.array_equal(frames_of(found), frames_of(truth))


@pytest.mark.usefixtures("short_gaps")
def test_decode_does_not_jump_within_an_item_nor_where_damage_is_kept(streams: dict[str, Path]) -> None:
    path = streams["closed.mp4"]
    assert "jumps" not in kept(events(path, Item("v"), rate_hz=0.3))[2].flags
    assert "jumps" not in kept(events(path, LATE, keep_corrupt=True))[2].flags
    assert "jumps" in kept(events(path, LATE))[2].flags


@pytest.mark.usefixtures("short_gaps")
def test_damage_is_seen_where_an_item_is_and_not_in_between(streams: dict[str, Path]) -> None:
    path = streams["closed.mp4"]
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(container.streams.video[0]) if packet.size]

    def damaged(number: int) -> Path:
        content = bytearray(path.read_bytes())
        at, size = places[number]
        content[at + size // 3 : at + size] = bytes(byte ^ 0xA5 for byte in content[at + size // 3 : at + size])
        copy = path.with_name(f"damaged_{number}.mp4")
        copy.write_bytes(bytes(content))
        return copy

    sound = frames_of(events(path, LATE))
    assert np.array_equal(frames_of(events(damaged(70), LATE)), sound)
    for number, changes in ((70, {"decoder": "pyav"}), (127, {}), (5, {})):  # not jumped; in the segment; compared
        with pytest.raises(VideoError) as caught:
            events(damaged(number), LATE, **changes)
        assert caught.value.failure is FailureClass.CORRUPT
    with pytest.raises(VideoError):
        events(damaged(145), LATE, Item("to the end", 5.2))


def point(number: int, *, opens: bool = False) -> Entry:
    return Entry(number, EntryPoint(number * 10, None, 1, opens))


ENTRIES = [point(number) for number in (0, 250, 500, 750)]


@pytest.mark.parametrize(
    ("covered", "expected"),
    [
        ([[510, 600]], [(500, 600)]),
        ([[500, 600]], [(500, 600)]),
        ([[499, 600]], [(250, 600)]),
        ([[0, 100]], [(0, 100)]),
        ([[90, 100], [130, 140]], [(0, 140)]),
        ([[90, 100], [550, 560]], [(0, 100), (500, 560)]),
        ([[90, 180], [255, 560]], [(0, 560)]),  # the jump would save too little
        ([[300, 310], [500, 560], [760, 800]], [(250, 310), (500, 560), (750, 800)]),
    ],
)
def test_runs_begin_at_the_last_keyframe_that_saves_enough(
    covered: list[list[int]], expected: list[tuple[int, int]]
) -> None:
    runs = runs_over(np.array(covered), ENTRIES, least_gap=100)
    assert [(run.first, run.end) for run in runs] == expected
    for run in runs:
        assert run.entry == (None if run.first == 0 else EntryPoint(run.first * 10, None, 1, False))


def planned(tmp_path: Path, entries: list[Entry], first: int, count: int = 100_000) -> jumping.Plan | None:
    """The plan for a segment of 100 frames of a long file with these entry points."""
    inspection = inspect_video(write_video(tmp_path / "v.mp4", frames=2))
    long = replace(
        inspection,
        info=replace(inspection.info, num_frames=count, flags=("long",)),
        stamps=np.arange(count, dtype=np.int64) * 10,
        entry_points=tuple(entry.point for entry in entries),
    )
    covered = np.array([[first, first + 100]])
    request = DecodingRequest(tmp_path / "v.mp4", long, np.arange(first, first + 100), False, covered=covered)
    assert has_long_gap(request) is (first >= jumping.LONG_GAP)
    return planned_jumps(request)


def test_jumps_have_to_save_more_than_their_comparison_costs(tmp_path: Path) -> None:
    every_250 = [point(number) for number in range(0, 100_000, 250)]
    plan = planned(tmp_path, every_250, 50_010)
    assert plan is not None
    assert plan.saved == 50_000
    assert plan.cost == 250 + 128 + 128
    assert planned(tmp_path, every_250, 700) is None
    assert planned(tmp_path, every_250, 1_000) is None  # saves 1,000 frames, twice the cost are 1,012
    assert planned(tmp_path, every_250, 1_250) is not None
    assert planned(tmp_path, [point(0), point(40_000)], 50_010) is None


def test_a_kind_of_keyframe_that_comes_late_is_left_out(tmp_path: Path) -> None:
    entries = [point(number, opens=number > 0) for number in range(0, 100_000, 250)]
    entries[200] = point(50_000)
    plan = planned(tmp_path, entries, 50_010)
    assert plan is not None
    assert [run.first for run in plan.runs] == [49_750]


def test_files_whose_stamps_do_not_identify_frames_are_not_jumped_in(valid: dict[str, Path]) -> None:
    for name in ("bframes.avi", "program.mpg", "cut.mp4", "two_sizes.mp4", "raw.h264", "flash.flv"):
        assert not jumping.numbered_entries(inspect_video(valid[name])), name


def test_an_entry_point_that_the_demuxer_does_not_find_is_no_reason_to_fail(
    streams: dict[str, Path], short_gaps: None
) -> None:
    inspection = inspect_video(streams["closed.mp4"])
    moved = tuple(one._replace(size=one.size + 1) for one in inspection.entry_points)
    request = DecodingRequest(
        streams["closed.mp4"],
        replace(inspection, entry_points=moved),
        np.array([130]),
        False,
        covered=np.array([[130, 131]]),
    )
    with pytest.raises(Misbehaved, match="the demuxer does not find it"):
        list(jumping_frames(request))
