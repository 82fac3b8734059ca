"""What decoding gives for seeded mutations of small files of eight formats, held against PyAV's full forward decoding.

    python -m benchmarks.mutations.mutations [--count 2000] [--seed 0] [--formats ts flv] [--only 17] [--keep FOLDER]

Kinds, drawn evenly: one bit; one byte; a length field (box, element, chunk, packet, tag); a cut (the end, or a hole);
a splice of two files (head and tail, or both whole). Decoding runs in a process of its own under a deadline. A fault is
an exception that is not ours, a hang, and anything given as sound that PyAV shows to be wrong: other frames, another
number or order of them, frames that it marks corrupt or whose packets it refuses, times that are not the frames' own.
A process that dies is what the product's pool of decoders is for: it is told, and counted by what the pool's second
try gives. Exit code 1 where there is any fault. --only: that mutation alone. --keep: write the files of all faults
there, or with --only that file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutations.files import FORMATS, FRAMES, KINDS, Mutation, Source, mutation, write_sources
from benchmarks.mutations.judge import Decode, given_by, known_frames
from benchmarks.mutations.watched_child import Judged, WatchedChild
from extractor.video.decoding import decode as product_decode

__all__ = ["Tried", "main", "mutations", "report", "try_all"]

_WIDTH = 100
_CLASSES = {
    "cannot_open": "open",
    "no_video_stream": "nostr",
    "truncated": "trunc",
    "corrupt": "corr",
    "too_short": "short",
    "too_large": "large",
}
"""Headings of the columns: open and nostr are cannot_open and no_video_stream."""

_FAULTS = ("exception", "hang", "events", "count", "frames", "order", "corrupt", "error", "times")


@dataclass(frozen=True, slots=True)
class Tried:
    """A mutation and what became of it."""

    mutation: Mutation
    judged: Judged


def mutations(
    seed: int, numbers: Iterable[int], formats: Iterable[str], sources: Mapping[str, tuple[Source, Source]]
) -> Iterator[Mutation]:
    """Those of the numbers whose format is among `formats`: which one a number stands for does not depend on that."""
    wanted = set(formats)
    for number in numbers:
        made = mutation(seed, number, sources)
        if made.source.format in wanted:
            yield made


def try_all(
    made: Iterable[Mutation],
    sources: Mapping[str, tuple[Source, Source]],
    folder: Path,
    *,
    decode: Decode = product_decode,
    deadline_seconds: float = 30.0,
    tell: Callable[[Tried], None] = lambda _: None,
) -> list[Tried]:
    """Judge what `decode` gives for mutations, and for the sound files first (their number is -1)."""
    pairs = [source for pair in sources.values() for source in pair]
    flags = {source.name: _flags(decode, source) for source in pairs}
    tried = []
    with WatchedChild(decode, known_frames({s.name: s.path for s in pairs}), deadline_seconds) as child:
        sound = (Mutation(-1, "none", source, "as it is", source.content) for source in pairs)
        for each in (*sound, *made):
            path = folder / f"mutated{each.source.path.suffix}"
            path.write_bytes(each.content)
            judged = child.judge(path, flags[each.source.name])
            path.unlink()
            if each.number < 0 and judged.outcome != "sound" and not judged.faults:
                judged.faults = (("events", f"a sound file ends as {judged.outcome}: {judged.message}"),)
            tried.append(Tried(each, judged))
            tell(tried[-1])
    return tried


def _flags(decode: Decode, source: Source) -> frozenset[str]:
    """Flags of a sound file, which say nothing of damage. Decoded here only where it is the product that decodes."""
    if decode is not product_decode:
        return frozenset()
    info = given_by(decode, str(source.path), lambda: None).info
    return frozenset(info.flags if info else ())


def report(tried: list[Tried]) -> Iterator[str]:
    """Lines of the two tables and the lists."""
    mutated = [each for each in tried if each.mutation.number >= 0]
    yield from _outcomes(mutated)
    yield ""
    yield from _faults(tried)
    for title, which in (("Caught by the pool", "caught"), ("Not judged", "no_truth")):
        lines = [(each, getattr(each.judged, which)) for each in mutated if getattr(each.judged, which)]
        if lines:
            yield f"{title}:"
            yield from (_line(each, f"{what}; then {each.judged.outcome}") for each, what in lines)
    yield from _without_a_sign([each for each in mutated if each.judged.outcome == "sound" and not each.judged.faults])
    faulty = [each for each in tried if each.judged.faults]
    if faulty:
        yield "Faults:"
    for each in faulty:
        yield from (_line(each, f"{kind}: {text}") for kind, text in each.judged.faults)
    yield f"{len(mutated)} mutations and {len(tried) - len(mutated)} sound files: {len(faulty)} faults"


def _without_a_sign(sound: list[Tried]) -> Iterator[str]:
    """What no decoder can tell, so that it is no fault."""
    unseen = sum(each.judged.unseen for each in sound)
    fewer = sum(each.judged.frames < FRAMES for each in sound if each.mutation.kind != "splice")
    yield f"Of {len(sound)} decoded as sound, without a sign by PyAV: {unseen} show frames that no sound file has,"
    yield f"{fewer} (splices apart) have fewer frames than the sound file"


def _outcomes(mutated: list[Tried]) -> Iterator[str]:
    """By format and kind: how many fail by which class, are decoded, took their process with them, are faults."""
    columns = ("run", *_CLASSES.values(), "other", "sound", "flags", "died", "fault")
    yield f"{'format':<10}{'kind':<8}" + "".join(f"{name:>6}" for name in columns)
    rows: dict[tuple[str, str], Counter[str]] = {(f, k): Counter() for f in FORMATS for k in KINDS}
    total: Counter[str] = Counter()
    for each in mutated:
        found = Counter(run=1, died=bool(each.judged.caught), fault=bool(each.judged.faults))
        outcome = each.judged.outcome
        if outcome in ("sound", "flagged"):
            found["sound" if outcome == "sound" else "flags"] += not each.judged.faults
        elif outcome != "fault":
            found[_CLASSES.get(outcome, "other")] += 1
        rows[each.mutation.source.format, each.mutation.kind] += found
        total += found
    for (name, kind), row in rows.items():
        if row["run"]:
            yield f"{name:<10}{kind:<8}" + "".join(f"{row[column] or '-':>6}" for column in columns)
    yield f"{'all':<18}" + "".join(f"{total[column] or '-':>6}" for column in columns)


def _faults(tried: list[Tried]) -> Iterator[str]:
    """By format: the faults of each kind; a mutation may have several."""
    counts = {name: Counter[str]() for name in FORMATS}
    for each in tried:
        counts[each.mutation.source.format].update(kind for kind, _ in each.judged.faults)
    if not any(counts.values()):
        return
    yield f"{'faults of':<10}" + "".join(f"{name:>10}" for name in _FAULTS)
    for name, row in counts.items():
        if row:
            yield f"{name:<10}" + "".join(f"{row[kind] or '-':>10}" for kind in _FAULTS)
    yield ""


def _line(tried: Tried, what: str) -> str:
    made = tried.mutation
    number = "sound" if made.number < 0 else made.number
    line = f"{number:>5} {made.source.name} {made.text} | {' '.join(what.split())}"
    return line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "..."


def main(arguments: list[str] | None = None) -> int:
    """Print the report; 1 where there is a fault."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutations.mutations",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=2000, help="how many mutations, numbered from 0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--only", type=int, nargs="+", metavar="NUMBER", help="these mutations alone")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where to write files of faults, or those of --only"
    )
    parser.add_argument("--deadline-seconds", type=float, default=30.0, help="after which a file is taken to hang")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sources = write_sources(folder)
        made = mutations(options.seed, options.only or range(options.count), options.formats, sources)

        def tell(each: Tried) -> None:
            if options.keep and each.mutation.number >= 0 and (options.only or each.judged.faults):
                _keep(options.keep, each.mutation)

        tried = try_all(made, sources, folder, deadline_seconds=options.deadline_seconds, tell=tell)
    for line in report(tried):
        print(line)
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    return 1 if any(each.judged.faults for each in tried) else 0


def _keep(folder: Path, made: Mutation) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{made.number}{made.source.path.suffix}").write_bytes(made.content)


if __name__ == "__main__":
    sys.exit(main())
