"""What decoding returns for seeded mutations of small files of eight formats, against PyAV's full forward decoding.

    python -m benchmarks.mutations [--count 2000] [--seed 0] [--formats ts flv] [--only 17] [--keep FOLDER]

Kinds, drawn evenly: one bit; one byte; a length field (box, element, chunk, packet, tag); a cut (the end, or a hole);
a splice of two files (head and tail, or both whole). Decoding runs in a process of its own under a deadline. A fault is
an exception that is not ours, a hang, or anything returned as sound that PyAV shows to be wrong: other frames, another
number or order of them, frames that it marks corrupt or whose packets it refuses, times that are not the frames' own.
The product's pool of decoders handles a process that dies, so it is reported and counted by what the pool's second
attempt returns. The exit code is 1 if there is any fault. --only: that mutation alone. --keep: write the files of all
faults there, or with --only that file.
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
from benchmarks.mutations.judge import Decode, known_frames, result_of
from benchmarks.mutations.watched_child import Verdict, WatchedChild
from extractor.video.decoding import decode as product_decode

__all__ = ["JudgedMutation", "judge_all", "main", "mutations", "report"]

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
class JudgedMutation:
    """A mutation and the verdict on its decoding."""

    mutation: Mutation
    verdict: Verdict


def mutations(
    seed: int, numbers: Iterable[int], formats: Iterable[str], sources: Mapping[str, tuple[Source, Source]]
) -> Iterator[Mutation]:
    """The mutations of these numbers whose format is among `formats`; these do not change what a number stands for."""
    wanted = set(formats)
    for number in numbers:
        made = mutation(seed, number, sources)
        if made.source.format in wanted:
            yield made


def judge_all(
    made: Iterable[Mutation],
    sources: Mapping[str, tuple[Source, Source]],
    folder: Path,
    *,
    decode: Decode = product_decode,
    deadline_seconds: float = 30.0,
    on_judged: Callable[[JudgedMutation], None] = lambda _: None,
) -> list[JudgedMutation]:
    """Judge what `decode` returns for the sound files (their number is -1) and then for the mutations."""
    pairs = [source for pair in sources.values() for source in pair]
    flags = {source.name: _flags(decode, source) for source in pairs}
    judged = []
    with WatchedChild(decode, known_frames({s.name: s.path for s in pairs}), deadline_seconds) as child:
        sound = (Mutation(-1, "none", source, "as it is", source.content) for source in pairs)
        for each in (*sound, *made):
            path = folder / f"mutated{each.source.path.suffix}"
            path.write_bytes(each.content)
            verdict = child.judge(path, flags[each.source.name])
            path.unlink()
            if each.number < 0 and verdict.outcome != "sound" and not verdict.faults:
                verdict.faults = (("events", f"a sound file ends as {verdict.outcome}: {verdict.message}"),)
            judged.append(JudgedMutation(each, verdict))
            on_judged(judged[-1])
    return judged


def _flags(decode: Decode, source: Source) -> frozenset[str]:
    """Flags of a sound file, which do not mean damage. Decodes it only if `decode` is the product's."""
    if decode is not product_decode:
        return frozenset()
    info = result_of(decode, str(source.path), lambda: None).info
    return frozenset(info.flags if info else ())


def report(judged: list[JudgedMutation]) -> Iterator[str]:
    """Lines of the report: two tables, then lists."""
    mutated = [each for each in judged if each.mutation.number >= 0]
    yield from _outcomes(mutated)
    yield ""
    yield from _faults(judged)
    for title, which in (("Caught by the pool", "caught"), ("Not judged", "no_truth")):
        lines = [(each, getattr(each.verdict, which)) for each in mutated if getattr(each.verdict, which)]
        if lines:
            yield f"{title}:"
            yield from (_line(each, f"{what}; then {each.verdict.outcome}") for each, what in lines)
    yield from _without_a_sign(
        [each for each in mutated if each.verdict.outcome == "sound" and not each.verdict.faults]
    )
    faulty = [each for each in judged if each.verdict.faults]
    if faulty:
        yield "Faults:"
    for each in faulty:
        yield from (_line(each, f"{kind}: {text}") for kind, text in each.verdict.faults)
    yield f"{len(mutated)} mutations and {len(judged) - len(mutated)} sound files: {len(faulty)} faults"


