"""Training weights: the procedural world that networks learn from, and training and evaluation on it."""
