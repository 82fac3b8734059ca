"""The page in a real headless Chromium, opened from the disk and over the loopback."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence

import pandas as pd
import pytest

from extractor.store import FeatureStore
from jobs.pages.page import PageReport
from jobs.pages.serving import address, page_server
from jobs.stores.oddities import FLAGS
from tests.extractor.store.making import make_store
from tests.jobs.pages.browser import BROWSER, DRIVER, MISSING, Browser, browser
from tests.jobs.pages.making import NASTY, page_of, store_with_videos

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not (BROWSER and DRIVER), reason=MISSING)]

LONG_NAMES = ("kinetics/flipping_a-pancake.take_two.mp4", f"{'Q1vo990' * 6}.mp4")
NAMES = ("a.mp4", "b.mp4", "bad.mp4", *NASTY)
RIGHT, SPACE, ESCAPE, TAB = "\ue014", " ", "\ue00c", "\ue004"
SHOWN = "[...document.querySelectorAll('#videos tbody tr')].map((row) => row.cells[0].textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> PageReport:
    folder = tmp_path_factory.mktemp("page")
    store = store_with_videos(folder, NAMES)
    (folder / "found.json").write_text(json.dumps({"a.mp4": [0.5], "b.mp4": []}))
    return page_of(store, folder / "page", boundaries=folder / "found.json")


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as found:
        found.open("about:blank")
        found.requests()
        yield found


@pytest.fixture
def opened(window: Browser, page: PageReport) -> Browser:
    window.resize(1400, 1000)
    window.open("about:blank")
    window.open(page.index.as_uri())
    window.wait("document.querySelectorAll('#histograms .bars').length > 3")
    return window


def test_opens_from_disk_without_errors_or_foreign_requests(opened: Browser, page: PageReport) -> None:
    assert sorted(opened.run(f"return {SHOWN}")) == sorted(
        name.replace("\u202e", r"\u202e").replace("\n", r"\n") for name in NAMES
    )
    opened.run("location.hash = '#video=0'")
    opened.wait("document.querySelector('#video .timeline .scatterlayer')")
    assert opened.errors() == []
    ours = page.index.parent.as_uri()
    assert [url for url in opened.requests() if not url.startswith((ours, "data:", "about:"))] == []
    assert opened.run("return [...document.images].map((one) => one.getAttribute('src').slice(0, 5))") == ["data:"] * 2


def test_policy_lets_nothing_in_from_another_host(opened: Browser) -> None:
    opened.run(
        "window.blocked = []; addEventListener('securitypolicyviolation', (e) => blocked.push(e.violatedDirective));"
        "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}));"
        "const script = document.createElement('script'); script.src = 'http://127.0.0.1:9/x.js';"
        "document.head.append(script); document.body.insertAdjacentHTML('beforeend', '<b onclick=1>x</b>');"
    )
    opened.wait("blocked.length >= 3")
    assert set(opened.run("return blocked")) == {"img-src", "script-src-elem", "script-src-attr"}
    opened.errors()


def test_filters_and_sorts_the_table(opened: Browser) -> None:
    def type_into(selector: str, value: str, event: str = "input") -> list[str]:
        opened.run(
            "const [selector, value, event] = arguments; const input = document.querySelector(selector);"
            "input.value = value; input.dispatchEvent(new Event(event, {bubbles: true}))",
            selector,
            value,
            event,
        )
        found: list[str] = opened.run(f"return {SHOWN}")
        return found

    assert type_into("#filters input[type=search]", "<IMG") == [NASTY[0]]
    assert opened.run("return document.getElementById('count').textContent") == "1 of 8 videos"
    assert type_into("#filters input[type=search]", "") != [NASTY[0]]
    assert type_into("#filters select", "corrupt", "change") == ["bad.mp4"]
    assert type_into("#filters select", "", "change")[-1] == "bad.mp4"
    type_into("#filters label:nth-of-type(4) select", "boundaries", "change")
    assert type_into("#filters label:nth-of-type(5) input", "1") == ["a.mp4"]
    opened.click("#filters button")
    assert len(opened.run(f"return {SHOWN}")) == 8
    opened.click("#videos th button")
    assert opened.run(f"return {SHOWN}")[0] == NASTY[4]
    assert opened.run("return document.querySelector('#videos th').ariaSort") == "ascending"
    opened.click("#videos th button")
    assert opened.run(f"return {SHOWN}")[-1] == NASTY[4]
    assert opened.errors() == []


def test_video_plays_in_step_with_its_time_line(opened: Browser) -> None:
    opened.click("#videos tbody tr:first-child a")
    opened.wait("document.querySelector('#video .timeline .scatterlayer')")
    cursor = "document.querySelector('#video .timeline').layout.shapes[0].x0"
    frame = "document.querySelector('#video canvas').toDataURL()"
    first = opened.run(f"return {frame}")
    assert opened.run("return document.querySelectorAll('#video canvas').length") == 3
    opened.keys(RIGHT, RIGHT)
    assert opened.run(f"return {cursor}") == 0.2 and opened.run(f"return {frame}") != first
    opened.keys(SPACE)
    opened.wait(f"{cursor} === 0.7")  # the end
    opened.wait("document.querySelector('#video .controls button').textContent === 'Play'")
    assert opened.run("return document.querySelector('#video output').textContent") == "0.70 s"
    opened.click("#video .timeline .nsewdrag", x=-200)
    assert 0 < opened.wait(cursor) < 0.4
    opened.keys(ESCAPE)
    opened.wait("!document.getElementById('overview').hidden")
    assert opened.run("return document.activeElement.textContent") == "a.mp4"
    assert opened.errors() == []


def test_failed_video_says_why(opened: Browser) -> None:
    opened.run("location.hash = '#video=7'")
    opened.wait("!document.getElementById('video').hidden")
    assert "bad.mp4 is broken" in opened.run("return document.getElementById('video').textContent")


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_nothing_is_wider_than_the_window(opened: Browser, width: int) -> None:
    opened.resize(width, 800)
    for place in ("", "#video=0", f"#video={len(NAMES) - 2}"):
        opened.run("location.hash = arguments[0]", place)
        if place:
            opened.wait("document.querySelector('#video .timeline .scatterlayer')")
        assert opened.run("return document.documentElement.scrollWidth") <= width


@pytest.fixture(scope="module")
def flagged(tmp_path_factory: pytest.TempPathFactory) -> PageReport:
    """A page of videos with long names; the first has two flags, of which one is of another version."""
    folder = tmp_path_factory.mktemp("flagged")
    store = make_store(folder / "store", [LONG_NAMES])

    with pytest.MonkeyPatch.context() as patched:
        original = FeatureStore.of_videos

        def of_videos(self: FeatureStore, columns: Sequence[str]) -> pd.DataFrame:
            found = original(self, columns)
            return found.assign(flags=["long,unheard_of", ""]) if "flags" in found else found

        patched.setattr(FeatureStore, "of_videos", of_videos)
        return page_of(store, folder / "page")


LINES_OF_PARTS = """
const lines = (node) => {  // how many lines each run of letters between / _ - and dots stands on
  const found = [];
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) for (const part of walker.currentNode.data.matchAll(/[^/_.-]+/g)) {
    const range = document.createRange();
    range.setStart(walker.currentNode, part.index);
    range.setEnd(walker.currentNode, part.index + part[0].length);
    found.push(range.getClientRects().length);
  }
  return found;
};
return [...document.querySelectorAll(arguments[0])].map(lines);
"""


@pytest.mark.parametrize("width", [320, 400, 800, 1200])
def test_names_end_a_line_between_their_words_only(window: Browser, flagged: PageReport, width: int) -> None:
    window.resize(width, 800)
    window.open("about:blank")
    window.open(flagged.index.as_uri())
    window.wait("document.querySelectorAll('#videos tbody tr').length === 2")
    worded, unworded = window.run(LINES_OF_PARTS, "#videos tbody td:first-child")
    assert worded == [1] * 7
    assert unworded[0] > 1 or width > 500, "a name without words is broken where it must be"
    assert window.run("return document.documentElement.scrollWidth") <= width
    window.run("location.hash = '#video=0'")
    window.wait("document.querySelector('#video h1')")
    assert window.run(LINES_OF_PARTS, "#video h1") == [[1] * 7]
    assert window.run("return document.querySelector('#video h1').textContent") == LONG_NAMES[0]


def test_the_median_of_two_videos_lies_between_them(window: Browser, flagged: PageReport) -> None:
    window.open("about:blank")
    window.open(flagged.index.as_uri())
    window.wait("document.querySelectorAll('#histograms figcaption span').length > 2")
    captions = window.run(
        "return [...document.querySelectorAll('#histograms figcaption span')].map((s) => s.textContent)"
    )
    spoken = [re.fullmatch(r"median (\S+), (\S+) to (\S+)", caption).groups() for caption in captions]
    found = [[float(number.replace(",", "")) for number in numbers] for numbers in spoken]
    apart = [numbers for numbers in found if numbers[1] != numbers[2]]
    assert apart, found
    for median, low, high in apart:
        assert median == pytest.approx((low + high) / 2, rel=0.01)


def test_flags_are_told_with_what_they_mean(window: Browser, flagged: PageReport) -> None:
    window.resize(1200, 800)
    window.open("about:blank")
    window.open(flagged.index.as_uri())
    window.wait("document.querySelectorAll('#videos tbody tr').length === 2")
    titles = "[...document.querySelectorAll('#videos td:last-child span')].map((one) => [one.textContent, one.title])"
    assert window.run(f"return {titles}") == [["long", FLAGS["long"]], ["unheard_of", ""]]
    assert f"long{FLAGS['long']}1show" in window.run("return document.getElementById('odd').textContent")
    window.run("location.hash = '#video=0'")
    facts = window.wait("document.querySelector('#video p') && document.querySelector('#video p').textContent")
    assert f"flags: long ({FLAGS['long']}), unheard_of" in facts


def test_is_served_on_the_loopback(window: Browser, page: PageReport) -> None:
    with page_server(page.index.parent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            window.requests()
            window.open(address(server))
            window.wait("document.querySelectorAll('#videos tbody tr').length === 8")
            assert window.errors() == []
            foreign = [url for url in window.requests() if not url.startswith((address(server), "data:"))]
            assert foreign == []
        finally:
            server.shutdown()
            thread.join()
