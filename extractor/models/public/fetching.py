"""Fetch public weights: continued where they were cut off, checked, and only then given their name."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from extractor.models.public.answers import Answer, CutError, asked, checked_address, shown
from extractor.models.public.cache import sha256_of, weights_folder
from extractor.models.public.catalogue import PublicWeights
from extractor.models.public.partial import PartialFile, held
from schemas.errors import StorageError, WeightsError

Report = Callable[[int, int], None]
"""Called with the bytes that are there and about how many there will be."""

_ATTEMPTS = 3  # one after another that bring next to nothing
_PROGRESS_BYTES = 1 << 20  # an attempt that brings as much was worth it
_PAUSE_SECONDS = 1.0  # after the first; twice as long after each further one
_LOOK_SECONDS = 0.2  # between two looks at what another process fetches
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fetch_weights(
    weights: PublicWeights,
    *,
    into: Path | None = None,
    url: str | None = None,
    report: Report = lambda done, total: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Path:
    """Fetch `weights`, unless they are there, and return the path of the file.

    into: a folder instead of the cache of `weights_folder`; a file of another content there is refused, in the cache it
    is replaced. url: of a mirror; http only where it is given here. tell: called with what the user should know.

    The file has its name only once its SHA-256 is the right one. What came before a cut, an interruption or a kill is
    continued by the next call, if the server says that its file is still the same.

    WeightsError where the file cannot be had, or is another one; StorageError where the folder cannot hold it.
    """
    address = checked_address(weights.url if url is None else url)
    folder = weights_folder() if into is None else into.absolute()
    target = folder / weights.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        waits = False
        while not (target.exists() and _is_right(target, weights, replaceable=into is None)):
            with held(target) as part:
                if part is not None:
                    if not target.exists() or not _is_right(target, weights, replaceable=into is None):
                        _fill(part, weights, address, target, report)
                    return target  # or else another process has just finished it
            if not waits:
                tell(f"another process fetches {weights.name}: waiting for it")
                waits = True
            time.sleep(_LOOK_SECONDS)
        return target
    except OSError as error:
        full = ": free some space, or choose" if error.errno in _FULL else ": choose"
        raise StorageError(
            f"expected a folder that takes {weights.file_name} ({weights.size_bytes:,} bytes); {folder} does not"
            f" ({error.strerror or error}){full} another folder with --into or MSNET_CACHE"
        ) from error


def _is_right(target: Path, weights: PublicWeights, *, replaceable: bool) -> bool:
    got = sha256_of(target, weights.most_bytes)
    if got != weights.sha256 and (not replaceable or not target.is_file()):
        raise WeightsError(
            f"expected no other file at {target} than {weights.name}, with the SHA-256 {weights.sha256}; got {got}."
            " Move it away, or choose another folder with --into"
        )
    return got == weights.sha256


def _fill(part: PartialFile, weights: PublicWeights, address: str, target: Path, report: Report) -> None:
    """Bring `part` to its end, check it, and give it the name `target`. Raises OSError for the disk only."""
    if part.size_bytes > weights.most_bytes:  # not of ours
        part.begin(address, None)
    if part.size_bytes == 0 or part.sha256() != weights.sha256:  # or else it was ended after the last byte
        try:
            _require_room(part, weights, target.parent)
            _continue(part, weights, address, target, report)
        except OSError as error:
            if error.errno in _FULL:
                part.discard()  # others need the room as well
            raise
    got, size_bytes = part.sha256(), part.size_bytes
    if got != weights.sha256:
        part.discard()
        raise WeightsError(
            f"expected {weights.name} to have the SHA-256 {weights.sha256}; got {got} ({size_bytes:,} bytes) from"
            f" {shown(address)}, which was removed. Try again, or give a mirror with --url"
        )
    part.publish()


def _require_room(part: PartialFile, weights: PublicWeights, folder: Path) -> None:
    if shutil.disk_usage(folder).free < weights.size_bytes - part.size_bytes:
        raise OSError(errno.ENOSPC, "No space left on device")


def _continue(part: PartialFile, weights: PublicWeights, address: str, target: Path, report: Report) -> None:
    """Ask for the rest until all of it is there."""
    failures, most = 0, part.size_bytes
    while True:
        try:
            with asked(address, start=part.size_bytes, validator=part.version(address)) as answer:
                _write(part, answer, weights, address, report)
            return
        except CutError as error:
            if error.anew or part.version(address) is None:  # without a version nothing can be continued
                part.begin(address, None)
            failures = 0 if part.size_bytes - most >= _PROGRESS_BYTES else failures + 1
            most = max(most, part.size_bytes)  # else a server that changes its file would be asked for ever
            if failures >= _ATTEMPTS:
                kept = f" The {part.size_bytes:,} bytes that came are kept." if part.size_bytes else ""
                raise WeightsError(
                    f"expected {weights.name} from {shown(address)}; got: {error}.{kept} Run the command again, give a"
                    f" mirror with --url, or bring the file from another machine as {target}"
                ) from error
        time.sleep(_PAUSE_SECONDS * 2 ** max(failures - 1, 0))


def _write(part: PartialFile, answer: Answer, weights: PublicWeights, address: str, report: Report) -> None:
    if answer.start == 0:
        part.begin(address, answer.validator)
    total = answer.total or weights.size_bytes
    _require_size(part, answer.total or 0, weights, address)
    for block in answer.blocks():
        _require_size(part, part.size_bytes + len(block), weights, address)
        part.append(block)
        report(part.size_bytes, total)


def _require_size(part: PartialFile, size_bytes: int, weights: PublicWeights, address: str) -> None:
    if size_bytes > weights.most_bytes:
        part.discard()
        raise WeightsError(
            f"expected about {weights.size_bytes:,} bytes of {weights.name}; {shown(address)} has at least"
            f" {size_bytes:,}, so it is another file. Give a mirror with --url"
        )
