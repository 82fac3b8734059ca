"""The demonstrations: procedural videos from files to features and boundaries."""
