"""A file in stretches, by several decoders: the events of one decoder, bit by bit, or the file is left to one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from extractor.video.containers.preflight import inspect_video
from extractor.video.decoders import jumping, stretches
from extractor.video.decoders.backends import DecodingRequest
from extractor.video.decoders.jumping import Entry, Run
from extractor.video.decoders.stretches import cut, planned_stretches
from extractor.video.decoding import decode
from schemas.errors import VideoError
from schemas.records import Ask, Decoded, FileJob, FrameChunk, Header, Item, ItemPlan, Restart
from tests.extractor.video.bitstreams.streams_with_groups import FRAMES, GROUP, KINDS, write_kind
from tests.extractor.video.truth import config
from tests.videos import write_video

VFR = "variable.mp4"


FAST = ("closed.mp4", "open.mp4", "hevc_open.mkv", "closed.ts", VFR)


class Streams(dict[str, Path]):
    """Streams of several groups of pictures, by name; each is made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> Path:
        if name == VFR:
            times = np.cumsum(np.random.default_rng(0).choice([40, 80, 120, 400], FRAMES)).tolist()
            settings: dict[str, Any] = KINDS["open.mp4"]
            self[name] = write_video(self._folder / name, frames=FRAMES, times_ms=times, **settings)
        else:
            self[name] = write_kind(self._folder, name)
        return self[name]


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return Streams(tmp_path_factory.mktemp("groups"))


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of any length are cut wherever they may, and decord gets none."""
    monkeypatch.setattr(jumping, "LONG_GAP", GROUP)
    monkeypatch.setattr(jumping, "_LEAST_GAP", 1)
    monkeypatch.setattr(jumping, "_WORTH", 0)
    monkeypatch.setattr(stretches, "LEAST_FRAMES", GROUP // 2)
    monkeypatch.setattr(stretches, "LEAST_STRETCHES", 3)
    monkeypatch.setattr("extractor.video.decoding.HELD_BYTES", 0)


class OneOfSeveral:
    """A decoder that answers what it is asked for."""

    def __init__(self, job: FileJob, **changes: Any) -> None:
        self._ask = Ask(None)
        self._events = decode(job, config(**changes), chunk_bytes=4 * 32 * 32 * 3, asked=lambda: self._ask)
        self.header = next(self._events)

    def answer(self, ask: Ask) -> Iterator[FrameChunk | Decoded | Restart]:
        self._ask = ask
        for event in self._events:
            assert not isinstance(event, Header)
            yield event
            if isinstance(event, Restart) or (isinstance(event, FrameChunk) and event.last):
                return


Outcome = tuple[Any, ...]


def outcome(header: Any, chunks: list[FrameChunk], end: Decoded) -> Outcome:
    """All that can differ between two ways to decode a file."""
    assert isinstance(header, Header)
    arrays = [np.concatenate([getattr(c, name) for c in chunks]).tobytes() for name in ("index", "frames", "valid")]
    plans = [
        (plan.index.tobytes(), plan.time_seconds.tobytes()) if isinstance(plan, ItemPlan) else plan
        for plan in header.plans
    ]
    return header.info, header.grid, plans, arrays, replace(end, decode_seconds=0.0, transform_seconds=0.0)


def by_one(path: Path, *items: Item, **changes: Any) -> Outcome:
    """What one decoder makes of a file, or how it fails."""
    header, chunks = None, []
    try:
        for event in decode(FileJob(str(path), items), config(**changes)):
            match event:
                case Header():
                    header = event
                case FrameChunk():
                    chunks.append(event)
                case Restart():
                    chunks = []
                case Decoded():
                    return outcome(header, chunks, event)
    except VideoError as error:
        return error.failure, error.message
    raise AssertionError("expected an end; got none")


class Shared:
    """What several decoders make of a file, its stretches given to them by chance; where they may not, one does."""

    def __init__(self, path: Path, *items: Item, decoders: int = 3, seed: int = 0, **changes: Any) -> None:
        self.restarts: list[str] = []
        self.stretches = 1
        self.by: list[int] = []
        self._random = np.random.default_rng(seed)
        self._alone = lambda: by_one(path, *items, **changes)
        job = FileJob(str(path), items)
        try:
            self.outcome = self._share([OneOfSeveral(job, **changes) for _ in range(decoders)])
        except VideoError as error:  # of the decoder that began
            self.outcome = error.failure, error.message

    def _share(self, decoders: list[OneOfSeveral]) -> Outcome:
        header = decoders[0].header
        assert isinstance(header, Header)
        self.stretches = header.stretches
        if header.stretches == 1:
            return self._alone()
        chunks: list[FrameChunk] = []
        self.by = [0, *self._random.integers(0, len(decoders), header.stretches - 1).tolist()]
        proves = True
        for number, who in enumerate(self.by):
            for event in decoders[who].answer(Ask(number, proves=proves and who > 0)):
                if isinstance(event, Restart):
                    self.restarts.append(event.reason)
                    return self._alone()
                assert isinstance(event, FrameChunk)
                chunks.append(event)
            proves &= who == 0
        ends = [end for one in decoders for end in one.answer(Ask(None))]
        flags = {flag for end in ends if isinstance(end, Decoded) for flag in end.flags}
        first = ends[0]
        assert isinstance(first, Decoded)
        of_file = header.info.flags
        return outcome(header, chunks, replace(first, flags=(*of_file, *sorted(flags - set(of_file)))))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in (*KINDS, VFR)]
)
def test_several_decoders_return_what_one_does(streams: dict[str, Path], name: str) -> None:
    for seed in range(2):
        found = Shared(streams[name], Item("v"), seed=seed)
        assert found.stretches > 3
        assert len(set(found.by)) > 1
        assert not found.restarts
        assert found.outcome == by_one(streams[name], Item("v"))


@pytest.mark.parametrize("name", ["open.mp4", "hevc_open.mkv", "closed.ts", VFR])
@pytest.mark.parametrize(
    "changes", [{"rate_hz": 0.7}, {"rate_hz": None}, {"sampling": "segments"}, {"decoder": "sparse"}]
)
def test_several_decoders_return_what_one_does_however_it_is_sampled(
    streams: dict[str, Path], name: str, changes: dict[str, Any]
) -> None:
    for items in ((Item("v"),), (Item("late", 2.5, 4.9),), (Item("a", 0.3, 1.9), Item("b", 1.5, 2.6), Item("c", 4.1))):
        found = Shared(streams[name], *items, seed=len(items), **changes)
        assert found.outcome == by_one(streams[name], *items, **changes)
        assert not found.restarts


def test_a_decoder_that_is_asked_for_everything_decodes_as_one_alone(
    streams: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretches, "Source", None)  # it never begins at a keyframe
    found = Shared(streams["open.mp4"], Item("v"), decoders=1)
    assert found.stretches > 3
    assert found.outcome == by_one(streams["open.mp4"], Item("v"))


@pytest.mark.parametrize("name", ["refresh.mp4", pytest.param("vp8.webm", marks=pytest.mark.slow)])
def test_a_file_without_entry_points_has_one_stretch(streams: dict[str, Path], name: str) -> None:
    found = Shared(streams[name], Item("v"))
    assert found.stretches == 1
    assert found.outcome == by_one(streams[name], Item("v"))


@pytest.mark.parametrize("changes", [{"decoder": "pyav"}, {"keep_corrupt": True}])
def test_some_ways_to_decode_leave_a_file_to_one(streams: dict[str, Path], changes: dict[str, Any]) -> None:
    assert Shared(streams["closed.mp4"], Item("v"), **changes).stretches == 1


def test_a_file_of_decord_has_one_stretch(streams: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.video.decoding.HELD_BYTES", 1 << 30)
    assert Shared(streams["closed.mp4"], Item("v")).stretches == 1


def damaged(path: Path, seed: int) -> Path:
    """A copy of a file with one to three packets spoilt, in any place."""
    random = np.random.default_rng(seed)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(container.streams.video[0]) if packet.size]
    content = bytearray(path.read_bytes())
    for number in random.integers(1, len(places), int(random.integers(1, 4))).tolist():
        at, size = places[number]
        first = at + int(random.integers(size // 4, size))
        end = min(at + size, first + int(random.choice([1, 3, 40])))
        content[first:end] = bytes(byte ^ int(random.integers(1, 256)) for byte in content[first:end])
    copy = path.with_name(f"damaged_{seed}_{path.name}")
    copy.write_bytes(bytes(content))
    return copy


@pytest.mark.parametrize("name", ["closed.mp4", "open.mp4", "hevc_open.mkv"])
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 60))])
def test_damage_has_the_same_outcome(streams: dict[str, Path], name: str, seed: int) -> None:
    path = damaged(streams[name], seed)
    for items in ((Item("v"),), (Item("early", 0.1, 2.2), Item("late", 3.0, 5.5))):
        assert Shared(path, *items, seed=seed).outcome == by_one(path, *items), items


def test_damage_behind_the_last_frame_of_a_stretch_is_seen_by_the_decoder_that_leaves_there(
    streams: dict[str, Path],
) -> None:
    """It began the file, and is asked for the first stretch only: no other decodes the rest of that."""
    path = damaged(streams["closed.mp4"], 1)
    with av.open(str(streams["closed.mp4"])) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
    content = bytearray(streams["closed.mp4"].read_bytes())
    last = max((packet for packet in packets[: 2 * GROUP]), key=lambda packet: packet.pts)
    content[last.pos + 8 : last.pos + last.size] = bytes(last.size - 8)
    path.write_bytes(bytes(content))
    one = OneOfSeveral(FileJob(str(path), (Item("v"),)), rate_hz=2.0)  # frames 0, 12 or 13, 25, 37 or 38
    with pytest.raises(VideoError):
        for number in (0, 1):
            list(one.answer(Ask(number)))


def test_a_difference_leaves_the_file_to_one_decoder(streams: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jumping, "_alike", lambda one, other: False)
    found = Shared(streams["closed.mp4"], Item("v"))
    assert found.restarts == [f"decoding from a keyframe: frame {GROUP} differs from that of decoding from the start"]
    assert found.outcome == by_one(streams["closed.mp4"], Item("v"))


ENTRIES = [Entry(number, jumping.EntryPoint(number, None, 1, False)) for number in (0, 250, 500, 750)]


def bounds(runs: tuple[Run, ...]) -> list[tuple[int, int]]:
    return [(run.first, run.end) for run in runs]


@pytest.mark.parametrize(
    ("runs", "index", "expected"),
    [
        ([(0, 600)], range(0, 600, 3), [(0, 250), (250, 600)]),
        ([(0, 720)], range(0, 720, 3), [(0, 250), (250, 500), (500, 720)]),
        ([(0, 250)], range(0, 250, 3), [(0, 250)]),
        ([(0, 1000)], [0, 510], [(0, 250), (250, 1000)]),  # none without a sampled frame
        ([(0, 1000)], [0, 400, 510], [(0, 250), (250, 500), (500, 1000)]),
        ([(0, 250), (500, 1000)], range(0, 1000, 3), [(0, 250), (500, 750), (750, 1000)]),
    ],
)
def test_cut_begins_stretches_at_entry_points(
    monkeypatch: pytest.MonkeyPatch, runs: list[tuple[int, int]], index: Any, expected: list[tuple[int, int]]
) -> None:
    monkeypatch.setattr(stretches, "LEAST_FRAMES", 200)
    found = cut([Run(None, *run) for run in runs], ENTRIES, np.array(index))
    assert bounds(found) == expected
    for run in found:
        cut_here = run.first not in [first for first, _ in runs]
        assert run.entry == (jumping.EntryPoint(run.first, None, 1, False) if cut_here else None)


@pytest.mark.parametrize("seed", range(30))
def test_cut_keeps_every_frame_in_stretches_that_are_worth_it(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(stretches, "LEAST_FRAMES", 200)
    random = np.random.default_rng(seed)
    edges = np.sort(random.choice(20_000, 2 * int(random.integers(1, 6)), replace=False)).reshape(-1, 2).tolist()
    entries = [
        Entry(int(number), jumping.EntryPoint(int(number), None, 1, False))
        for number in np.unique(random.integers(0, 20_000, int(random.integers(1, 300))))
    ]
    index = np.unique([k for first, end in edges for k in (first, *random.integers(first, end, 40).tolist())])
    found = cut([Run(None, first, end) for first, end in edges], entries, index)
    frames = [k for run in found for k in range(run.first, run.end)]
    assert frames == [k for first, end in edges for k in range(first, end)]
    for run in found:
        assert ((index >= run.first) & (index < run.end)).any()
        assert run.end - run.first >= 200 or [run.first, run.end] in edges


def request_of(count: int, every: int, rate: int, tmp_path: Path) -> DecodingRequest:
    """All of a long film with a keyframe now and then."""
    inspection = inspect_video(write_video(tmp_path / "v.mp4", frames=2))
    long = replace(
        inspection,
        info=replace(inspection.info, num_frames=count, flags=("long",)),
        stamps=np.arange(count, dtype=np.int64),
        entry_points=tuple(jumping.EntryPoint(number, None, 1, False) for number in range(0, count, every)),
    )
    return DecodingRequest(tmp_path / "v.mp4", long, np.arange(0, count, rate), True, covered=np.array([[0, count]]))


@pytest.mark.parametrize(
    ("count", "every", "rate", "expected"),
    [
        (36_000, 250, 3, 144),
        (36_000, 90, 3, 133),  # 270 frames each
        (2_000, 250, 3, 1),  # two decoders would save 1,000 frames, less than twice the 506 of the comparison
        (2_030, 250, 3, 8),
        (36_000, 9_000, 3, 1),
        (36_000, 2_000, 3, 18),
        (36_000, 2_000, 1, 1),  # a stretch would hold more frames than may wait
    ],
)
def test_files_are_cut_if_it_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, every: int, rate: int, expected: int
) -> None:
    for name, value in (("LONG_GAP", 750), ("_WORTH", 2)):
        monkeypatch.setattr(jumping, name, value)
    monkeypatch.setattr(stretches, "LEAST_FRAMES", 200)
    monkeypatch.setattr(stretches, "LEAST_STRETCHES", 8)
    found = planned_stretches(request_of(count, every, rate, tmp_path), 1000)
    assert (1 if found is None else len(found.runs)) == expected
