"""The benchmark that decodes mutated files: its files, its mutations, and planted faults, which its judge must find."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.mutations.__main__ import JudgedMutation, main, mutations, report
from benchmarks.mutations.files import FORMATS, KINDS, Source, mutation, write_sources
from benchmarks.mutations.judge import Decode, KnownFrames, faults_of, known_frames, result_of, truth_of
from benchmarks.mutations.length_fields import length_fields
from benchmarks.mutations.watched_child import WatchedChild
from extractor.video.decoding import decode
from schemas.config import ExtractionConfig
from schemas.errors import FailureClass, VideoError
from schemas.records import Decoded, DecodingEvent, FileJob, FrameChunk, Header, ItemPlan

Sources = dict[str, tuple[Source, Source]]
Change = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return write_sources(tmp_path_factory.mktemp("sound"))


def planted(change: Change, job: FileJob, config: ExtractionConfig, distrust: str = "") -> Iterator[DecodingEvent]:
    """The product's decoding with frames or times changed, and nothing else."""
    events = list(decode(job, config, distrust=distrust))
    header, last = events[0], events[-1]
    assert isinstance(header, Header) and isinstance(last, Decoded)
    plan = header.plans[0]
    assert isinstance(plan, ItemPlan)
    chunks = [event.frames for event in events if isinstance(event, FrameChunk)]
    times, frames = change(plan.time_seconds.copy(), np.concatenate(chunks))
    index = np.arange(len(frames))
    yield replace(header, plans=(replace(plan, index=index, time_seconds=times),))
    yield FrameChunk(index, frames, np.ones(len(frames), np.bool_))
    yield last


