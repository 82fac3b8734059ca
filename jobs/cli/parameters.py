"""Options that several commands share: each group is a function, and `takes` adds it to a command."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from extractor.extraction.request import Request
from extractor.video.objects.cache import ObjectCache
from jobs.cluster.devices import DeviceChoice
from jobs.cluster.options import DecoderLimits, Options
from schemas.errors import ConfigurationError
from schemas.tensors import LEVELS, output_choices

_FEATURES, _WORK = "What is extracted", "How the work is done"


class _Compression(StrEnum):
    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


Videos = Annotated[
    str,
    typer.Argument(
        help="A folder (scanned recursively), a video, a csv or parquet table with a column path, a txt with one path "
        "per line, or an address like s3://bucket/prefix.",
        metavar="VIDEOS",
        show_default=False,
    ),
]
Store = Annotated[Path, typer.Argument(help="The folder that `msnet extract --out` wrote.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON (docs/scripting.md).")]
Device = Annotated[DeviceChoice, typer.Option("--device", help="Where the network runs.")]


def takes(**groups: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of other functions to a command: its parameter `name` becomes the parameters of `groups[name]`.

    On a call, that function builds the argument from them. A group of options is thus written once, and typed.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a command so that typer sees the options of the groups among its own, in the order of its signature."""
        own = _parameters(command, without=groups)
        shared = {name: _parameters(build) for name, build in groups.items()}
        parameters: list[inspect.Parameter] = []
        for name, parameter in own.items():
            parameters += shared[name].values() if name in shared else [parameter]

        @functools.wraps(command)
        def call(**values: Any) -> Any:
            built = {name: groups[name](**{key: values.pop(key) for key in shared[name]}) for name in shared}
            return command(**values, **built)

        keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        call.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword_only}
        return call

    return decorate


def _parameters(function: Callable[..., Any], without: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """Parameters with their annotations evaluated, except of those in `without`, whose types need not be imported."""
    return {
        name: parameter.replace(annotation=eval(parameter.annotation, function.__globals__))
        if isinstance(parameter.annotation, str) and name not in without
        else parameter
        for name, parameter in inspect.signature(function).parameters.items()
    }


def _work(*names: str, help: str, shown: bool = False, **limits: Any) -> Any:
    return typer.Option(*names, help=help, show_default=shown, rich_help_panel=_WORK, **limits)


# A default that depends on other options is None in the record and is written in the help. So it is known which options
# were given, and one that means nothing with the others is refused, not ignored.


def _outputs_by_level() -> str:
    """ "clips: clip, logits; frames: frame, ...; pairs: ...", without grids."""
    whole = {name: stored.level for name, stored in output_choices().items() if not stored.grid}
    return "; ".join(f"{level}: {', '.join(name for name in whole if whole[name] == level)}" for level in LEVELS)


_REQUEST_HELP = {
    "model": "Network; `msnet weights list` lists them.",
    "weights": "Checkpoint or fetched public weights (A,B for msnet_en_*), or `random` for a trial run whose features "
    "mean nothing. (default: the bundled one of msnet_resnet18)",
    "seed": "Seed of random weights. (default: 0)",
    "sampling": "windows: clips at a rate, ranges of one pass; dense: the video as one clip; segments: frames spread "
    "evenly; clips: clips at a rate, each a sequence by itself.",
    "num_frames": "Frames per clip (T), for all but dense. (default: 8)",
    "rate_hz": "Sampling rate in frames per second, for all but segments; 0 takes every frame. (default: 10)",
    "hop": "Frames from one clip to the next. (default: T)",
    "clips": "Clips per video, for segments. (default: 1)",
    "edges": "What lies beyond the ends of a sequence: the frame itself, or zeros. (default: what the checkpoint was "
    "made for)",
    "outputs": f"Tensors to store, comma-separated, of {_outputs_by_level()}. Stages are the backbone's at strides 8, "
    "16 and 32. Motion and stages are means over the map, or with _2x2, _4x4 or _7x7, like stage3_4x4, of the cells of "
    "such a grid. motion:full keeps the whole map of motion, motion:4 a 4 x 4 grid. (default: "
    f"{', '.join(name for name, stored in output_choices().items() if stored.by_default)})",
    "size": "Side of the network's input in pixels.",
    "resize": "stretch: the whole frame; crop: short side, then centre; reference: the paper's 240 x 320, then centre; "
    "letterbox: the whole frame with bars.",
    "dtype": "Number format of the network.",
    "store_dtype": "Number format of the stored tensors.",
    "decoder": "auto: decord, and PyAV for files that decord may decode wrongly; sparse: auto, but H.264 frames that "
    "nobody needs are left out (less CPU; damage in them goes unseen); or one alone.",
    "keep_corrupt": "Keep damaged videos, and mark rows of damaged frames as not valid.",
}


def request_options(**values: Any) -> Request:
    """Options that change features: one for every field of `Request`."""
    return Request(**values | {"outputs": parse_outputs(values.get("outputs"))})


def _request_parameters() -> list[inspect.Parameter]:
    kinds = get_type_hints(Request) | {"outputs": str | None}
    found = []
    for field in fields(Request):
        name = field.name.replace("_", "-")
        option = typer.Option(
            f"--{name}/--no-{name}" if kinds[field.name] is bool else f"--{name}",
            help=_REQUEST_HELP[field.name],
            show_default=field.default is not None,
            rich_help_panel=_FEATURES,
        )
        annotation: Any = Annotated[kinds[field.name], option]
        found.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)
        )
    return found


