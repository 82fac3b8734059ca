"""Finding the files that a list names: by path, with or without suffix, or by the name alone."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from extractor.video import list_videos
from extractor.video.fingerprints import IMAGE_SUFFIXES
from schemas.errors import InventoryError

_IMAGES_FPS = 25.0  # of folders of images, whose clips are taken by number; it decides nothing
_TRIED = 20  # names of a list that tell whether it is one of folders of images
_MOST_ALIKE = 64  # files of one name that are compared with a row's
_NOT_WORD = re.compile(r"[\W_]+")


class Place(NamedTuple):
    """A file of a list. fps: of a folder of images. by_name: its folders are not those of the list."""

    video_id: str
    path: str
    fps: float | None = None
    by_name: bool = False


class FileIndex:
    """The videos of a folder, by what a list may call them. files: path by id, which is relative to the folder.

    names: some that the list has. Where they are folders of images, no videos are looked for: there may be millions of
    images. skipped: what else the folder holds, in words.
    """

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self._root = root.absolute().as_posix()
        self.files: dict[str, str] = {}
        self.skipped = ""
        self._by_path: dict[str, list[str]] = {}  # without suffix
        self._by_stem: dict[str, list[str]] = {}
        if not any(self._images(self._inside(name) or ".") for name in islice(names, _TRIED)):
            try:
                listing = list_videos(root)
            except InventoryError:  # no videos: every name will be missing
                return
            self.files = {job.items[0].video_id: job.path for job in listing.jobs}
            self.skipped = listing.skipped_summary()
        for video_id in self.files:
            path = video_id.rpartition(".")[0]
            self._by_path.setdefault(path, []).append(video_id)
            self._by_stem.setdefault(path.rpartition("/")[2], []).append(video_id)

    def find(self, name: str, label: str) -> list[Place]:
        """Files that a name may mean: none, one, or several that nothing tells apart. Nothing outside the folder.

        Of several files the one is meant whose folders end as the name's do, else the one in a folder called like the
        label. A suffix may differ: videos are often converted.
        """
        inside = self._inside(name)
        if inside is None:
            return []
        if inside in self.files:
            return [Place(inside, self.files[inside])]
        if not self.files:
            return self._images(inside)
        candidates = self._candidates(inside)
        if 1 < len(candidates) <= _MOST_ALIKE:
            candidates = _likeliest(candidates, inside, label)
        return [Place(one, self.files[one], by_name=_contradicts(one, inside)) for one in candidates]

    def _candidates(self, name: str) -> list[str]:
        """Ids of the files that are called so without suffix, or have the last part of the name."""
        for index, wanted in ((self._by_path, name), (self._by_stem, name.rpartition("/")[2])):
            if found := index.get(wanted) or index.get(wanted.rpartition(".")[0]):
                return found
        return []

    def _inside(self, name: str) -> str | None:
        """A name as a path relative to the folder; None where it leads out of it."""
        name = posixpath.normpath(name.replace("\\", "/"))
        if name.startswith("/"):
            if not name.startswith(self._root + "/"):
                return None
            name = name[len(self._root) + 1 :]
        return None if name in (".", "..") or name.startswith("../") else name

    def _images(self, name: str) -> list[Place]:
        if name == ".":
            return []
        folder = f"{self._root}/{name}"
        try:
            with os.scandir(folder) as entries:
                if any(posixpath.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES for entry in entries):
                    return [Place(name, folder, _IMAGES_FPS)]
        except (OSError, ValueError):
            pass
        return []


def _likeliest(video_ids: list[str], name: str, label: str) -> list[str]:
    """Of files with the same stem those that agree best with a name, then those in a folder called like the label."""
    scores = [(_shared(one, name), one.rpartition("/")[2] == name.rpartition("/")[2]) for one in video_ids]
    highest = max(scores)
    best = [one for one, score in zip(video_ids, scores, strict=True) if score == highest]
    plain = _plain(label)
    of_label = [one for one in best if any(_plain(folder) == plain for folder in one.split("/")[:-1])]
    return of_label if len(best) > 1 and len(of_label) == 1 else best


def _plain(text: str) -> str:
    return _NOT_WORD.sub("", text).lower()


def _shared(video_id: str, name: str) -> int:
    """How many folders both have in common, from the last one up."""
    count = 0
    for one, other in zip(video_id.split("/")[-2::-1], name.split("/")[-2::-1], strict=False):
        if one != other:
            break
        count += 1
    return count


def _contradicts(video_id: str, name: str) -> bool:
    """Whether both have folders, and other ones."""
    return _shared(video_id, name) < min(video_id.count("/"), name.count("/"))
