"""The rows of a film that several decoders decode, against those of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from extractor.models.loading import load_model
from extractor.models.msnet import MSNet
from extractor.video.decoders import jumping, stretches
from extractor.video.decoding import decode
from jobs.workers.decoder import Decoder
from jobs.workers.pool.sharing import SharedFile
from schemas.config import ExtractionConfig
from schemas.errors import VideoError
from schemas.records import Decoded, DecodingEvent, FileJob, FrameChunk, Header, Item, Restart
from tests.extractor.pipeline.truth import File, make_config
from tests.extractor.video.bitstreams.streams_with_groups import GROUP, write_kind


@pytest.fixture(scope="module")
def network() -> MSNet:
    found = load_model("msnet_resnet18", weights="random")
    assert isinstance(found, MSNet)
    return found


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of any length are cut wherever they may, and decord gets none."""
    for name, value in (("LONG_GAP", GROUP), ("_WORTH", 0)):
        monkeypatch.setattr(jumping, name, value)
    for name, value in (("LEAST_FRAMES", GROUP // 2), ("LEAST_STRETCHES", 3)):
        monkeypatch.setattr(stretches, name, value)
    monkeypatch.setattr("extractor.video.decoding.HELD_BYTES", 0)


def by_several(job: FileJob, config: ExtractionConfig, seed: int) -> Iterator[DecodingEvent]:
    """The events of a file of which three decoders are asked for stretches, in a random order."""
    random = np.random.default_rng(seed)
    decoders = [Decoder(config) for _ in range(3)]
    headers = [decoder.next([(FileJob(job.path, job.items, shared=True), "")])[0] for decoder in decoders]
    assert isinstance(headers[0], Header)
    assert headers[0].stretches > 4
    yield headers[0]
    shared = SharedFile(headers[0])
    shared.decoders = 3
    under_way = [0, 1, 2]
    while under_way:
        who = int(random.choice(under_way))
        ask = shared.ask(began=who == 0)
        for event in [] if ask is None else decoders[who].next((), ask):
            assert not isinstance(event, Header | Restart | VideoError)
            if isinstance(event, FrameChunk):
                yield from shared.add(event)
                continue
            under_way.remove(who)
            if (end := shared.end(event)) is not None:
                yield end


@pytest.mark.parametrize("name", ["open.mp4", pytest.param("hevc_open.mkv", marks=pytest.mark.slow)])
@pytest.mark.parametrize("sampling", ["dense", pytest.param("windows", marks=pytest.mark.slow)])
def test_rows_are_those_of_one_decoder(tmp_path: Path, network: MSNet, name: str, sampling: str) -> None:
    job = FileJob(str(write_kind(tmp_path, name)), (Item("film"),))
    config = make_config(sampling=sampling, num_frames=8, size=32, rate_hz=5.0)
    alone = File(network, config, "film").take(decode(job, config)).flush()
    shared = File(network, config, "film").take(by_several(job, config, seed=1)).flush()
    assert [report.frames for report in shared.reports] == [30]  # type: ignore[union-attr]
    assert shared.reports == alone.reports
    one, several = alone.writers["film"], shared.writers["film"]
    assert one.clips == several.clips
    assert one.rows.keys() == several.rows.keys()
    for path, rows in one.rows.items():
        assert np.array_equal(rows, several.rows[path], equal_nan=True), path


def test_a_decoder_answers_what_it_is_asked_and_nothing_else(tmp_path: Path) -> None:
    film = FileJob(str(write_kind(tmp_path, "closed.mp4")), (Item("film"),), shared=True)
    config = make_config(sampling="dense", size=32)
    decoder = Decoder(config)
    other = FileJob(film.path, (Item("other"),))
    (header,) = decoder.next([(film, ""), (other, "")])
    assert isinstance(header, Header)
    shared = SharedFile(header)
    assert decoder.next() == [], "it was not asked for a stretch"
    for _ in range(2):
        answer = decoder.next((), shared.ask(began=True))
        assert [type(event) for event in answer] == [FrameChunk]
        assert answer[0].last  # type: ignore[union-attr]
    shared.void = True
    end = shared.ask(began=True)
    assert [type(event) for event in decoder.next((), end)] == [Decoded]
    assert decoder.next((), end) == [], "that file is gone"
    events = decoder.next()
    while events and not isinstance(events[-1], Decoded):
        events += decoder.next()
    assert isinstance(events[0], Header)
    assert events[0].stretches == 1
    assert events[0].plans[0].video_id == "other"
    assert decoder.next() == []
