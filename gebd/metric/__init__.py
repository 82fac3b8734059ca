"""The official F1 and its variants, baselines, and the predictions to evaluate."""
