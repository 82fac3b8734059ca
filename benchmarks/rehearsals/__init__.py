"""Rehearsals: what only a large dataset would show, with synthetic stores, folders and machines in its place."""