def dropped(times: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.delete(times, -1), np.delete(frames, -1, axis=0)


def swapped(times: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    frames[[3, 4]] = frames[[4, 3]]
    return times, frames


def a_level_off(times: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    frames[7, 5, 5, 0] ^= 1
    return times, frames


def late(times: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return times + 0.04, frames


def one_time_off(times: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    times[10] += 0.002
    return times, frames


def stepping_back(times: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    times[[10, 11]] = times[[11, 10]]
    return times, frames


def raises(*_: Any, **__: Any) -> Iterator[DecodingEvent]:
    yield from ()
    raise IndexError("index out of range")


def refuses(*_: Any, **__: Any) -> Iterator[DecodingEvent]:
    yield from ()
    raise VideoError(FailureClass.CORRUPT, "no")


def stops_early(*arguments: Any, **options: Any) -> Iterator[DecodingEvent]:
    yield from list(decode(*arguments, **options))[:-1]


def hangs(*_: Any, **__: Any) -> Iterator[DecodingEvent]:
    yield from ()
    time.sleep(600)


def exits(*arguments: Any, distrust: str, **options: Any) -> Iterator[DecodingEvent]:
    """Like a decoder that crashes; with PyAV alone it succeeds."""
    if not distrust:
        os._exit(3)
    yield from decode(*arguments, distrust=distrust, **options)


def keeps_damage(job: FileJob, config: ExtractionConfig, **options: Any) -> Iterator[DecodingEvent]:
    for event in decode(job, config.model_copy(update={"keep_corrupt": True}), **options):
        yield replace(event, valid=np.ones_like(event.valid)) if isinstance(event, FrameChunk) else event


@pytest.fixture(scope="module")
def known(sources: Sources) -> KnownFrames:
    return known_frames({source.name: source.path for pair in sources.values() for source in pair})


def kinds_of(decode: Decode, path: Path, known: KnownFrames) -> set[str]:
    result = result_of(decode, str(path), lambda: None)
    assert not result.failure, result.message
    if result.exception:
        return {"exception"}
    return {kind for kind, _ in faults_of(result, truth_of(str(path)), known)}


def test_sources_and_mutations_are_the_same_every_time(sources: Sources, tmp_path: Path) -> None:
    again = write_sources(tmp_path)
    for name, pair in sources.items():
        assert [source.content for source in pair] == [source.content for source in again[name]], name
    for number in range(100):
        one, other = mutation(5, number, sources), mutation(5, number, again)
        assert (one.text, one.content) == (other.text, other.content)
        assert one.content not in {source.content for pair in sources.values() for source in pair}
    some = list(mutations(5, range(100), ["ts", "flv"], sources))
    assert {made.source.format for made in some} == {"ts", "flv"}
    assert all(made.content == mutation(5, made.number, sources).content for made in some)


def test_formats_and_kinds_are_drawn_evenly(sources: Sources) -> None:
    made = [mutation(0, number, sources) for number in range(400)]
    formats, kinds = Counter(each.source.format for each in made), Counter(each.kind for each in made)
    assert set(formats) == set(FORMATS) and min(formats.values()) > 25
    assert set(kinds) == set(KINDS) and min(kinds.values()) > 50


def test_length_fields_of_every_format(sources: Sources) -> None:
    for source in (source for pair in sources.values() for source in pair):
        fields = length_fields(source.path.suffix, source.content)
        assert len(fields) > 10, source.name
        for field in fields:
            length = field.read(source.content)
            assert field.written(source.content, length) == source.content
            assert field.read(field.written(source.content, length ^ 1)) == length ^ 1
            assert length < 2**28 or length == field.mask, (source.name, field)  # no bytes of a picture


def test_sound_files_are_free_of_faults(sources: Sources, known: KnownFrames) -> None:
    for source in (source for pair in sources.values() for source in pair):
        assert kinds_of(decode, source.path, known) == set(), source.name


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (dropped, "count"),
        (swapped, "order"),
        (a_level_off, "frames"),
        (late, "times"),
        (one_time_off, "times"),
        (stepping_back, "times"),
    ],
)
@pytest.mark.parametrize("name", ["mp4-h264", "avi-mpeg4", "ps-mpeg2"])
def test_planted_change_is_a_fault(sources: Sources, known: KnownFrames, name: str, change: Change, kind: str) -> None:
    found = kinds_of(partial(planted, change), sources[name][0].path, known)
    assert kind in found and found <= {kind, "times"}  # swapped frames also have wrong times


def test_planted_exception_and_missing_end_are_faults(sources: Sources, known: KnownFrames) -> None:
    path = sources["mkv-h264"][0].path
    assert kinds_of(raises, path, known) == {"exception"}
    assert "IndexError: index out of range (test_mutations.py" in result_of(raises, str(path), lambda: None).exception
    assert kinds_of(stops_early, path, known) == {"events"}
    assert result_of(refuses, str(path), lambda: None).failure == "corrupt"


def test_damage_given_as_sound_is_a_fault(sources: Sources, known: KnownFrames, tmp_path: Path) -> None:
    content = bytearray(sources["mp4-h264"][1].content)
    for at in range(len(content) // 3, len(content) // 2, 100):
        content[at] ^= 0x55
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    assert {"corrupt"} <= kinds_of(keeps_damage, path, known)


def test_only_pictures_that_refer_to_nothing_may_be_left_out(sources: Sources, known: KnownFrames) -> None:
    path = str(sources["ps-mpeg2"][0].path)
    result, truth = result_of(decode, path, lambda: None), truth_of(path)
    assert result.info is not None
    flagged = replace(result, info=replace(result.info, flags=("leading_pictures",)))
    garbage = np.full_like(truth.frames[0], 128)
    spoilt = replace(truth, frames=[garbage, *truth.frames], times=[0.5, *truth.times], corrupt=[0])
    assert {kind for kind, _ in faults_of(result, spoilt, known)} >= {"order", "count", "corrupt"}
    assert faults_of(flagged, spoilt, known) == []
    middle = [*truth.frames[:9], garbage, *truth.frames[10:]]  # frame 9, by a drained decoder, is right
    mixed = replace(truth, frames=middle)
    assert [kind for kind, _ in faults_of(result, mixed, known)] == ["frames"]
    assert faults_of(flagged, mixed, known) == []
    fewer = replace(flagged, frames=flagged.frames[2:], times=flagged.times[2:])
    assert {kind for kind, _ in faults_of(fewer, truth, known)} == {"count", "order"}


@pytest.mark.slow
def test_hang_and_death_are_reported(sources: Sources, known: KnownFrames) -> None:
    source = sources["flv"][0]
    with WatchedChild(hangs, known, deadline_seconds=0.5) as child:
        hung = child.judge(source.path)
    assert hung.outcome == "timed_out" and [kind for kind, _ in hung.faults] == ["hang", "hang"]
    assert "the pool would end it" in hung.faults[0][1]
    assert (
        list(report([JudgedMutation(mutation(0, 0, sources), hung)]))[-1] == "1 mutations and 0 sound files: 1 faults"
    )
    with WatchedChild(exits, known, deadline_seconds=30.0) as child:
        died = child.judge(source.path, frozenset({"container:flv", "codec:flv1"}))
    assert died.outcome == "sound" and died.faults == ()
    assert died.caught == "the decoder's process died (exit code 3)"


@pytest.mark.slow
def test_command_finds_no_fault_in_thirty_mutations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "30"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "30 mutations and 16 sound files: 0 faults"
    assert max(map(len, lines)) <= 100
    assert main(["--only", "7", "--keep", str(tmp_path / "kept")]) == 0
    assert [path.stem for path in (tmp_path / "kept").iterdir()] == ["7"]
