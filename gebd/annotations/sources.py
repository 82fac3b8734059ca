"""Sources: the videos that stretches, clips and re-encodings come from, so that none is on both sides of a split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_SEGMENT = re.compile(r"#(?=[0-9.e+]*-)[0-9.e+-]+$")
_ID = r"(?P<id>[A-Za-z0-9_-]{11})"
# Kinetics (ID_000000_000010) and TAPOS (ID_s00004_0_100_7_931, or ID/s00004_0_100_7_931): what follows tells an id.
_CERTAIN = re.compile(rf"(?:^|/){_ID}(?:_\d{{6}}_\d{{6}}(?=[.#/]|$)|[_/]s\d+_\d+_\d+_\d+_\d+)")
# Elsewhere eleven characters, alone or before numbers, can be any name. Ids mix small and capital letters, are 64 bits,
# so that their last character is one of 16; few look like words (WallPushups_g01, CameraFront_001).
_WORDS = re.compile(r"(?:[A-Z]?[a-z]{2,}[_-]?)+[0-9]{0,3}")
_LIKELY = re.compile(
    rf"(?:^|/)(?:v_)?(?=[A-Z0-9_-]{{0,10}}[a-z])(?=[a-z0-9_-]{{0,10}}[A-Z]){_ID}(?<=[AEIMQUYcgkosw048])"
    r"(?:[_#.-]+(?:[A-Za-z]?\d+|[A-Z]))*(?:\.[A-Za-z][A-Za-z0-9]{0,4})?$"
)


def source_of(
    video_id: str, *, source_path: str | None = None, file: str | None = None, given: str | None = None
) -> tuple[str, ...]:
    """Return the names of the source of a video; two videos with a name in common are of one source.

    The names: the 11 characters of a YouTube id (in the id of the video, its annotated path or its file),
    the annotated `source_path`, and the `file` that features were extracted from; the id of the video if there is none
    of these. `given`, the source that the user states, comes first, and then decides alone (see `grouped`).
    """
    paths = [_SEGMENT.sub("", text.replace("\\", "/")) for text in (video_id, source_path, file) if text]
    names = [f"user:{given}"] if given is not None else []
    names += [f"youtube:{found}" for found in map(_youtube_id, paths) if found is not None]
    names += [f"path:{text}" for text in (source_path, file) if text]
    return tuple(dict.fromkeys(names or [f"id:{video_id}"]))


def _youtube_id(path: str) -> str | None:
    if found := _CERTAIN.search(path):
        return found["id"]
    found = _LIKELY.search(path)
    return None if found is None or _WORDS.fullmatch(found["id"]) else found["id"]


def grouped(sources: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return one name for the source of every video, the same for all that share a name directly or through others."""
    leader: dict[str, str] = {}

    def root(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = name = leader[leader[name]]
        return name

    firsts = {}
    for video_id, names in sources.items():
        first, *others = names
        firsts[video_id] = first
        for other in [] if first.startswith("user:") else others:
            leader[root(other)] = root(first)
    return {video_id: root(first) for video_id, first in firsts.items()}
