"""The tables of `msnet weights evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jobs.cli.display import duration, paragraph, rows, table
from jobs.cli.streams import say
from schemas.wording import counted

if TYPE_CHECKING:
    from jobs.weights.evaluation import BoundaryResults, RealVideoResults, WeightsEvaluation
    from jobs.weights.loading import LoadedWeights
    from schemas.intervals import Interval
    from training.evaluation.motion_class import MotionAccuracy
    from training.evaluation.procedural import ProceduralScores
    from training.evaluation.real import RealScores

Lines = list[tuple[object, ...]]


def print_evaluation(found: WeightsEvaluation) -> None:
    """Print all results, part by part; only long names exceed 80 columns."""
    from jobs.weights.evaluation import AGAINST, NETWORK
    from training.evaluation.dis import HOW_TO_GET_DIS

    names = _names(found)
    for of, name in ((found.network, names[NETWORK]), (found.against, names[AGAINST])):
        if of is not None:
            _print_weights(of, name)
    if found.procedural is None:
        say("", f"{names[NETWORK]} has no MS module: only its features are evaluated")
    else:
        _print_procedural(found.procedural, found.sizes.size_px, names)
        if not found.dis:
            say(paragraph(f"DIS optical flow is left out of these tables: {HOW_TO_GET_DIS}", indent="  "))
    _print_motion(found.motion, names)
    _print_boundaries(found.boundaries, names)
    if found.real is not None:
        _print_real(found.real, found.sizes.real_seconds)
    parts = ", ".join(f"{part} {duration(seconds)}" for part, seconds in found.seconds.items())
    say("", paragraph(f"took {duration(sum(found.seconds.values()))}: {parts}", indent="  "))


def _names(found: WeightsEvaluation) -> dict[str, str]:
    """Names of the inputs in the rows of tables."""
    from jobs.weights.evaluation import AGAINST, NETWORK

    other = "" if found.against is None else found.against.model
    if other == found.network.model:
        other = f"{other} (against)"
    return {NETWORK: found.network.model, AGAINST: other}


def _print_weights(weights: LoadedWeights, name: str) -> None:
    sha256 = "" if weights.sha256 is None else f" (SHA-256 {weights.sha256[:12]}...)"
    say(paragraph(f"{name}: {weights.weights}{sha256}", indent="  "))
    for note in weights.notes:
        say(paragraph(f"  {note}", indent="    "))


def _print_procedural(scores: ProceduralScores, size_px: int, names: Mapping[str, str]) -> None:
    from training.evaluation.matching import ZERO

    say("", f"Displacement on {scores.clips} held-out procedural clips, {scores.frames} frames, {size_px} px")
    lines: Lines = []
    for title, errors in (("in the search window", scores.errors), ("and seen in both frames", scores.visible_errors)):
        lines.append((f"{title}: {counted(errors[ZERO].cells, 'cell')}",))
        for method, of in errors.items():
            error, share = f"{of.mean_cells:.3f}", f"{of.zero_share:.2f}"
            intervals = _interval(of.mean_interval), _interval(of.zero_share_interval)
            name = f"  {names.get(method, method)}"
            lines.append((name, error, intervals[0], share, intervals[1], f"{of.within_one_cell:.3f}"))
    say(table(("method", "error", "95 %", "of zero's", "95 %", "within 1 cell"), lines))
    world = scores.world
    speeds = ", ".join(f"{percent} % below {speed:.2f}" for percent, speed in world.speed_cells.items())
    say(
        paragraph(
            "  Error: the mean, in cells of 8 px. Of zero's: its ratio to the error of predicting no motion. "
            f"95 %: bootstrap intervals over clips. Of {world.cells} cells: "
            f"{speeds} cells per frame; {world.still_share:.1%} are still, "
            f"{world.occluded_share:.1%} are hidden in one of the frames, {world.outside_share:.1%} leave the window. "
            f"Another {world.unknown_share:.1%} of all cells have no ground truth (across a cut, or vanished).",
            indent="  ",
        )
    )
    confidence = scores.confidence
    say("", f"Confidence, over {confidence.cells} textured cells seen in both frames")
    say(
        rows(
            [
                ("rank correlation with the error (-1 is best)", f"{confidence.rank_correlation:.2f}"),
                ("mean error of the more confident half", f"{confidence.confident_half_cells:.3f}"),
                ("mean error of the other half", f"{confidence.other_half_cells:.3f}"),
            ]
        )
    )


def _print_motion(motion: Mapping[str, Mapping[str, MotionAccuracy]], names: Mapping[str, str]) -> None:
    from jobs.weights.evaluation import NETWORK

    say("", "Motion classes by a linear probe on frame features, accuracy")
    first = motion[NETWORK]
    lines: Lines = []
    for name, accuracies in motion.items():
        lines.append((names.get(name, name), *(f"{found.accuracy:.3f}" for found in accuracies.values())))
    lines.append(("always the most common", *(f"{found.majority:.3f}" for found in first.values())))
    say(table(("features", *(f"{mover} ({found.pairs} pairs)" for mover, found in first.items())), lines))


def _print_boundaries(test: BoundaryResults, names: Mapping[str, str]) -> None:
    from jobs.weights.boundary_scores import TOLERANCE
    from jobs.weights.evaluation import NETWORK

    title = (
        f"Boundaries by a linear probe on frame features, F1 at {TOLERANCE:g}; "
        f"{test.videos} videos of 10 s, {counted(test.boundaries, 'boundary', 'boundaries')}"
    )
    say("", paragraph(title, indent="  "))
    lines: Lines = []
    for name, of in test.scores.items():
        lead = ("", "") if of.lead is None else (f"{of.lead:.3f}", _interval(of.lead_interval))
        head = (names.get(name, name), f"{of.f1:.3f}", _interval(of.f1_interval))
        lines.append((*head, f"{of.precision:.3f}", f"{of.recall:.3f}", *lead))
    say(table(("features", "F1", "95 %", "precision", "recall", "lead", "95 %"), lines))
    legend = f"  Lead: F1 of {names[NETWORK]} minus this row's. Evenly spread: as many as it found."
    say(paragraph(legend, indent="  "))


def _interval(interval: Interval | None) -> str:
    return "" if interval is None or not interval.exists else f"{interval.low:.2f}..{interval.high:.2f}"


def _print_real(test: RealVideoResults, seconds: float) -> None:
    title = f"Real video, {counted(len(test.videos), 'file')}, up to {seconds:g} s each: difference from DIS in cells"
    say("", paragraph(title, indent="  "))
    lines = [_real_row(scores, name) for name, scores in test.videos.items()]
    if test.together is not None:
        lines.insert(0, _real_row(test.together, "all together"))
    say(table(("moving", "median", "share of zero's", "standing", "median", "video"), lines))
    say(
        paragraph(
            "  Textured cells on which DIS is consistent forward and backward within a pixel: those that it moves "
            "by more than a cell, and those by less than a quarter.",
            indent="  ",
        )
    )
    for name, reason in test.left_out.items():
        say(paragraph(f"left out: {name}: {reason}", indent="  "))


def _real_row(scores: RealScores, name: str) -> tuple[object, ...]:
    share = scores.moving_difference_cells / scores.moving_zero_cells
    moving = (scores.moving, f"{scores.moving_difference_cells:.3f}", f"{share:.2f}") if scores.moving else (0, "", "")
    standing = (scores.standing, f"{scores.standing_difference_cells:.3f}" if scores.standing else "")
    return (*moving, *standing, name)
