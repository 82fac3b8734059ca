"""Loading, converting and writing annotations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gebd.annotations.files import read_content, write_json
from gebd.annotations.formats import parse, plain_content, recognise
from gebd.annotations.kinetics_raw import Conversion, Rules, convert_raw
from gebd.annotations.records import AnnotationFormat, Annotations
from schemas.errors import UsageError
from schemas.seals import sealed_content

__all__ = ["convert", "load_annotations", "write_annotations"]

Source = str | os.PathLike[str] | Mapping[str, Any]


def load_annotations(
    source: Source | Annotations, *, rules: Rules | str = Rules.OFFICIAL, min_change_seconds: float = 0.3
) -> Annotations:
    """Annotations from a file (pickle, JSON, CSV) or from the dictionary that such a file holds.

    The format is recognised from the content: see docs/gebd.md. Raw Kinetics-GEBD annotations are converted by
    `rules`, so that they give what the processed file gives; `rules` and `min_change_seconds` mean nothing elsewhere.
    Annotations pass through. A pickle is read without running anything that it names.

    Raises UsageError where the file cannot be read, is of no known format or was refused, or where an entry is not as
    its format says; what a raw file has and the conversion leaves out stands in `left_out`.
    """
    if isinstance(source, Annotations):
        return source
    content, name, path = _content(source)
    return parse(content, name, path=path, rules=_rules(rules), min_change_seconds=min_change_seconds)


def convert(source: Source, *, rules: Rules | str = Rules.OFFICIAL, min_change_seconds: float = 0.3) -> Conversion:
    """Raw Kinetics-GEBD annotations in the schema of the processed file, as the official preparation makes it.

    `rules` is "official", "corrected" (without the preparation's defects) or "midpoints" (every mark, of any number
    of raters). The result's `videos` can be pickled for other people's code or given to `load_annotations`.

    Raises UsageError where the source is not of the raw format.
    """
    content, name, _ = _content(source)
    found = recognise(content, name)
    if found is not AnnotationFormat.KINETICS_RAW:
        raise UsageError(
            f"{name} was expected to be of the raw Kinetics-GEBD format and is {found.value}: load it as it is"
        )
    return convert_raw(content, rules=_rules(rules), min_change_seconds=min_change_seconds)


def write_annotations(
    annotations: Source | Annotations, path: str | os.PathLike[str], *, seal: str | None = None
) -> Annotations:
    """Write annotations of any format as JSON, and give them back as they were loaded.

    Loading the file again gives the same annotations to the last bit, except their `format` and `left_out`. `seal`: a
    kind of schemas.seals, by which the file is recognised later.
    """
    loaded = load_annotations(annotations)
    content = plain_content(loaded)
    write_json(Path(path), content if seal is None else sealed_content(content, seal))
    return loaded


def _content(source: Source) -> tuple[Any, str, str | None]:
    """The content, what messages call it, and its path."""
    if isinstance(source, Mapping):
        return source, "the dictionary of annotations", None
    return read_content(source), str(source), str(source)


def _rules(rules: Rules | str) -> Rules:
    try:
        return Rules(rules)
    except ValueError:
        raise UsageError(f"rules was expected to be one of {', '.join(Rules)} and is {rules!r:.60}") from None
