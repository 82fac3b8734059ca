"""Detect boundaries without labels."""