def _without_a_sign(sound: list[JudgedMutation]) -> Iterator[str]:
    """What no decoder can detect, and so is no fault."""
    unseen = sum(each.verdict.unseen for each in sound)
    fewer = sum(each.verdict.frames < FRAMES for each in sound if each.mutation.kind != "splice")
    yield f"Of {len(sound)} decoded as sound, without a sign from PyAV: {unseen} show frames that no sound file has,"
    yield f"{fewer} (not counting splices) have fewer frames than the sound file"


def _outcomes(mutated: list[JudgedMutation]) -> Iterator[str]:
    """By format and kind: how many fail by which class, are decoded, killed their process, are faults."""
    columns = ("run", *_CLASSES.values(), "other", "sound", "flags", "died", "fault")
    yield f"{'format':<10}{'kind':<8}" + "".join(f"{name:>6}" for name in columns)
    rows: dict[tuple[str, str], Counter[str]] = {(f, k): Counter() for f in FORMATS for k in KINDS}
    total: Counter[str] = Counter()
    for each in mutated:
        found = Counter(run=1, died=bool(each.verdict.caught), fault=bool(each.verdict.faults))
        outcome = each.verdict.outcome
        if outcome in ("sound", "flagged"):
            found["sound" if outcome == "sound" else "flags"] += not each.verdict.faults
        elif outcome != "fault":
            found[_CLASSES.get(outcome, "other")] += 1
        rows[each.mutation.source.format, each.mutation.kind] += found
        total += found
    for (name, kind), row in rows.items():
        if row["run"]:
            yield f"{name:<10}{kind:<8}" + "".join(f"{row[column] or '-':>6}" for column in columns)
    yield f"{'all':<18}" + "".join(f"{total[column] or '-':>6}" for column in columns)


def _faults(judged: list[JudgedMutation]) -> Iterator[str]:
    """By format: how many faults of each kind; a mutation may have several."""
    counts = {name: Counter[str]() for name in FORMATS}
    for each in judged:
        counts[each.mutation.source.format].update(kind for kind, _ in each.verdict.faults)
    if not any(counts.values()):
        return
    yield f"{'faults of':<10}" + "".join(f"{name:>10}" for name in _FAULTS)
    for name, row in counts.items():
        if row:
            yield f"{name:<10}" + "".join(f"{row[kind] or '-':>10}" for kind in _FAULTS)
    yield ""


def _line(judged: JudgedMutation, what: str) -> str:
    made = judged.mutation
    number = "sound" if made.number < 0 else made.number
    line = f"{number:>5} {made.source.name} {made.text} | {' '.join(what.split())}"
    return line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "..."


def main(arguments: list[str] | None = None) -> int:
    """Print the report; returns 1 if there is a fault."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutations",
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
    parser.add_argument("--deadline-seconds", type=float, default=30.0, help="after which a file counts as hung")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sources = write_sources(folder)
        made = mutations(options.seed, options.only or range(options.count), options.formats, sources)

        def keep_faults(each: JudgedMutation) -> None:
            if options.keep and each.mutation.number >= 0 and (options.only or each.verdict.faults):
                _keep(options.keep, each.mutation)

        judged = judge_all(made, sources, folder, deadline_seconds=options.deadline_seconds, on_judged=keep_faults)
    for line in report(judged):
        print(line)
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    return 1 if any(each.verdict.faults for each in judged) else 0


def _keep(folder: Path, made: Mutation) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{made.number}{made.source.path.suffix}").write_bytes(made.content)


if __name__ == "__main__":
    sys.exit(main())
