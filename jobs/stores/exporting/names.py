"""Names of videos in an export: their own where that is safe, else letters and digits with a hash.

An id comes from a stranger's folder or table. It may climb out of a folder, hide, be reserved on some system, or
differ from another id only in ways that some file systems ignore. Every id has two candidates: itself, if each of its
parts is a plain file name, and a name below `_names/`, where no id of the first kind can be.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping

from schemas.errors import UsageError

_SAFE = re.compile(r"[^A-Za-z0-9]+")
_STEM = 48
_ELSEWHERE = "_names"
_ZARR = "zarr.json"  # Zarr's own, in every folder of an export
_FORBIDDEN = frozenset('<>:"\\|?*')  # on Windows, or read as patterns
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_MAX_PART_BYTES = 180  # of the 255 of a file name, for the name of a tensor and of a temporary go to its end
_MAX_BYTES = 1000


def safe_name(video_id: str) -> str:
    """A file name for any id, distinct for distinct ids even on a file system that ignores case; never a path."""
    stem = _SAFE.sub("-", video_id).strip("-")[:_STEM].strip("-").lower()
    digest = hashlib.sha256(video_id.encode(errors="surrogatepass")).hexdigest()[:20]
    return f"{stem}-{digest}" if stem else digest


def is_plain(video_id: str) -> bool:
    """Whether an id can be a path below a folder on any file system: "cats/one.mp4" can, "../a" and "nul.mp4" cannot.

    No part may be a name that exports use themselves.
    """
    parts = video_id.split("/")
    return (
        len(video_id.encode(errors="replace")) <= _MAX_BYTES
        and parts[0].lower() != _ELSEWHERE
        and unicodedata.is_normalized("NFC", video_id)
        and all(map(_is_plain_part, parts))
    )


def _is_plain_part(part: str) -> bool:
    return (
        part.isprintable()
        and len(part.encode(errors="replace")) <= _MAX_PART_BYTES
        and part[:1] not in ("", ".", " ")
        and part[-1] not in (".", " ")
        and not _FORBIDDEN & set(part)
        and not _RESERVED.fullmatch(part)
        and part.lower() != _ZARR
    )


class Names:
    """Assigns names to videos one after another: `own(id)` of a plain id, unless an earlier name is in its way.

    own: the form of a plain id, for example without dots. ending: of a video's file or folder behind its name. taken:
    files at the top that a video may not be called. A name never changes when videos are added: pass those of earlier
    calls to `keep` first.
    """

    def __init__(
        self, ending: str = "", own: Callable[[str], str] = lambda name: name, taken: tuple[str, ...] = ()
    ) -> None:
        self._ending, self._own = ending, own
        self._leaves = {_folded(name) for name in taken}
        self._folders: set[str] = set()
        self._names: dict[str, str] = {}

    def __getitem__(self, video_id: str) -> str:
        """The name of a video, with `/` between its parts and without the ending; assigned on first use."""
        if video_id not in self._names:
            name = next((name for name in self._candidates(video_id) if self._is_free(name)), None)
            if name is None:
                raise UsageError(f"expected distinct names for videos; got two like {video_id!r}. Rename one of them")
            self._take(video_id, name)
        return self._names[video_id]

    def keep(self, names: Mapping[str, str], where: object) -> None:
        """Take the names of earlier calls; raises UsageError, naming the file, unless they are such names."""
        for video_id, name in names.items():
            if name not in self._candidates(video_id) or not self._is_free(name):
                raise UsageError(f"{where} was altered: it calls {video_id!r} {name!r}. Export to another folder")
            self._take(video_id, name)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._names

    def _candidates(self, video_id: str) -> tuple[str, ...]:
        elsewhere = f"{_ELSEWHERE}/{safe_name(video_id)}"
        return (self._own(video_id), elsewhere) if is_plain(video_id) else (elsewhere,)

    def _is_free(self, name: str) -> bool:
        leaf = _folded(name + self._ending)
        return not (leaf in self._leaves or leaf in self._folders or self._leaves & set(_above(leaf)))

    def _take(self, video_id: str, name: str) -> None:
        leaf = _folded(name + self._ending)
        self._names[video_id] = name
        self._leaves.add(leaf)
        self._folders.update(_above(leaf))


class OwnIds:
    """In place of `Names` where a name is a value in a column: the ids themselves."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def __getitem__(self, video_id: str) -> str:
        self._known.add(video_id)
        return video_id

    def keep(self, names: Iterable[str], where: object) -> None:
        """Know the videos of earlier calls."""
        self._known.update(names)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._known


def _folded(name: str) -> str:
    """A name as a file system sees it that tells neither case nor forms of one letter apart."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _above(name: str) -> list[str]:
    """The folders of a path: "a/b/c" has "a" and "a/b"."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
