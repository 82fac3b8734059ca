"""Write a comparison as plain values, and read the clock in it."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gebd.annotations.files import read_content, write_json
from gebd.annotations.values import mapping, number
from gebd.metric.baselines import Comparison
from gebd.metric.clock import Clock
from schemas.seals import sealed_content


def comparison_content(comparison: Comparison) -> dict[str, Any]:
    """Return definition, coverage, and for every method F1, precision and recall by tolerance with their intervals.

    NaN (the gain of a method over itself, intervals of fewer than two videos) becomes None.
    """
    method = next(iter(comparison.evaluations.values()))
    gains = comparison.table.filter(like="gain@")
    return {
        "definition": method.definition.name,
        "confidence": method.confidence,
        "resamples": method.resamples,
        "marks_per_video": _number(method.marks_per_video),
        "clock": None if comparison.clock is None else asdict(comparison.clock),
        "methods": {
            name: {
                "coverage": _number(found.coverage),
                "predicted": found.num_predicted,
                "annotated": found.num_annotated,
                "boundaries_per_video": _number(found.boundaries_per_video),
                "average_f1": _number(found.average_f1),
                "average_f1_interval": [
                    _number(found.average_f1_interval.low),
                    _number(found.average_f1_interval.high),
                ],
                **{key: _number(value) for key, value in gains.loc[name].items()},
                "by_tolerance": [
                    {str(key): _number(value) for key, value in row.items()}
                    for row in found.table.reset_index().to_dict("records")
                ],
            }
            for name, found in comparison.evaluations.items()
        },
    }


def write_report(comparison: Comparison, path: str | os.PathLike[str], *, seal: str | None = None) -> None:
    """Write `comparison_content` as JSON; `seal`: a kind from schemas.seals, which identifies the file later."""
    content = comparison_content(comparison)
    write_json(Path(path), content if seal is None else sealed_content(content, seal))


def read_clock(path: str | os.PathLike[str]) -> Clock | None:
    """Return the clock of a report; None if there is no report, or none in it. Raises UsageError for another file."""
    if not Path(path).exists():
        return None
    found = mapping(read_content(path, tables=False), str(path)).get("clock")
    if found is None:
        return None
    fields = mapping(found, f"{path}: clock")
    period, phase, videos = (number(fields.get(name), f"{path}: {name}") for name in Clock.__dataclass_fields__)
    return Clock(period, phase, int(videos))


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
