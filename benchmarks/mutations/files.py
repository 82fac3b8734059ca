"""Small sound files of eight formats, and mutations of them that a seed and a number determine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.mutations.length_fields import length_fields
from tests.videos import write_video

__all__ = ["FORMATS", "FRAMES", "KINDS", "Mutation", "Source", "mutation", "write_sources"]

FRAMES = 25
_SIZES = ((128, 128), (128, 160))  # smaller frames are encoded to other bytes every time

_QUANTIZER = "qp=24"  # without it libx264 reads uninitialised memory, and no two files of a seed are alike
_X264 = {"x264-params": f"keyint=10:min-keyint=10:scenecut=0:bframes=2:{_QUANTIZER}"}
_X265 = "log-level=none:pools=1:keyint=10:min-keyint=10:bframes=2:scenecut=0:open-gop="
_MPEG2: dict[str, object] = {"codec": "mpeg2video", "options": {"bf": "2", "g": "10", "b": "400k"}}
_VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "10"}
_Recipe = tuple[str, dict[str, object]]
_RECIPES: dict[str, tuple[_Recipe, _Recipe]] = {
    "mp4-h264": (
        (".mp4", {"options": _X264}),
        (".mp4", {"options": _X264, "container_options": {"movflags": "faststart"}}),
    ),
    "mp4-hevc": (
        (".mp4", {"codec": "libx265", "options": {"x265-params": f"{_X265}0"}}),
        (
            ".mp4",
            {
                "codec": "libx265",
                "options": {"x265-params": f"{_X265}1"},
                "container_options": {"movflags": "frag_keyframe+empty_moov"},
            },
        ),
    ),
    "mkv-h264": (
        (".mkv", {"options": _X264}),
        (".mkv", {"options": {"x264-params": f"keyint=10:open-gop=1:bframes=2:{_QUANTIZER}"}}),
    ),
    "webm-vp9": (
        (".webm", {"codec": "libvpx-vp9", "options": {**_VP9, "auto-alt-ref": "1", "lag-in-frames": "16"}}),
        (".webm", {"codec": "libvpx-vp9", "options": _VP9}),
    ),
    "avi-mpeg4": (
        (".avi", {"codec": "mpeg4", "options": {"bf": "2", "g": "10", "b": "400k"}}),
        (".avi", {"codec": "mpeg4", "options": {"bf": "0", "g": "10", "b": "400k"}}),
    ),
    "ts": ((".ts", _MPEG2), (".ts", {"options": _X264})),
    "ps-mpeg2": ((".mpg", _MPEG2), (".vob", _MPEG2)),  # program streams of MPEG-1 and of MPEG-2
    "flv": ((".flv", {"codec": "flv", "options": {"g": "10", "b": "400k"}}), (".flv", {"options": _X264})),
}
"""Two variants of each format that differ in codec, open groups of pictures, or the place of the index."""

FORMATS = tuple(_RECIPES)


@dataclass(frozen=True, slots=True)
class Source:
    """A sound file: its format, its name ("ts/1"), its path and its bytes."""

    format: str
    name: str
    path: Path
    content: bytes


@dataclass(frozen=True, slots=True)
class Mutation:
    """A mutated file: its source, its kind of mutation (also in words, `text`), and its bytes."""

    number: int
    kind: str
    source: Source
    text: str
    content: bytes


def write_sources(folder: Path) -> dict[str, tuple[Source, Source]]:
    """Write two files of each format, 25 frames each, in two sizes, all with different textures."""
    sources = {}
    for place, (name, variants) in enumerate(_RECIPES.items()):
        pair = []
        for variant, (suffix, settings) in enumerate(variants):
            path = folder / f"{name}-{variant}{suffix}"
            # bitexact: Matroska would get a random UID, and a number would not determine a mutation
            options = {"fflags": "+bitexact", **settings.get("container_options", {})}  # type: ignore[dict-item]
            arguments = {**settings, "container_options": options, "seed": 2 * place + variant, "frames": FRAMES}
            write_video(path, size=_SIZES[variant], **arguments)  # type: ignore[arg-type]
            pair.append(Source(name, f"{name}/{variant}", path, path.read_bytes()))
        sources[name] = (pair[0], pair[1])
    return sources


def mutation(seed: int, number: int, sources: Mapping[str, tuple[Source, Source]]) -> Mutation:
    """Mutation `number` of a seed: format, file and kind are drawn evenly."""
    random = np.random.default_rng((seed, number))
    source = sources[FORMATS[random.integers(len(FORMATS))]][random.integers(2)]
    kind = list(KINDS)[random.integers(len(KINDS))]
    text, content = KINDS[kind](source, random, sources)
    return Mutation(number, kind, source, text, content)


Sources = Mapping[str, tuple[Source, Source]]


def _bit(source: Source, random: np.random.Generator, _: Sources) -> tuple[str, bytes]:
    at, bit = int(random.integers(len(source.content))), int(random.integers(8))
    return f"bit {bit} of byte {at}", _with_byte(source.content, at, source.content[at] ^ 1 << bit)


def _byte(source: Source, random: np.random.Generator, _: Sources) -> tuple[str, bytes]:
    at = int(random.integers(len(source.content)))
    value = source.content[at] ^ int(random.integers(1, 256))
    return f"byte {at}: {source.content[at]:#04x} -> {value:#04x}", _with_byte(source.content, at, value)


def _with_byte(content: bytes, at: int, value: int) -> bytes:
    return content[:at] + bytes([value]) + content[at + 1 :]


def _length(source: Source, random: np.random.Generator, _: Sources) -> tuple[str, bytes]:
    fields = length_fields(source.path.suffix, source.content)
    field = fields[random.integers(len(fields))]
    old = field.read(source.content)
    drawn = int(random.integers(field.mask, endpoint=True)), int(random.integers(2 * old + 2))
    choices = (0, 1, old - 1, old + 1, old // 2, old * 2, field.mask, *drawn)
    new = choices[random.integers(len(choices))] & field.mask
    new = new if new != old else old ^ 1
    return f"length at {field.offset}: {old} -> {new}", field.written(source.content, new)


def _cut(source: Source, random: np.random.Generator, _: Sources) -> tuple[str, bytes]:
    content = source.content
    at = int(random.integers(1, len(content)))
    few = int(np.exp(random.uniform(0, np.log(len(content) / 2))))  # log-uniform: a byte is as likely as a tenth of it
    match random.integers(4):
        case 0:
            return f"cut at {at} of {len(content)}", content[:at]
        case 1:
            left = few if random.integers(2) else len(content) - few
            return f"cut at {left} of {len(content)}", content[:left]
        case _:
            return f"{few} bytes removed at {at}", content[:at] + content[at + few :]


def _splice(source: Source, random: np.random.Generator, sources: Sources) -> tuple[str, bytes]:
    name = source.format if random.integers(2) else FORMATS[random.integers(len(FORMATS))]
    other = sources[name][random.integers(2)]
    if random.integers(2):
        return f"followed by {other.name}", source.content + other.content  # or by itself: its clock restarts
    if other is source:
        other = next(each for each in sources[name] if each is not source)
    share, another = random.random(2)
    at = int(share * len(source.content))
    on = int((share if random.integers(2) else another) * len(other.content))
    return f"its first {at} bytes, {other.name} from {on} on", source.content[:at] + other.content[on:]


KINDS: dict[str, Callable[[Source, np.random.Generator, Sources], tuple[str, bytes]]] = {
    "bit": _bit,
    "byte": _byte,
    "length": _length,
    "cut": _cut,
    "splice": _splice,
}
