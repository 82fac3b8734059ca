"""Annotations: every public format, read without executing pickles, and the video that each one describes."""
