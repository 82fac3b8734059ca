from __future__ import annotations

import numpy as np
import pytest

from gebd import Annotations, VideoAnnotation, head_config
from gebd.heads.choosing import choose_threshold
from gebd.metric.tracks import Track
from schemas.errors import ConfigurationError

TIMES = np.arange(100) / 10


def scored(**scores: float) -> dict[str, Track]:
    """One video with peaks at seconds `s20` = 2.0 ... of the given heights."""
    track = np.zeros(100)
    for name, height in scores.items():
        track[int(name[1:])] = height
    return {"v": Track(TIMES, track)}


def truth(*raters: tuple[float, ...]) -> Annotations:
    return Annotations([VideoAnnotation("v", 10.0, raters, fps=10.0, num_frames=100)])


def test_threshold_of_the_highest_f1_is_chosen() -> None:
    tracks = scored(s20=0.9, s50=0.82, s70=0.6)
    choice = choose_threshold(tracks, truth((2.0, 5.0)), head_config())
    assert choice.f1 == 1.0 and 0.6 < choice.threshold <= 0.8


def test_marking_more_than_people_do_is_not_chosen() -> None:
    # Both boundaries lie behind two peaks each, the wrong ones higher: four marks reach more than two.
    tracks = scored(s10=0.9, s20=0.5, s40=0.9, s50=0.5)
    people = truth((2.0, 5.0))
    few = choose_threshold(tracks, people, head_config(most_marks=1.0))
    many = choose_threshold(tracks, people, head_config(most_marks=3.0))
    assert few.threshold > 0.5 and few.f1 == 0.0
    assert many.threshold <= 0.5 and many.f1 == pytest.approx(2 / 3)


def test_fewest_marks_where_no_threshold_is_allowed() -> None:
    tracks = scored(s10=0.99, s20=0.99, s30=0.97, s40=0.2)
    choice = choose_threshold(tracks, truth((1.0,)), head_config(most_marks=0.5))
    assert choice.threshold > 0.2


def test_criterion_decides() -> None:
    # Two far marks find both boundaries at a wide tolerance only; one near mark finds one at any.
    tracks = scored(s20=0.9, s38=0.6, s62=0.6)
    people = truth((2.0, 5.0, 8.0))
    near = choose_threshold(tracks, people, head_config(criterion=0.05))
    wide = choose_threshold(tracks, people, head_config(criterion="average"))
    assert near.threshold > 0.6 >= wide.threshold


@pytest.mark.parametrize("criterion", ["best", "0.07", 0, 1, "nan"])
def test_other_criteria_are_refused_in_one_sentence(criterion: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^criterion \(--criterion\)") as caught:
        head_config(criterion=criterion)
    assert "\n" not in str(caught.value) and f"; got {criterion}" in str(caught.value)


@pytest.mark.parametrize(
    ("head", "tensors", "message"),
    [
        ("temporal", ("frame", "stage3_2x2"), "confidence for a head temporal; got stage3_2x2"),
        ("contrast", ("displacement", "confidence"), "frame or motion for a head contrast; got"),
        ("similarity", ("frame", "displacement"), "or neither; got displacement alone"),
        ("similarity", ("confidence",), "or neither; got confidence alone"),
    ],
)
def test_tensors_that_a_head_would_ignore_are_refused(head: str, tensors: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        head_config(head=head, tensors=tensors).inputs(("frame", "stage3_2x2", "displacement", "confidence"))


def test_criterion_comes_as_text_or_number() -> None:
    assert head_config(criterion="0.15").criterion == 0.15 and head_config(criterion="average").criterion == "average"
