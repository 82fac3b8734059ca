"""Finding the files that a list names: by path, with or without suffix, or by the name alone."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from pathlib import Path, PurePosixPath

from extractor.video import list_videos
from extractor.video.fingerprints import IMAGE_SUFFIXES
from schemas.errors import InventoryError

_IMAGES_FPS = 25.0  # of folders of images, whose clips are taken by number; it decides nothing


class FileIndex:
    """The videos of a folder, by all that a list may call them. files: path by id, which is relative to the folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            jobs = list_videos(root).jobs
        except InventoryError:  # perhaps a folder of folders of images
            jobs = ()
        self.files: dict[str, str] = {job.items[0].video_id: job.path for job in jobs}
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for video_id in self.files:
            path = PurePosixPath(video_id)
            for name in {path.with_suffix("").as_posix(), path.name, path.stem} - {video_id}:
                self._by_name[name].append(video_id)

    def find(self, name: str) -> list[tuple[str, str, float | None]]:
        """(id, path, fps) of the files of this name; a folder of images has a rate. Nothing outside the folder."""
        name = posixpath.normpath(name.replace("\\", "/"))
        root = self._root.absolute().as_posix()
        if name.startswith("/"):
            if not name.startswith(root + "/"):
                return []
            name = name[len(root) + 1 :]
        if name == ".." or name.startswith("../"):
            return []
        if name in self.files:
            return [(name, self.files[name], None)]
        for wanted in (name, PurePosixPath(name).with_suffix("").as_posix(), posixpath.basename(name)):
            if found := self._by_name.get(wanted):
                return [(video_id, self.files[video_id], None) for video_id in found]
        return self._images(name)

    def _images(self, name: str) -> list[tuple[str, str, float | None]]:
        folder = self._root / name
        try:
            inside = folder.resolve().is_relative_to(self._root.resolve())
            is_images = inside and folder.is_dir() and any(p.suffix.lower() in IMAGE_SUFFIXES for p in folder.iterdir())
        except (OSError, ValueError):
            return []
        return [(name, str(folder.absolute()), _IMAGES_FPS)] if is_images else []
