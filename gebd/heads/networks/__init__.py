"""Heads: map the tensors of a window of frames to a boundary score per frame."""
