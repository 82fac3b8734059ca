"""Labelled videos: folders, tables and lists of the field, and what fits of them."""
