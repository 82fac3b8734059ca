"""Demonstrations on procedural videos: from files to features and boundaries."""
