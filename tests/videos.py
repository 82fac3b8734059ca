"""Makes small test videos with PyAV: seeded, fast, every frame recognisable. It uses none of the product's code.

    write_video(path, frames=40, fps=25, size=(96, 128), codec="libx264", seed=0)      one file
    make_dataset(folder, count, seed)                                                   a folder of plain ones
    make_valid(folder), make_broken(folder)                                             odd and damaged ones, by name

A bar of black and white blocks in the top rows of every frame holds its number; `frame_number` reads it back.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec

import av
import numpy as np
import numpy.typing as npt

__all__ = [
    "frame_number",
    "make_broken",
    "make_dataset",
    "make_valid",
    "moving_frames",
    "write_images",
    "write_video",
]

_BITS = 10
_BAR_ROWS = 12

Frame = npt.NDArray[np.uint8]


def moving_frames(frames: int, size: tuple[int, int] = (96, 128), seed: int = 0, first: int = 0) -> Iterator[Frame]:
    """Frames (H, W, 3) uint8 of a smooth random texture that drifts; the bar on top holds the number of the frame.

    first: number of the first one.
    """
    height, width = size
    random = np.random.default_rng(seed)
    coarse = random.integers(30, 226, (height // 8 + 2, width // 8 + 2, 3))
    texture = np.kron(coarse, np.ones((8, 8, 1), int))[:height, :width].astype(np.uint8)
    step = random.integers(1, 4, 2)
    for number in range(first, first + frames):
        frame = np.roll(texture, (number * int(step[0]), number * int(step[1])), axis=(0, 1)).copy()
        edges = np.linspace(0, width, _BITS + 1).astype(int)
        for bit in range(_BITS):
            frame[:_BAR_ROWS, edges[bit] : edges[bit + 1]] = 235 if number >> bit & 1 else 20
        yield frame


def frame_number(frame: Frame) -> int:
    """Number that the bar of a decoded, unrotated frame (H, W, 3) shows."""
    edges = np.linspace(0, frame.shape[1], _BITS + 1).astype(int)
    bar = frame[2 : _BAR_ROWS - 2].mean(axis=(0, 2))
    bits = [bar[edges[bit] + 1 : edges[bit + 1] - 1].mean() > 128 for bit in range(_BITS)]
    return sum(1 << bit for bit, on in enumerate(bits) if on)


Settings = ParamSpec("Settings")
Encode = Callable[Concatenate[Path | str, Settings], Path]


def once_in_a_process(encode: Encode[Settings]) -> Encode[Settings]:
    """A file of the same settings is encoded once, and written again from memory."""
    encoded: dict[tuple[str, bytes], bytes] = {}

    @wraps(encode)
    def write(path: Path | str, *args: Settings.args, **settings: Settings.kwargs) -> Path:
        path = Path(path)
        key = path.suffix, pickle.dumps((args, sorted(settings.items())))
        if key not in encoded:
            encoded[key] = encode(path, *args, **settings).read_bytes()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded[key])
        return path

    return write


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Undo at the end what SVT-AV1 does where it runs as root: it gives its caller the highest real-time priority.

    The tests behind it, and all processes that they start, would run in front of the whole machine.
    """
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


@once_in_a_process
def write_video(
    path: Path | str,
    *,
    frames: int = 40,
    fps: int | Fraction = 25,
    size: tuple[int, int] = (96, 128),
    codec: str = "libx264",
    seed: int = 0,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    times_ms: Sequence[int] | None = None,
    rotation: float = 0,
    flip: tuple[bool, bool] = (False, False),
    pixel_aspect: Fraction | None = None,
    metadata: dict[str, str] | None = None,
    extra_stream: tuple[int, int] | None = None,
    first: int = 0,
) -> Path:
    """Encode a moving texture to `path` (the suffix names the container) and return the path.

    size: (height, width). times_ms: presentation time of every frame in milliseconds (variable frame rate or a late
    start) instead of number / fps. rotation: counter-clockwise degrees that a player is told to turn the frames by.
    flip: whether it is told to flip them left to right, and upside down. pixel_aspect: width over height of a pixel.
    metadata: tags of the file and of its video.
    extra_stream: size of a further video stream, the first in the file and half as long. first: number that the first
    frame shows.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"libx264": {"preset": "veryfast", "threads": "1"}, "libx265": {"x265-params": "log-level=none:pools=1"}}
    if codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only: it talks to the terminal past FFmpeg's own log
    chosen = {**settings.get(codec, {}), **(options or {})}
    with ordinary_priority(), av.open(str(path), "w", options=container_options or {}) as container:
        streams = []
        if extra_stream is not None:
            streams.append(
                (_stream(container, codec, fps, extra_stream, pix_fmt, chosen), max(frames // 2, 1), seed + 1)
            )
        main = _stream(container, codec, fps, size, pix_fmt, chosen)
        if rotation or any(flip):
            main.set_display_rotation(rotation, *flip)
        if pixel_aspect is not None:
            main.codec_context.sample_aspect_ratio = pixel_aspect
        container.metadata.update(metadata or {})
        main.metadata.update(metadata or {})
        streams.append((main, frames, seed))
        for stream, count, stream_seed in streams:
            shape = (stream.height, stream.width)
            for number, array in enumerate(moving_frames(count, shape, stream_seed, first)):
                frame = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format=pix_fmt)
                if times_ms is not None:
                    frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
                else:
                    frame.pts, frame.time_base = number, 1 / Fraction(fps)
                container.mux(stream.encode(frame))
        for stream, _, _ in streams:
            container.mux(stream.encode(None))
    return path


def write_images(folder: Path | str, *, frames: int = 20, size: tuple[int, int] = (96, 128), seed: int = 0) -> Path:
    """Write a folder of numbered PNG images (frame_1.png, frame_2.png, ...) and return it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number, array in enumerate(moving_frames(frames, size, seed)):
        encoder = av.codec.CodecContext.create("png", "w")
        encoder.width, encoder.height, encoder.pix_fmt = size[1], size[0], "rgb24"
        encoder.time_base = Fraction(1, 25)
        packets = [*encoder.encode(av.VideoFrame.from_ndarray(array, format="rgb24")), *encoder.encode(None)]
        (folder / f"frame_{number + 1}.png").write_bytes(b"".join(bytes(packet) for packet in packets))
    return folder


