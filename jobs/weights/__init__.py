"""Evaluating checkpoints, and pictures of what they see."""
