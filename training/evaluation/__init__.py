"""How good trained weights are: matching on held-out procedural video and on real video, and what features tell."""

from training.evaluation.matching import CellErrors, MatchingScores, measure_matching

__all__ = ["CellErrors", "MatchingScores", "measure_matching"]
