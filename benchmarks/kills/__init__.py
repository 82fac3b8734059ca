"""Processes that are killed: what is lost, and how long it takes."""
