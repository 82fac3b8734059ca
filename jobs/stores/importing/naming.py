"""Which files of a folder are features, by the names that video_features gives them: STEM_KEY.npy.

Written after v-iashin/video_features as of January 2025. It saves `rgb` and `flow` for I3D, else one file called after
the feature, and with all but R(2+1)D, S3D and VGGish also `fps` and `timestamps_ms`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from extractor.store.disk.atomic import storage_errors
from schemas.errors import UsageError
from schemas.escaping import is_text


class Rows(StrEnum):
    """What a row of a feature is of."""

    FRAME = "frame"
    STACK = "stack"
    STACK_WITHOUT_TIMES = "stack without times"


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of video_features. keys: of its files. stack_frames, fps: by its defaults; None: not by default."""

    name: str
    keys: tuple[str, ...]
    rows: Rows
    stack_frames: int | None = None
    fps: float | None = None


_RESNETS = tuple(f"resnet{depth}" for depth in (18, 34, 50, 101, 152))  # until September 2022
FEATURES = {
    feature.name: feature
    for feature in (
        Feature("i3d", ("rgb", "flow"), Rows.STACK),
        Feature("r21d", ("r21d",), Rows.STACK_WITHOUT_TIMES),
        Feature("s3d", ("s3d",), Rows.STACK_WITHOUT_TIMES, stack_frames=64, fps=25.0),
        *(Feature(name, (name,), Rows.FRAME) for name in ("clip", "resnet", "timm", *_RESNETS)),
    )
}
STACKS_OF_R21D = {
    "r2plus1d_18_16_kinetics": 16,
    "r2plus1d_34_32_ig65m_ft_kinetics": 32,
    "r2plus1d_34_8_ig65m_ft_kinetics": 8,
}
"""Frames of a stack by the name of the model, which is that of the folder."""

_TIMES = ("fps", "timestamps_ms")
_NOT_FEATURES = {
    "raft": "optical flow of RAFT, a map of pixels for each pair of frames",
    "vggish": "features of sound (VGGish)",
}
_KEYS = {key: feature.name for feature in FEATURES.values() for key in feature.keys}
_NAME = re.compile(rf"(?P<stem>.+)_(?P<key>{'|'.join((*_KEYS, *_TIMES, *_NOT_FEATURES))})\.npy", re.DOTALL)
_NAMED = 5  # folders in a sentence
_MOST_LOOKED_AT = 20_000  # files and folders, for advice
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class FoundFiles:
    """The files of a feature in a folder. videos: by stem, their files by key. left_out: names of others by reason."""

    folder: Path
    feature: Feature
    model_name: str
    videos: dict[str, dict[str, Path]]
    left_out: dict[str, list[str]] = field(default_factory=dict)

    @property
    def streams(self) -> tuple[str, ...]:
        """Keys of the feature that most videos have: both of I3D's, or one."""
        counts = Counter(tuple(key for key in self.feature.keys if key in files) for files in self.videos.values())
        return max(counts, key=lambda streams: (counts[streams], len(streams), streams))


def find_files(folder: Path, feature: str | None) -> FoundFiles:
    """Files of one feature in a folder, without those below it. Raises UsageError unless there are some.

    feature: its name, needed only where the folder holds several.
    """
    if feature is not None and feature not in FEATURES:
        raise UsageError(f"expected a feature among {', '.join(FEATURES)}; got {feature!r}. Correct --feature")
    videos: dict[str, dict[str, Path]] = {}
    left_out: dict[str, list[str]] = {}
    for path in _files_of(folder):
        found = _NAME.fullmatch(path.name)
        if found is None or not is_text(path.name):
            left_out.setdefault(_reason(path.name), []).append(path.name)
        elif found["key"] in _NOT_FEATURES:
            left_out.setdefault(_NOT_FEATURES[found["key"]], []).append(path.name)
        else:
            videos.setdefault(found["stem"], {})[found["key"]] = path
    chosen = FEATURES[feature or _only(folder, videos.values())]
    mine = {stem: files for stem, files in videos.items() if files.keys() & set(chosen.keys)}
    for stem in videos.keys() - mine.keys():
        for path in videos[stem].values():
            left_out.setdefault(f"not of {chosen.name}", []).append(path.name)
    if not mine:
        raise UsageError(f"expected files of {chosen.name} in {folder}; got none. Correct --feature")
    return FoundFiles(folder, chosen, _model_name(folder, chosen), dict(sorted(mine.items())), left_out)


def _files_of(folder: Path) -> list[Path]:
    try:
        with storage_errors(folder):
            return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise UsageError(
            f"expected a folder of npy files; got {folder} ({error.strerror}). Correct the path"
        ) from error


def _reason(name: str) -> str:
    if not is_text(name):
        return "names that are not UTF-8"
    if name.endswith(".pkl"):
        return "pickles, which may run code when they are read: save with on_extraction=save_numpy"
    return "names that are not STEM_KEY.npy of video_features"


def _only(folder: Path, videos: Iterable[dict[str, Path]]) -> str:
    names = sorted({_KEYS[key] for files in videos for key in files if key in _KEYS})
    if len(names) == 1:
        return names[0]
    if names:
        raise UsageError(f"expected one feature in {folder}; got {', '.join(names)}. Choose one with --feature")
    below = _folders_with_features(folder)
    advice = f"Give one of its folders: {', '.join(below)}" if below else "Give the folder that output_path named"
    raise UsageError(f"expected features like VIDEO_rgb.npy or VIDEO_clip.npy in {folder}; got none. {advice}")


def _folders_with_features(folder: Path) -> list[str]:
    """The first folders below one that have such files, of those that a short look finds: a tree may be endless."""
    found: list[str] = []
    seen = 0
    for place, folders, names in os.walk(folder):
        seen += 1 + len(folders) + len(names)
        folders.sort()
        if place != str(folder) and any(_NAME.fullmatch(name) for name in names):
            found.append(Path(place).relative_to(folder).as_posix())
        if seen > _MOST_LOOKED_AT or len(found) == _NAMED:
            break
    return sorted(found)


def _model_name(folder: Path, feature: Feature) -> str:
    """The network's name, which video_features makes a folder of: OUTPUT/clip/ViT-B_32; "" if there is none."""
    folder = folder.absolute()
    is_named = folder.parent.name == feature.name and _MODEL_NAME.fullmatch(folder.name)
    return folder.name if is_named else ""
