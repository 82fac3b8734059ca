"""Evaluation of trained weights: matching on held-out procedural video and on real video, and probes on features."""

from training.evaluation.matching import CellErrors, MatchingScores, measure_matching

__all__ = ["CellErrors", "MatchingScores", "measure_matching"]