request_options.__signature__ = inspect.Signature(_request_parameters())  # type: ignore[attr-defined]

_DeviceOption = Annotated[
    DeviceChoice,
    _work(
        "--device",
        help="Where the network runs; auto: on GPUs if there are any; gpu: wait until a cluster has one.",
        shown=True,
    ),
]
_Extractors = Annotated[
    int | None,
    _work(
        "--extractors",
        min=1,
        help="Processes that run the network, of all nodes. (default: one per GPU, or one per 4 or --threads cores)",
    ),
]
_Decoders = Annotated[
    int | None,
    _work(
        "--decoders",
        min=1,
        help="Decoding processes per extractor. (default: as many as its device needs and its node has cores for)",
    ),
]
_Threads = Annotated[
    int | None, _work("--threads", min=1, help="Cores for the network of each extractor. (default: all)")
]
_BatchFrames = Annotated[
    int | None, _work("--batch-frames", min=1, help="Frames in a batch of the network. (default: by the device)")
]
_Part = Annotated[str | None, _work("--part", help="i/n: this job does part i of n; n jobs fill one store.")]
_RayAddress = Annotated[
    str | None,
    _work(
        "--ray-address",
        help="A running Ray cluster (`auto` or host:port); the store must be on storage that all nodes share.",
    ),
]
_DecodeTimeout = Annotated[
    float,
    _work(
        "--decode-timeout",
        min=1,
        shown=True,
        help="Seconds without a frame after which a decoder is replaced (more for long files).",
    ),
]
_DecoderMemory = Annotated[str, _work("--decoder-memory", shown=True, help="Memory above which a decoder is replaced.")]
_Cache = Annotated[
    str | None,
    _work(
        "--cache",
        help="Folder of each node for videos fetched from addresses. (default: in the one for temporary files)",
    ),
]
_CacheBytes = Annotated[
    str,
    _work("--cache-bytes", shown=True, help="Most bytes of fetched videos on a node, all its decoders together."),
]
_ShardBytes = Annotated[str | None, _work("--shard-bytes", help="Target size of a shard. (default: 256MiB)")]
_CompressionOption = Annotated[
    _Compression, _work("--compression", shown=True, help="Compression of the shards; zstd needs the extra `zstd`.")
]
_Limit = Annotated[int | None, _work("--limit", min=1, help="Take only this many files, the first ones.")]


def work_options(
    device: _DeviceOption = DeviceChoice.AUTO,
    extractors: _Extractors = None,
    decoders: _Decoders = None,
    threads: _Threads = None,
    batch_frames: _BatchFrames = None,
    part: _Part = None,
    ray_address: _RayAddress = None,
    decode_timeout: _DecodeTimeout = 60.0,
    decoder_memory: _DecoderMemory = "4GiB",
    cache: _Cache = None,
    cache_bytes: _CacheBytes = "8GiB",
) -> Options:
    """How the work is done."""
    return Options(
        device=device.value,
        extractors=extractors,
        decoders=decoders,
        threads=threads,
        batch_frames=batch_frames,
        part=parse_part(part),
        ray_address=ray_address,
        limits=DecoderLimits(decode_timeout, _decoder_memory(decoder_memory)),
        cache=ObjectCache(None if cache is None else str(Path(cache).absolute()), parse_bytes(cache_bytes)),
    )


def shard_options(
    shard_bytes: _ShardBytes = None, compression: _CompressionOption = _Compression.NONE, limit: _Limit = None
) -> dict[str, Any]:
    """How a new store is laid out: fields of `Options`, without those that were not given."""
    given = {"shard_bytes": None if shard_bytes is None else parse_bytes(shard_bytes), "limit": limit}
    return {"compression": compression.value} | {name: value for name, value in given.items() if value is not None}


def _decoder_memory(text: str) -> int:
    count = parse_bytes(text)
    if count < _LEAST_DECODER_BYTES:
        raise ConfigurationError(
            f"expected --decoder-memory of at least {_LEAST_DECODER_BYTES // 1024**2}MiB, which a decoder's libraries "
            f"need; got {text!r}. Give more"
        )
    return count


_LEAST_DECODER_BYTES = 256 * 1024**2
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kMGT])(i?))?B?", re.IGNORECASE)
_PART = re.compile(r"(\d+)/(\d+)")


def parse_bytes(text: str) -> int:
    """A size as people write it: "256MiB" -> 268435456, "2G" -> 2000000000."""
    match = _BYTES.fullmatch(text.strip())
    power = "kmgt".find(match[2].lower()) + 1 if match and match[2] else 0
    count = int(float(match[1]) * (1024 if match[3] else 1000) ** power) if match else 0
    if count < 1:
        raise ConfigurationError(f"expected a size; got {text!r}. Give one like 256MiB or 2GB")
    return count


def parse_part(text: str | None) -> tuple[int, int]:
    """ "2/8" -> (1, 8): the command line counts parts from 1."""
    if text is None:
        return 0, 1
    match = _PART.fullmatch(text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigurationError(f"expected a part, counted from 1; got {text!r}. Give one like 1/4")
    return int(match[1]) - 1, int(match[2])


def parse_outputs(text: str | None) -> tuple[str, ...] | None:
    """ "clip,frame" -> ("clip", "frame"); None stays None."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())
