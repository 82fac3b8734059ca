"""Making weights: the procedural world to learn from, and the training and evaluation on it."""
