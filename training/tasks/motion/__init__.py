"""Learning from procedural video, where displacement, boundaries and motion are known."""
