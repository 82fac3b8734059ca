"""The document of `msnet gebd join`. That of `evaluate` is the report itself (gebd.metric.report)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gebd.dataset.join_report import AnnotationJoin, JoinReport
    from gebd.metric.evaluation import Evaluation


def join_document(store: Path, annotations: Path, found: JoinReport) -> dict[str, Any]:
    """How annotations and a store match."""
    sampling, joined = found.sampling, found.annotations
    return {
        "store": store,
        "annotations": annotations,
        "videos": found.videos,
        "rate_hz": sampling.rate_hz,
        "stored_hz": sampling.usual_hz,
        "other_rate": sampling.other_rate,
        "samples": sampling.samples,
        "held_samples": sampling.held,
        "invalid_samples": sampling.invalid,
        **({} if joined is None else _joined(joined)),
    }


def _joined(found: AnnotationJoin) -> dict[str, Any]:
    return {
        "annotated": found.annotated,
        "coverage": found.coverage,
        "joined": [
            {"annotation": name, "video_id": item, "rule": found.join.rules[name].value}
            for name, item in found.join.items.items()
        ],
        "missing": found.join.missing,
        "unused": found.join.unused,
        "ambiguous": [str(one) for one in found.join.ambiguous],
        "extraction_failed": found.failed,
        "left_out": found.left_out,
        "other_duration": found.other_duration,
        "other_fps": found.other_fps,
        "summary": found.summary,
        "boundaries": found.boundaries,
        "unrepresented": found.unrepresented,
        "ceiling": None if found.ceiling is None else _score(found.ceiling),
        "advice": found.advice or None,
    }


def _score(found: Evaluation) -> dict[str, Any]:
    return {"f1": {f"{at:g}": value for at, value in found.f1.items()}, "average_f1": found.average_f1}
