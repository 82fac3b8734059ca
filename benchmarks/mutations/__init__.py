"""Damaged video files, decoded and judged."""