def make_dataset(folder: Path | str, count: int = 4, seed: int = 0) -> list[Path]:
    """Write `count` plain H.264 videos of differing size and length below `folder`, some in a folder of their own."""
    folder = Path(folder)
    random = np.random.default_rng(seed)
    sizes = [(64, 80), (96, 128), (80, 64), (72, 160)]
    paths = []
    for number in range(count):
        name = f"video_{number:03d}.mp4" if number % 3 else f"group_{number % 2}/video_{number:03d}.mp4"
        paths.append(
            write_video(
                folder / name,
                frames=int(random.integers(24, 61)),
                fps=int(random.choice([24, 25, 30])),
                size=sizes[number % len(sizes)],
                seed=seed * 1000 + number,
            )
        )
    return paths


def make_valid(folder: Path | str, seed: int = 0) -> dict[str, Path]:
    """Write valid files that decoders are apt to get wrong; the key says which kind it is."""
    folder = Path(folder)
    slow_fast = [number * 40 if number < 20 else 800 + (number - 20) * 100 for number in range(40)]
    kinds: dict[str, dict[str, object]] = {
        "h264.mp4": {},
        "h264.mkv": {},
        "open_gop.mp4": {"options": {"x264-params": "open-gop=1:keyint=10:min-keyint=10:bframes=3:scenecut=0"}},
        "hevc_open_gop.mp4": {
            "codec": "libx265",
            "options": {"x265-params": "log-level=none:pools=1:open-gop=1:keyint=10:min-keyint=10:bframes=3"},
        },
        "bframes.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "12", "b": "600k"}},
        "bframes.mp4": {"codec": "mpeg4", "options": {"bf": "2", "g": "12", "b": "600k"}},
        "variable_rate.mp4": {"times_ms": slow_fast},
        "rotated_90.mp4": {"rotation": 90},
        "rotated_180.mp4": {"rotation": 180},
        "rotated_270.mov": {"rotation": 270},
        "transport.ts": {"options": {"x264-params": "keyint=12:bframes=2"}},
        "program.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12", "b": "800k"}},
        "vp8_altref.webm": {
            "codec": "libvpx",
            "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "realtime", "g": "20"},
        },
        "vp9_altref.webm": {
            "codec": "libvpx-vp9",
            "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "realtime", "cpu-used": "8", "g": "20"},
        },
        "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}},
        "ten_bit.mp4": {"codec": "libx265", "pix_fmt": "yuv420p10le"},
        "full_range.mp4": {"pix_fmt": "yuvj420p"},
        "chroma_444_odd.mp4": {"pix_fmt": "yuv444p", "size": (95, 131)},
        "interlaced.mp4": {"options": {"x264-params": "tff=1"}},
        "two_streams.mp4": {"extra_stream": (48, 64)},
        "late_start.mp4": {"codec": "mpeg4", "times_ms": [1075 + 40 * number for number in range(40)]},
        "late_start.mkv": {"times_ms": [1075 + 40 * number for number in range(40)]},
        "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "12"}},
        "raw.h264": {},
        "flash.flv": {"codec": "flv", "options": {"b": "600k"}},
        "one_frame.mp4": {"frames": 1},
        "two_frames.mp4": {"frames": 2},
    }
    paths = {}
    for number, (name, settings) in enumerate(kinds.items()):
        paths[name] = write_video(folder / name, seed=seed + number, **settings)  # type: ignore[arg-type]
    paths["cut.mp4"] = _cut_without_encoding(folder / "cut.mp4", seed)
    paths["two_sizes.mp4"] = _two_sizes(folder / "two_sizes.mp4", seed)
    return paths


