"""Load, convert and write annotations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gebd.annotations.files import read_content, write_json
from gebd.annotations.formats import parse, plain_content, recognise
from gebd.annotations.kinetics_raw import Conversion, Rules, convert_raw
from gebd.annotations.records import AnnotationFormat, Annotations
from gebd.annotations.values import one_of
from schemas.errors import UsageError
from schemas.seals import sealed_content

Source = str | os.PathLike[str] | Mapping[str, Any]


def load_annotations(
    source: Source | Annotations, *, rules: Rules | str = Rules.OFFICIAL, min_change_seconds: float = 0.3
) -> Annotations:
    """Load annotations from a file (pickle, JSON, CSV) or from the dictionary that such a file holds.

    The content decides the format: see docs/gebd.md. Raw Kinetics-GEBD annotations are converted by `rules` and
    `min_change_seconds`, which matter for no other format; the default yields what the processed file holds.
    `Annotations` are returned as they are. Reading a pickle executes nothing that it names.

    Raises UsageError if the file cannot be read, has an unknown format or is refused, or if an entry does not match its
    format. Videos that the conversion of a raw file drops are listed in `left_out`.
    """
    if isinstance(source, Annotations):
        return source
    content, name = _content(source)
    return parse(content, name, rules=one_of("rules", rules, tuple(Rules)), min_change_seconds=min_change_seconds)


def convert(source: Source, *, rules: Rules | str = Rules.OFFICIAL, min_change_seconds: float = 0.3) -> Conversion:
    """Convert raw Kinetics-GEBD annotations to the schema of the processed file, as the official preparation does.

    `rules` is "official", "corrected" (without the preparation's defects) or "midpoints" (every mark, for any number
    of raters). The result's `videos` can be pickled for other code or passed to `load_annotations`.

    Raises UsageError if the source is not in the raw format.
    """
    content, name = _content(source)
    found = recognise(content, name)
    if found is not AnnotationFormat.KINETICS_RAW:
        raise UsageError(
            f"{name}: expected the raw Kinetics-GEBD format; got {found.value}. Load it without converting it"
        )
    return convert_raw(content, rules=one_of("rules", rules, tuple(Rules)), min_change_seconds=min_change_seconds)


def write_annotations(
    annotations: Source | Annotations, path: str | os.PathLike[str], *, seal: str | None = None
) -> Annotations:
    """Write annotations of any format as JSON, and return them as loaded.

    Loading the file again returns exactly the same annotations, except for `format` and `left_out`. `seal`: a kind from
    schemas.seals, which identifies the file later.
    """
    loaded = load_annotations(annotations)
    content = plain_content(loaded)
    write_json(Path(path), content if seal is None else sealed_content(content, seal))
    return loaded


def _content(source: Source) -> tuple[Any, str]:
    """Return the content, and its name in messages."""
    if isinstance(source, Mapping):
        return source, "the dictionary of annotations"
    return read_content(source), str(source)
