"""Streams of several groups of pictures, of all kinds that decoding may begin in, and of some that it may not."""

from __future__ import annotations

from pathlib import Path

from tests.videos import write_video

FRAMES, GROUP = 150, 20
_H264 = f"keyint={GROUP}:min-keyint={GROUP}:scenecut=0:"
_HEVC = f"log-level=none:pools=1:keyint={GROUP}:min-keyint={GROUP}:scenecut=0:"
_VP9 = {"codec": "libvpx-vp9", "options": {"g": str(GROUP), "deadline": "realtime", "cpu-used": "8"}}
_MPEG = {"g": str(GROUP), "bf": "2", "b": "600k"}

KINDS: dict[str, dict[str, object]] = {
    "closed.mp4": {"options": {"x264-params": _H264 + "bframes=3"}},
    "closed.mkv": {"options": {"x264-params": _H264 + "bframes=5:b-adapt=0:b-pyramid=normal:ref=4:slices=3"}},
    "closed.ts": {"options": {"x264-params": _H264 + "bframes=3"}},
    "fragmented.mp4": {
        "options": {"x264-params": _H264 + "bframes=3"},
        "container_options": {"movflags": "frag_keyframe+empty_moov"},
    },
    "open.mp4": {
        "options": {"x264-params": _H264 + "open-gop=1:bframes=3:b-adapt=0:b-pyramid=normal:ref=16:direct=temporal"}
    },
    "open.ts": {"options": {"x264-params": _H264 + "open-gop=1:bframes=3:b-adapt=0"}},
    "chroma_444.mkv": {"pix_fmt": "yuv444p", "size": (95, 131), "options": {"x264-params": _H264 + "bframes=3"}},
    "hevc_open.mp4": {"codec": "libx265", "options": {"x265-params": _HEVC + "open-gop=1:bframes=4:b-adapt=0"}},
    "hevc_open.mkv": {"codec": "libx265", "options": {"x265-params": _HEVC + "open-gop=1:bframes=3:b-adapt=0"}},
    "hevc_closed.ts": {"codec": "libx265", "options": {"x265-params": _HEVC + "open-gop=0:bframes=4:radl=2"}},
    "vp9.webm": {**_VP9, "options": {**_VP9["options"], "auto-alt-ref": "1", "lag-in-frames": "16"}},  # type: ignore[dict-item]
    "av1.mp4": {"codec": "libsvtav1", "options": {"g": str(GROUP), "preset": "12", "svtav1-params": "lp=1"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": _MPEG},
    "mpeg4.mkv": {"codec": "mpeg4", "options": _MPEG},
    "mpeg2.ts": {"codec": "mpeg2video", "options": _MPEG},
}
WITHOUT: dict[str, dict[str, object]] = {
    "refresh.mp4": {"options": {"x264-params": _H264 + "intra-refresh=1:bframes=0"}},
    "refresh.ts": {"options": {"x264-params": _H264 + "intra-refresh=1:bframes=2"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": str(GROUP), "deadline": "realtime"}},
}
"""Without a keyframe behind the first at which decoding may begin: gradually refreshed, or of a codec left out."""


def write_kind(folder: Path, name: str) -> Path:
    """Write one of the streams."""
    kinds = {**KINDS, **WITHOUT}
    return write_video(folder / name, frames=FRAMES, seed=list(kinds).index(name), **kinds[name])  # type: ignore[arg-type]


def with_false_keyframes(path: Path, shift: int) -> Path:
    """A copy of an MP4 whose table of keyframes (stss) names packets `shift` behind them, but for the first."""
    content = bytearray(path.read_bytes())
    at = content.index(b"stss") + 8
    for entry in range(1, int.from_bytes(content[at : at + 4], "big")):
        place = at + 4 + 4 * entry
        number = int.from_bytes(content[place : place + 4], "big") + shift
        content[place : place + 4] = number.to_bytes(4, "big")
    copy = path.with_name(f"false_{shift}_{path.name}")
    copy.write_bytes(bytes(content))
    return copy
