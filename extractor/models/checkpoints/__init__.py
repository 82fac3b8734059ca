"""Checkpoints, recognised by their content; inspected, converted and loaded without being trusted."""
