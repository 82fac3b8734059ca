"""Frames in, rows of features out: frames wait for a batch, a device computes it, rows are given to their items."""
