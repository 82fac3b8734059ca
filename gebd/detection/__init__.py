"""Boundaries without labels."""
