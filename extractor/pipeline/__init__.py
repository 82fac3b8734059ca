"""Frames in, rows of features out: clips are assembled, run through the network in batches, and staged per item."""
