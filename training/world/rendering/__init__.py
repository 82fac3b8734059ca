"""Rendering of scripts to pixels, displacement and visibility."""
