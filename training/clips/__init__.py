"""Clips from videos: lists of labelled videos, decoded, sampled and augmented by worker processes."""