def make_broken(folder: Path | str, seed: int = 0) -> dict[str, Path]:
    """Write files that cannot be trusted; the key says what is wrong with each."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    whole = write_video(folder / "whole.mp4", frames=60, seed=seed).read_bytes()
    faststart = write_video(
        folder / "faststart.mp4", frames=60, seed=seed, container_options={"movflags": "faststart"}
    ).read_bytes()
    avi = write_video(folder / "whole.avi", frames=60, codec="mpeg4", options={"b": "600k"}, seed=seed).read_bytes()
    hevc = write_video(folder / "hevc.mp4", frames=60, codec="libx265", seed=seed).read_bytes()
    matroska = write_video(folder / "whole.mkv", frames=60, options={"g": "10"}, seed=seed).read_bytes()
    contents = {
        "empty.mp4": b"",
        "text.mp4": b"this is not a video\n" * 200,
        "no_index.mp4": whole[: len(whole) // 2],
        "half.mp4": faststart[: len(faststart) // 2],
        "half.mkv": matroska[: len(matroska) // 2],
        "half.avi": avi[: len(avi) // 2],
        "flipped.mp4": _flip(whole, 12, seed),
        "flipped_hevc.mp4": _flip(hevc, 12, seed),
        "flipped.avi": _flip(avi, 12, seed),
        "hole.mp4": whole[: len(whole) // 3] + bytes(len(whole) // 8) + whole[len(whole) // 3 + len(whole) // 8 :],
    }
    for name in ("whole.mp4", "faststart.mp4", "whole.avi", "hevc.mp4", "whole.mkv"):
        (folder / name).unlink()
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / name
        paths[name].write_bytes(content)
    paths["audio_only.mp4"] = _audio_only(folder / "audio_only.mp4")
    return paths


def _stream(
    container: av.container.OutputContainer,
    codec: str,
    fps: int | Fraction,
    size: tuple[int, int],
    pix_fmt: str,
    options: dict[str, str],
) -> av.video.stream.VideoStream:
    stream: av.video.stream.VideoStream = container.add_stream(codec, rate=fps, options=dict(options))  # type: ignore[assignment]
    stream.height, stream.width = size
    stream.pix_fmt = pix_fmt
    return stream


def _flip(content: bytes, flips: int, seed: int) -> bytes:
    """`content` with some bytes of its middle changed, which leaves the index at either end whole."""
    random = np.random.default_rng(seed)
    damaged = bytearray(content)
    for position in random.integers(len(content) // 4, len(content) * 2 // 3, flips):
        damaged[position] ^= int(random.integers(1, 256))
    return bytes(damaged)


def _cut_without_encoding(path: Path, seed: int) -> Path:
    """A clip cut out of the middle of a group of pictures by copying packets: an edit list hides the first of them."""
    whole = write_video(path.with_name("uncut.mp4"), frames=60, seed=seed, options={"g": "20", "bf": "2"})
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        assert stream.time_base is not None
        start = int(Fraction(30, 25) / stream.time_base)  # frame 30, the 10th of its group
        for packet in source.demux(stream):
            if packet.dts is None or packet.pts is None or packet.pts < start - 10 * packet.duration:
                continue
            packet.pts, packet.dts = packet.pts - start, packet.dts - start
            packet.stream = copy
            target.mux(packet)
    whole.unlink()
    return path


def _two_sizes(path: Path, seed: int) -> Path:
    """A file whose second half has another resolution, told by parameter sets in the stream only."""
    with av.open(str(path), "w") as container:
        streams = []
        for number, size in enumerate(((96, 128), (64, 96))):
            encoder = av.codec.CodecContext.create("libx264", "w")
            encoder.height, encoder.width = size
            encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
            encoder.options = {"preset": "veryfast", "threads": "1", "bf": "0"}
            streams.append((encoder, size, seed + number))
        target = _stream(container, "libx264", 25, (96, 128), "yuv420p", {"preset": "veryfast", "bf": "0"})
        offset = 0
        for encoder, size, stream_seed in streams:
            for number, array in enumerate(moving_frames(20, size, stream_seed)):
                frame = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                _mux_shifted(container, target, encoder.encode(frame), offset)
            _mux_shifted(container, target, encoder.encode(None), offset)
            offset += 20
    return path


def _mux_shifted(
    container: av.container.OutputContainer,
    stream: av.video.stream.VideoStream,
    packets: Sequence[av.Packet],
    offset: int,
) -> None:
    for packet in packets:
        assert packet.pts is not None and packet.dts is not None
        packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
        packet.time_base = Fraction(1, 25)
        packet.stream = stream
        container.mux(packet)


def _audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for number in range(10):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
