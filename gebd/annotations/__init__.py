"""Annotations: every public format, read without running a pickle, and which video each is about."""
