"""Write a comparison as plain values."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from gebd.annotations.files import write_json
from gebd.metric.baselines import Comparison
from schemas.seals import sealed_content


def comparison_content(comparison: Comparison) -> dict[str, Any]:
    """Return definition, coverage, and for every method F1, precision and recall by tolerance with their intervals.

    NaN (the gain of a method over itself) becomes None.
    """
    method = next(iter(comparison.evaluations.values()))
    gains = comparison.table.filter(like="gain@")
    return {
        "definition": method.definition.name,
        "confidence": method.confidence,
        "resamples": method.resamples,
        "methods": {
            name: {
                "coverage": _number(found.coverage),
                "predicted": found.num_predicted,
                "annotated": found.num_annotated,
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


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
